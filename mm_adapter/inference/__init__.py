"""Asking a coach: words, choices, poses; about clips of a data set or one's own."""
