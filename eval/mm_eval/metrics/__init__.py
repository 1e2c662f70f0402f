"""Scores of answers against the truth: words, ranks, classes, numbers and poses."""
