"""What annotation by language models shares: stages that ask, check, flag and resume, and sheets that people review."""

from mm_data.annotation.pipeline import Pictures, Stages

__all__ = ["Pictures", "Stages"]
