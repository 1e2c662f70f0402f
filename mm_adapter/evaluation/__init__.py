"""A coach and metrics: predictions of a test set, answers of a task, baselines, scores. The one room that imports mm_eval."""
