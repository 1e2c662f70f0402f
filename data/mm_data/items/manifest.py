"""The manifest of a folder of items: what it was made from and what was counted on the way. It is written last."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically

MANIFEST = "items.json"


@dataclass(frozen=True)
class ItemManifest:
    """What a finished folder of items was made from, and what was counted on the way.

    Attributes:
        task: Name of the task.
        found_by: What `mm_adapter.tasks.known.find_task` finds the task by.
        source: Folder of the data set.
        videos: Folder that the clips' videos lie in.
        synthetic: Whether the data is made up.
        items: Items by split.
        people: People by split, as far as the data set says who is seen.
        shared_people: People who are in both splits.
        with_poses: Items whose clips have poses.
        knowledge: What all items share, as the task's format takes it.
        funnel: Counts of every stage, as `Funnel.summary` gives them.
        digest: Hash of the items.
        gallery: Experts' clips beyond those of the test items, among which theirs are looked for.
        request: Everything that decided the items where they were mined: source, labeller, options of pairing; else empty.
        review: Hash of the reviewers' decisions that were applied; None without any.
        reviewed: Test items that a person has looked at.
    """

    task: str
    found_by: str
    source: str
    videos: str
    synthetic: bool
    items: dict[str, int]
    people: dict[str, int]
    shared_people: int
    with_poses: int
    knowledge: dict[str, Any]
    funnel: list[dict[str, Any]]
    digest: str
    gallery: int = 0
    request: dict[str, Any] = field(default_factory=dict)
    review: str | None = None
    reviewed: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Items by split, and where there is one the gallery."""
        return self.items | ({"gallery": self.gallery} if self.request or self.gallery else {})

    @classmethod
    def read(cls, folder: Path) -> "ItemManifest":
        """Reads the manifest of a finished folder.

        Args:
            folder: Folder of items.

        Returns:
            The manifest.

        Raises:
            FileNotFoundError: The folder holds no items, or is not finished.
            ValueError: An earlier version wrote it.
        """
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished items ({MANIFEST} is missing). Make them with `mm-coach task read`, or ExpertAF's tuples "
                "with `mm-coach data build`."
            )
        content = json.loads((folder / MANIFEST).read_text())
        if not {"people", "digest"} <= content.keys():
            raise ValueError(f"{folder} holds items of an earlier version; make them again.")
        return cls(**content)

    def write(self, folder: Path) -> None:
        """Writes the manifest, which marks the folder as finished."""
        write_atomically(folder / MANIFEST, json.dumps(asdict(self), indent=1))
