"""A test split with everything that predicting and scoring need, and coaches with the inputs of its clips."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.distributed import launched_processes, native_dtype
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.ranking import Gallery, Ranker, rank_by_demonstration, rank_by_remark
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.samples.sources import without_rejected
from mm_data.features import FeatureStore
from mm_data.folders import stretches_of
from mm_data.ground.digests import hash_of
from mm_data.records import Clip, CoachingTuple
from mm_data.tasks.expertaf import shows_poses
from mm_data.tuples.store import clips_of, read_gallery, read_tuples, tuples_hash
from mm_tokenizers.codes import PoseCodeStore


@dataclass(frozen=True)
class TestSet:
    """Test tuples and what belongs to them.

    Attributes:
        folder: Tuple folder.
        tuples: Test tuples, possibly a subset.
        training: Training tuples, for baselines and priors.
        gallery: Expert clips that are ranked.
        clips: Every clip by id.
        codes: Pose codes of the clips.
        features: Video features of the clips, or None.
        joints: Poses at the frames of the codes.
        inputs: Hashes of the tuple folder's content, of the codes and of the features (None without), whatever part is asked about.
        unusable: Number of test tuples that are left out because extraction rejected their clips.
    """

    __test__ = False  # no tests, whatever pytest thinks of the name

    folder: Path
    tuples: list[CoachingTuple]
    training: list[CoachingTuple]
    gallery: Gallery
    clips: dict[str, Clip]
    codes: PoseCodeStore
    features: FeatureStore | None
    joints: JointStore
    inputs: dict[str, str | None]
    unusable: int

    @classmethod
    def open(
        cls, folder: Path, codes: Path, features: Path | None, within_activity: bool, limit: int | None
    ) -> "TestSet":
        """Reads a tuple folder with its codes and features.

        Args:
            folder: Tuple folder.
            codes: Pose codes of its clips.
            features: Feature store of its clips, or None.
            within_activity: Rank experts of the learner's activity alone.
            limit: Number of test tuples, evenly spaced; None keeps all.

        Returns:
            The test set.
        """
        store = FeatureStore(features) if features else None
        test, unusable = without_rejected(read_tuples(folder, "test"), store)
        training, _ = without_rejected(read_tuples(folder, "train"), store)
        if limit is not None and limit < len(test):
            test = [test[i] for i in np.linspace(0, len(test) - 1, limit).round().astype(int)]
        rejected = store.manifest.rejected if store else {}
        further = [(clip, activity) for clip, activity in read_gallery(folder) if clip.clip_id not in rejected]
        clips = clips_of(test + training) | {clip.clip_id: clip for clip, _ in further}
        pose_codes = PoseCodeStore.load(codes)
        gallery = Gallery.of(test, further, within_activity)
        joints = JointStore(stretches_of(clips, folder), pose_codes.frames)
        inputs = {
            "tuples": tuples_hash(folder),
            "codes": pose_codes.digest,
            "features": hash_of(asdict(store.manifest)) if store else None,
        }
        return cls(folder, test, training, gallery, clips, pose_codes, store, joints, inputs, unusable)

    def inputs_seen(self, video: bool) -> dict[str, str | None]:
        """Returns the inputs that decide what a system answers; features only for one that sees video."""
        return self.inputs if video else {**self.inputs, "features": None}


def open_coach(test: TestSet, folder: Path, base_model: str | None) -> tuple[SavedCoach, Coach]:
    """Opens a coach, alone and with the inputs that it was trained on; ``base_model`` as in `SavedCoach`."""
    device = torch.device(launched_processes().device or "cpu")
    saved = SavedCoach.from_pretrained(folder, device, native_dtype(device), base_model=base_model)
    config = saved.model.config
    text = config.pose_form == "text"
    poses = JointStore(stretches_of(test.clips, test.folder), config.pose_frames) if text else test.codes
    return saved, Coach(saved.model, saved.processor, poses, test.features if config.video_tokens else None)


def can_demonstrate(coach: SavedCoach) -> bool:
    """Whether a coach was trained on more than commentary."""
    return shows_poses(coach.formats)


def ranker_of(saved: SavedCoach, coach: Coach) -> Ranker:
    """Ranks clips by how likely they are as a demonstration or, for a coach that only comments, by how likely the remark is."""
    return partial(rank_by_demonstration if can_demonstrate(saved) else rank_by_remark, coach)
