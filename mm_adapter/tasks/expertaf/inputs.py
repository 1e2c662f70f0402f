"""Answers to ExpertAF's questions with what their baselines take."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mm_eval.answers.clips import AnsweredClip
from mm_eval.answers.test_sets import OURS, TestItem, variant_of_ours
from mm_eval.statistics.metric import Metric

Row = dict[str, Metric]
Table = dict[str, Row]

RAW_LIKELIHOOD = "raw likelihood"
"""Name of the variant that ranks without priors."""
NO_POSES = "no pose sequence"
"""What is said to be unread of an answer whose poses are none."""


@dataclass(frozen=True)
class Inputs:
    """A run whose answers are scored.

    Attributes:
        items: Test items with a system's answers; their truth's label is the expert's clip that answers them.
        training: Training items, for the baselines.
        clips: Clips by id: learners, experts, and the gallery.
    """

    items: list[TestItem]
    training: list[TestItem]
    clips: Mapping[str, AnsweredClip]

    @property
    def clusters(self) -> list[str]:
        """The learner of each item: several takes of one person are not independent."""
        return [item.cluster for item in self.items]

    @property
    def activities(self) -> list[str]:
        """The activity of each item."""
        return [item.category for item in self.items]

    @property
    def ranked(self) -> bool:
        """Whether the system ranks experts."""
        return all(item.answers[OURS].ranking for item in self.items)

    @property
    def rankings(self) -> list[dict[str, float]]:
        """Candidates' scores, for each item."""
        return [item.answers[OURS].ranking or {} for item in self.items]

    @property
    def likelihoods(self) -> list[dict[str, float]] | None:
        """Candidates' scores without priors, where the system has them."""
        name = variant_of_ours(RAW_LIKELIHOOD)
        if any(name not in item.answers for item in self.items):
            return None
        return [item.answers[name].ranking or {} for item in self.items]

    @cached_property
    def generated(self) -> list[np.ndarray | None] | None:
        """Generated joints ``[T, 17, 3]`` per item, None where nothing usable came; None for a system that shows no poses."""
        answers = [item.answers[OURS] for item in self.items]
        if not any(answer.poses is not None or NO_POSES in (answer.unread or ()) for answer in answers):
            return None
        return [None if answer.poses is None else np.array(answer.poses) for answer in answers]

    @property
    def reconstructed(self) -> list[np.ndarray] | None:
        """The tokenizer's round trip of the expert's poses ``[T, 17, 3]`` per item; None for systems without one."""
        decoded = [self.clips[item.expert_id or ""].decoded for item in self.items]
        return None if any(joints is None for joints in decoded) else [j for j in decoded if j is not None]

    @property
    def vectors(self) -> dict[str, np.ndarray] | None:
        """One unit vector of video features per clip, or None where the run has none."""
        vectors = {name: clip.vector for name, clip in self.clips.items() if clip.vector is not None}
        if any(item.clip_id not in vectors for item in self.items):
            return None
        return {name: vector / np.linalg.norm(vector) for name, vector in vectors.items()}

    @property
    def posed(self) -> bool:
        """Whether the run holds the poses of its clips."""
        return bool(self.clips) and all(clip.poses is not None for clip in self.clips.values())

    def poses(self, clip_id: str | None) -> np.ndarray:
        """Returns a clip's canonical poses ``[T, 17, 4]``.

        Args:
            clip_id: Id of the clip.

        Returns:
            The poses.

        Raises:
            ValueError: The run holds no poses of it.
        """
        clip = self.clips.get(clip_id or "")
        if clip is None or clip.poses is None:
            raise ValueError(f"The run holds no poses of clip {clip_id!r}; answer the items again.")
        return clip.poses

    def nearest_training(self, kind: str) -> list[TestItem] | None:
        """Returns the training item that is nearest to each test item by a kind of similarity; None where the run has none."""
        by_id = {item.item_id: item for item in self.training}
        if any(kind not in item.nearest for item in self.items):
            return None
        return [by_id[item.nearest[kind]] for item in self.items]
