"""Data sets as they are published or as people keep them: Ego-Exo4D, and a folder of one's own videos."""
