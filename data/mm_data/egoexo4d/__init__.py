"""Readers of the Ego-Exo4D release (v2): takes, splits, commentary, proficiency and body poses."""

from mm_data.egoexo4d.poses import load_poses
from mm_data.egoexo4d.release import Release, read_release

__all__ = ["Release", "load_poses", "read_release"]
