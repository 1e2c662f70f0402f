"""Frames out of videos, and pieces cut from them."""
