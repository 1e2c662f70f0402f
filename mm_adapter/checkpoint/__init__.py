"""What is on disk: a coach, a run and its checkpoints, complete or not one at all."""
