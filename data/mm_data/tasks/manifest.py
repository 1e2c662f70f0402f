"""The manifest of a folder of task items, which is written last."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically
from mm_data.records import SPLITS
from mm_data.tuples.manifest import MANIFEST as TUPLES
from mm_data.tuples.manifest import TupleManifest

MANIFEST = "items.json"


@dataclass(frozen=True)
class TaskManifest:
    """What a finished folder of items was made from, and what was counted on the way.

    Attributes:
        digest: Hash of the items; empty where an earlier version wrote the folder.
        task: Name of the task.
        found_by: What `find_task` finds the task by.
        source: Folder of the data set.
        videos: Folder that the clips' videos lie in.
        synthetic: Whether the data is made up.
        items: Items by split.
        with_poses: Items whose clips have poses.
        knowledge: What all items share, as the task's format takes it.
        funnel: Counts of every stage, as `Funnel.summary` gives them.
    """

    digest: str
    task: str
    found_by: str
    source: str
    videos: str
    synthetic: bool
    items: dict[str, int]
    with_poses: int
    knowledge: dict[str, Any]
    funnel: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "TaskManifest":
        """Reads the manifest of a finished folder.

        Args:
            folder: Folder of items.

        Returns:
            The manifest.

        Raises:
            FileNotFoundError: The folder holds no items, or is not finished.
        """
        if (folder / TUPLES).is_file():
            tuples = TupleManifest.read(folder)
            source, counts = str(tuples.source), {split: tuples.tuples[split] for split in SPLITS}
            return cls(
                "", "expertaf", "expertaf", source, source, tuples.synthetic, counts, sum(counts.values()), {}, []
            )
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished task items ({MANIFEST} is missing). Make them with `mm-coach task read`."
            )
        return cls(**{"digest": "", **json.loads((folder / MANIFEST).read_text())})

    def write(self, folder: Path) -> None:
        """Writes the manifest, which marks the folder as finished."""
        write_atomically(folder / MANIFEST, json.dumps(asdict(self), indent=1))
