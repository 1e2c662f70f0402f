"""Ranks experts by what the engine says: every pair of prompt and candidate runs in full, as engines score prompts."""

from typing import Any

import torch

from mm_adapter.dataset import ClipFeatures, ClipPoses
from mm_adapter.front.clips import ClipShelf
from mm_adapter.front.coach import ExportedCoach
from mm_adapter.front.conversation import Conversations, frames_part
from mm_adapter.front.engine import Engine, features_part
from mm_data.expertaf_task import demonstration_prompt


class ClipParts:
    """A clip for the engine, be it a learner's or one of a gallery.

    Args:
        coach: Its export.
        shelf: Uploaded clips.
        poses: Pose codes of a gallery, or None.
        features: Its video features, or None.
    """

    def __init__(
        self, coach: ExportedCoach, shelf: ClipShelf, poses: ClipPoses | None, features: ClipFeatures | None
    ) -> None:
        self.shelf, self.poses, self.features, self.config = shelf, poses, features, coach.config
        self.conversations = Conversations(coach, self)

    def __call__(self, clip_id: str) -> list[dict[str, Any]]:
        """Pose tokens, then a video per view.

        Raises:
            KeyError: No such clip.
        """
        clip = self.shelf.get(clip_id)
        if clip is not None:
            codes, videos = clip.codes, [frames_part(frames) for frames in clip.frames.values()]
        elif self.poses is not None and not self.poses.missing([clip_id]):
            codes = self.poses[clip_id]
            shown = self.config.views if self.features is not None and self.config.video_tokens else []
            videos = [features_part(self.features.get(clip_id, view)) for view in shown]  # type: ignore[union-attr]
        else:
            raise KeyError(clip_id)
        if self.config.pose_form == "none" or codes is None:
            return videos
        return [{"type": "text", "text": self.conversations.pose_tokens(codes)}, *videos]


class EngineRanker:
    """A `retrieval.Ranker`, of the engine.

    Args:
        engine: Scores.
        parts: Renders clips.
        poses: Codes of the candidates.
    """

    def __init__(self, engine: Engine, parts: ClipParts, poses: ClipPoses) -> None:
        self.engine, self.parts, self.poses = engine, parts, poses

    def __call__(self, learner: str, remark: str, pool: list[str]) -> torch.Tensor:
        """Mean log-likelihoods of the candidates' poses (ExpertAF Eq. 2)."""
        conversations = self.parts.conversations
        messages = conversations.rewrite(demonstration_prompt(learner, remark))
        answers = [conversations.pose_tokens(self.poses[clip]) for clip in pool]
        ids = [conversations.coach.processor.answer_ids(self.poses[clip]) for clip in pool]
        return self.engine.likelihoods(messages, answers, ids)
