"""The manifest of a pose folder: which sequences it holds, on which side of the split they are, and how they came to be."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically

MANIFEST = "poses.json"


@dataclass(frozen=True)
class PoseSequence:
    """One array of poses.

    Attributes:
        name: Name of the array's file without its ending.
        split: ``train`` or ``test``.
        frames: Number of frames, where the folder was imported.
    """

    name: str
    split: str
    frames: int | None = None


@dataclass(frozen=True)
class PoseManifest:
    """What a pose folder holds and, where it was imported, how.

    Attributes:
        synthetic: Whether the poses are made up.
        sequences: The arrays.
        request: Source, format and options of the import.
        funnel: Counts of every stage, as `Funnel.summary` gives them.
        people: How many performers there are on each side, how they are known, and who is on both.
    """

    synthetic: bool
    sequences: list[PoseSequence]
    request: dict[str, Any] = field(default_factory=dict)
    funnel: list[dict[str, Any]] = field(default_factory=list)
    people: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "PoseManifest":
        """Reads the manifest of a finished pose folder."""
        content = json.loads((folder / MANIFEST).read_text())
        return cls(**{**content, "sequences": [PoseSequence(**entry) for entry in content["sequences"]]})

    def write(self, folder: Path, indent: int | None = 1) -> None:
        """Writes the manifest, which is what makes the folder complete."""
        sequences = [{k: v for k, v in asdict(sequence).items() if v is not None} for sequence in self.sequences]
        content: dict[str, Any] = {"synthetic": self.synthetic, "sequences": sequences}
        if self.request:
            content = {"request": self.request, **content, "funnel": self.funnel}
        if self.people:
            content["people"] = self.people
        write_atomically(folder / MANIFEST, json.dumps(content, indent=indent))

    def names(self, split: str) -> list[str]:
        """Returns the names of the sequences on one side of the split."""
        return [sequence.name for sequence in self.sequences if sequence.split == split]

    def frames(self, split: str) -> int:
        """Returns the number of frames on one side of the split."""
        return sum(sequence.frames or 0 for sequence in self.sequences if sequence.split == split)
