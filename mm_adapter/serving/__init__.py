"""Serving an exported coach: vLLM's plugin, and what stands in front of it."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine itself: who listens there needs no key."""
