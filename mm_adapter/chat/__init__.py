"""Asking a trained coach about one's own clip."""
