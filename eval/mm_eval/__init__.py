"""Metrics, statistics and reports for video action coaching."""
