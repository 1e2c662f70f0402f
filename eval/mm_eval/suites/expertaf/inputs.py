"""Test tuples with a system's answers and all that its baselines need."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.miniature.truth import MiniatureTruth
from mm_data.records import FPS, Clip, CoachingTuple
from mm_data.tasks import Answer
from mm_eval.answers.test_sets import OURS, ClipFile, TestItem
from mm_eval.statistics.metric import Metric

Row = dict[str, Metric]
Table = dict[str, Row]


@dataclass(frozen=True)
class Inputs:
    """Test tuples with a system's answers, aligned by index with ``tuples``.

    Attributes:
        tuples: Test tuples.
        predictions: Records of `mm_adapter.evaluation.predictions`; without ``scores`` nothing was ranked.
        generated: Generated joints ``[T, 17, 3]`` per tuple, or None where nothing usable was generated; None for a system that
            generates no poses.
        reconstructed: The tokenizer's round trip of the expert's poses ``[T, 17, 3]`` per tuple, or None for systems
            without one.
        training: Training tuples, for the baselines.
        poses: Clip id to its sampled canonical poses ``[T, 17, 4]``.
        video: Clip id to one video feature vector, or None for a pose-only coach.
        truth: The miniature's sidecar, or None for real data.
        videos: Root of the videos.
    """

    tuples: list[CoachingTuple]
    predictions: list[dict[str, Any]]
    generated: list[np.ndarray | None] | None
    reconstructed: list[np.ndarray] | None
    training: list[CoachingTuple]
    poses: dict[str, np.ndarray]
    video: dict[str, np.ndarray] | None
    truth: MiniatureTruth | None
    videos: Path

    @property
    def clusters(self) -> list[str]:
        """The learner of each tuple: several takes of one person are not independent."""
        return [t.learner.participant for t in self.tuples]

    @property
    def activities(self) -> list[str]:
        """The activity of each tuple."""
        return [t.activity for t in self.tuples]

    @property
    def ranked(self) -> bool:
        """Whether the system ranks experts."""
        return all("scores" in p for p in self.predictions)

    def nearest_training(self, space: dict[str, np.ndarray]) -> list[CoachingTuple]:
        """Finds for each test tuple the training tuple whose learner clip is nearest in a space of clips."""
        stacked = np.stack([space[t.learner.clip_id] for t in self.training])
        return [self.training[int(((stacked - space[t.learner.clip_id]) ** 2).sum(1).argmin())] for t in self.tuples]

    def test_items(self) -> list[TestItem]:
        """Returns the tuples with the system's commentary and their nearest training tuples."""
        flat = {clip: np.where(poses[..., 3:] > 0, poses[..., :3], 0.0).ravel() for clip, poses in self.poses.items()}
        nearest = {"pose": self.nearest_training(flat)}
        if self.video is not None:
            nearest["video"] = self.nearest_training(self.video)
        return [
            TestItem(
                t.tuple_id,
                t.learner.participant,
                t.activity,
                Answer(t.summary),
                {OURS: Answer(prediction["commentary"])},
                self._clips(t.learner),
                {kind: neighbours[index].tuple_id for kind, neighbours in nearest.items()},
                self.truth is not None,
            )
            for index, (t, prediction) in enumerate(zip(self.tuples, self.predictions, strict=True))
        ]

    def training_items(self) -> list[TestItem]:
        """Returns the training tuples with their remarks."""
        return [TestItem(t.tuple_id, t.learner.participant, t.activity, Answer(t.summary)) for t in self.training]

    def _clips(self, clip: Clip) -> dict[str, ClipFile]:
        start, stop = clip.start / FPS, clip.stop / FPS
        return {
            "exo": ClipFile(str(self.videos / clip.exo_video), start, stop),
            "ego": ClipFile(str(self.videos / clip.ego_video), start, stop),
        }
