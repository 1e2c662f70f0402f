"""Which metrics a task is scored by, and the tables of several runs on it."""
