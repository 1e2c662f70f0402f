"""A task's test items with everything that answering them and their baselines take."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mm_adapter.model.config import CoachConfig
from mm_adapter.samples.clip_stores import ClipPoses, JointStore
from mm_adapter.samples.sources import without_rejected
from mm_adapter.tasks import Task
from mm_adapter.tasks.known import find_task, task_options
from mm_data.features import FeatureStore
from mm_data.folders import pose_stretches
from mm_data.ground.digests import hash_of
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_gallery, read_items
from mm_data.records import VideoClip
from mm_data.tasks import TaskFormat, TaskItem
from mm_eval.answers.test_sets import evenly_spaced
from mm_tokenizers.codes import PoseCodeStore

POSE_FRAMES = 8
"""Frames by which clips are compared where no pose codes say how many."""


@dataclass(frozen=True)
class ItemSet:
    """The test items of a folder.

    Attributes:
        folder: The folder.
        manifest: Its manifest.
        task: Task of the items.
        test: Test items, possibly some of them.
        training: Training items, which baselines answer with.
        gallery: Experts' clips that are ranked, with their activities; empty where the items have no experts.
        store: Video features of their clips, or None.
        frames: Number of frames at which poses are compared.
        left_out: Number of test items that are left out because extraction rejected their clips.
        ids: Ids of the whole test split.
    """

    folder: Path
    manifest: ItemManifest
    task: Task
    test: list[TaskItem]
    training: list[TaskItem]
    gallery: list[tuple[VideoClip, str]]
    store: FeatureStore | None
    frames: int
    left_out: int
    ids: list[str]

    @classmethod
    def open(cls, folder: Path, store: FeatureStore | None, limit: int | None, frames: int = POSE_FRAMES) -> "ItemSet":
        """Reads a folder of items.

        Args:
            folder: The folder.
            store: Video features of its clips, or None.
            limit: Number of test items, evenly spaced; None takes all.
            frames: Number of frames at which poses are compared; by default a few.

        Returns:
            The items.
        """
        manifest = ItemManifest.read(folder)
        rejected = store.manifest.rejected if store else {}
        everything = read_items(folder, "test")
        whole, left_out = without_rejected(everything, store)
        training, _ = without_rejected(read_items(folder, "train"), store)
        test = evenly_spaced(whole, limit)
        experts = [(item.expert, item.category) for item in test if item.expert is not None]
        further = [(row.clip, row.category) for row in read_gallery(folder) if row.clip.clip_id not in rejected]
        task, ids = find_task(manifest.found_by), [item.item_id for item in everything]
        return cls(folder, manifest, task, test, training, experts + further, store, frames, left_out, ids)

    def form(self, switches: Mapping[str, Any]) -> tuple[TaskFormat, Any]:
        """Returns how the items are asked and read with some of the task's switches, and all its switches."""
        options = task_options(self.task, dict(switches))
        knowledge = self.manifest.knowledge | ({"gallery": self.gallery} if self.gallery else {})
        return self.task.format(knowledge, options), options

    @cached_property
    def joints(self) -> JointStore:
        """Poses of the clips that have some."""
        return JointStore(pose_stretches(self.folder), self.frames)

    @property
    def content(self) -> dict[str, int | str]:
        """What tells these items from others, JSON-ready."""
        content = [self.manifest.knowledge, *map(asdict, self.test), *map(asdict, self.training)]
        gallery = [[clip.clip_id, name] for clip, name in self.gallery]
        return {"items": len(self.test), "content": hash_of([*content, gallery] if gallery else content)}


def open_inputs(
    config: CoachConfig, folder: Path, features: Path | None, codes: Path | None
) -> tuple[FeatureStore | None, ClipPoses | None]:
    """Opens what a coach looks at of a folder of items.

    Args:
        config: Configuration of the coach.
        folder: The folder.
        features: Feature store; None for the one inside the folder.
        codes: Pose codes; None for those inside the folder.

    Returns:
        Video features, and poses in the coach's form; None for what it does not look at.
    """
    store = FeatureStore(features or folder / "features") if config.video_tokens else None
    if config.pose_form == "text":
        return store, JointStore.read(folder, config.pose_frames)
    codes = codes or folder / "pose_codes"
    return store, PoseCodeStore.load(codes) if config.pose_form == "tokens" and codes.is_dir() else None
