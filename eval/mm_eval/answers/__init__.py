"""Answers to a test set, whoever gave them: files, baselines, models behind an endpoint."""
