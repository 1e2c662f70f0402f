"""A task's test items with everything that answering them and their baselines take."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mm_adapter.model.config import CoachConfig
from mm_adapter.samples.clip_stores import ClipPoses, JointStore
from mm_data.features import FeatureStore
from mm_data.ground.digests import hash_of
from mm_data.tasks import Task, TaskFormat, TaskItem
from mm_data.tasks.folder import read_items
from mm_data.tasks.known import find_task, task_options
from mm_data.tasks.manifest import TaskManifest
from mm_eval.answers.test_sets import evenly_spaced
from mm_tokenizers.codes import PoseCodeStore


@dataclass(frozen=True)
class ItemSet:
    """The test items of a folder.

    Attributes:
        folder: The folder.
        manifest: Its manifest.
        task: Task of the items.
        test: Test items, possibly some of them.
        training: Training items, which baselines answer with.
        store: Video features of their clips, or None.
        left_out: Number of test items that are left out because extraction rejected their clips.
        ids: Ids of the whole test split.
    """

    folder: Path
    manifest: TaskManifest
    task: Task
    test: list[TaskItem]
    training: list[TaskItem]
    store: FeatureStore | None
    left_out: int
    ids: list[str]

    @classmethod
    def open(cls, folder: Path, store: FeatureStore | None, limit: int | None) -> "ItemSet":
        """Reads a folder of items.

        Args:
            folder: The folder.
            store: Video features of its clips, or None.
            limit: Number of test items, evenly spaced; None takes all.

        Returns:
            The items.
        """
        manifest = TaskManifest.read(folder)
        rejected = store.manifest.rejected if store else {}
        everything = read_items(folder, "test")
        test, training = (
            [item for item in items if item.clip.clip_id not in rejected]
            for items in (everything, read_items(folder, "train"))
        )
        left_out = len(everything) - len(test)
        task = find_task(manifest.found_by)
        ids = [item.item_id for item in everything]
        return cls(folder, manifest, task, evenly_spaced(test, limit), training, store, left_out, ids)

    def form(self, switches: Mapping[str, Any]) -> tuple[TaskFormat, Any]:
        """Returns how the items are asked and read with some of the task's switches, and all its switches."""
        options = task_options(self.task, dict(switches))
        return self.task.format(self.manifest.knowledge, options), options

    @property
    def content(self) -> dict[str, int | str]:
        """What tells these items from others, JSON-ready."""
        return {"items": len(self.test), "content": hash_of([self.manifest.knowledge, *map(asdict, self.test)])}


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
