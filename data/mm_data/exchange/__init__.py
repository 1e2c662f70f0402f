"""Tuples from and to the files of other projects."""
