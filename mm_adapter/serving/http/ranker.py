"""Ranks experts by what the engine says: every pair of prompt and candidate runs in full, as engines score prompts."""

from typing import Any

from mm_adapter.samples.clip_stores import ClipFeatures, ClipPoses
from mm_adapter.serving.http.clips import ClipShelf
from mm_adapter.serving.http.conversation import Conversations, clip_parts, frames_part
from mm_adapter.serving.http.engine import Engine, features_part
from mm_adapter.serving.http.exported_coach import Export
from mm_data.tasks.coaching import demonstration_prompt


class EngineRanker:
    """A `mm_adapter.inference.experts.Ranker` that asks the engine.

    Args:
        engine: Engine that scores.
        coach: Export that the engine serves.
        shelf: Uploaded clips.
        poses: Pose codes of the gallery.
        features: Video features of the gallery, or None for a coach that sees no video.
    """

    def __init__(
        self, engine: Engine, coach: Export, shelf: ClipShelf, poses: ClipPoses, features: ClipFeatures | None
    ) -> None:
        self.engine, self.coach, self.shelf, self.poses, self.features = engine, coach, shelf, poses, features
        self.conversations = Conversations(coach, self._parts)

    def __call__(self, learner: str, remark: str, pool: list[str]) -> list[float]:
        """Scores candidates' poses (ExpertAF Eq. 2).

        Args:
            learner: Id of the learner's clip.
            remark: What the learner was told.
            pool: Ids of the candidates.

        Returns:
            Mean log-likelihoods.

        Raises:
            KeyError: The learner's clip is not kept any more.
            ValueError: The remark cannot be asked about.
            EngineError: The engine does not answer.
        """
        messages = self.conversations.rewrite(demonstration_prompt(learner, remark))
        answers = [self.coach.processor.pose_text(self.poses[clip]) for clip in pool]
        ids = [self.coach.processor.answer_ids(self.poses[clip]) for clip in pool]
        return self.engine.likelihoods(messages, answers, ids).tolist()

    def _parts(self, clip_id: str) -> list[dict[str, Any]]:
        """Returns the parts of an uploaded clip, or of a training clip, whose prompts make the priors."""
        clip = self.shelf.get(clip_id)
        if clip is not None:
            return clip_parts(self.coach, clip.codes, map(frames_part, clip.frames.values()))
        if self.poses.missing([clip_id]):
            raise KeyError(clip_id)
        videos = []
        if self.features is not None:
            videos = [features_part(self.features.get(clip_id, view)) for view in self.coach.config.views]
        return clip_parts(self.coach, self.poses[clip_id], videos)
