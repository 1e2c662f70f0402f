"""The manifest of a tuple folder, which says what the folder was made from and what was counted; it is written last."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically

MANIFEST, GALLERY = "manifest.json", "gallery.parquet"


@dataclass(frozen=True)
class TupleManifest:
    """What a finished folder of tuples was made from, and what was counted on the way.

    Attributes:
        request: Source, labeller, options of pairing and whatever else decided the tuples.
        review: Hash of the reviewers' decisions that were applied; None without any.
        reviewed: Test tuples that a person has looked at.
        synthetic: Whether the data is made up.
        tuples: Tuples by split, and the clips of the gallery.
        participants: People by split.
        shared_participants: People who are in both splits.
        funnel: Counts of every stage, as `Funnel.summary` gives them.
    """

    request: dict[str, Any]
    review: str | None
    reviewed: int
    synthetic: bool
    tuples: dict[str, int]
    participants: dict[str, int]
    shared_participants: int
    funnel: list[dict[str, Any]]

    @property
    def source(self) -> Path:
        """Folder of the data set that the tuples were made from."""
        return Path(self.request["source"])

    @property
    def labeller(self) -> str:
        """Version of the labeller."""
        return self.request["labeller"]

    @classmethod
    def read(cls, folder: Path) -> "TupleManifest":
        """Reads the manifest of a finished folder.

        Args:
            folder: Tuple folder.

        Returns:
            The manifest.

        Raises:
            FileNotFoundError: The folder was not built, or not completely.
        """
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished tuples ({MANIFEST} is missing). Build them with `mm-coach data build`."
            )
        return cls(**json.loads((folder / MANIFEST).read_text()))

    def write(self, folder: Path) -> None:
        """Writes the manifest, which marks the folder as finished."""
        write_atomically(folder / MANIFEST, json.dumps(asdict(self), indent=2))
