"""Frozen encoders, and what fills feature stores."""
