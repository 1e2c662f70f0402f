"""Serving an exported coach: vLLM's plugin, and what stands in front of it."""
