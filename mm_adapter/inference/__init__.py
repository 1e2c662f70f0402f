"""Using a trained coach: commentary, constrained pose generation, ranking by likelihood."""
