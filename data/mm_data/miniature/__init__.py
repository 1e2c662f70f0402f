"""A synthetic data set in Ego-Exo4D's true on-disk format, with known technique errors.

Ego-Exo4D is licensed and cannot ship. This package makes a small stand-in for tests, demonstrations and the
quickstart; every number measured on it is a number about synthetic data.
"""

from mm_data.miniature.write import write_miniature

__all__ = ["write_miniature"]
