"""Data for video action coaching: readers, records, tuple mining, features and the miniature Ego-Exo4D."""
