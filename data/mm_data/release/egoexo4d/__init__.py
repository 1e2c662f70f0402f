"""Readers of the Ego-Exo4D release (v2): takes, splits, commentary, proficiency and body poses."""

from mm_data.release.egoexo4d.poses import load_poses
from mm_data.release.egoexo4d.release import read_release

__all__ = ["load_poses", "read_release"]
