"""The ground-truth sidecar: which error was injected where. Evaluation only; training never reads it."""

import json
import re
from pathlib import Path
from typing import Any

from mm_data.labelling import Labels
from mm_data.miniature.remarks import NAMING

SIDECAR = "miniature_truth.json"


class MiniatureTruth:
    """The hidden truth of a miniature: which errors a take shows, and which errors a text names.

    Args:
        root: Folder of a miniature data set.

    Raises:
        FileNotFoundError: The folder has no sidecar, so it is not a miniature.
    """

    def __init__(self, root: Path) -> None:
        path = root / SIDECAR
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no ground-truth sidecar; only miniature data sets have one.")
        self.takes: dict[str, dict[str, Any]] = json.loads(path.read_text())["takes"]

    def errors(self, take_uid: str, start: int | None = None, stop: int | None = None) -> dict[str, float]:
        """Returns error name to severity for the repetitions of a take that overlap the frames ``[start, stop)``."""
        errors: dict[str, float] = {}
        for repetition in self.takes[take_uid]["repetitions"]:
            first, last = repetition["frames"]
            if (stop is None or first < stop) and (start is None or last > start):
                errors.update(repetition["errors"])
        return errors

    def named(self, take_uid: str, text: str) -> set[str]:
        """Returns the errors of the take's activity that a text names."""
        return errors_named(self.takes[take_uid]["activity"], text)

    def labels(self) -> Labels:
        """Returns the true labels of every remark, to hold a labeller against."""
        return Labels(
            "miniature's truth", {r: regions for t in self.takes.values() for r, regions in t["remarks"].items()}
        )


def errors_named(activity: str, text: str) -> set[str]:
    """Returns the errors of an activity of the miniature that a text names."""
    return {
        error
        for (slug, error), pattern in NAMING.items()
        if slug == activity and re.search(pattern, text, flags=re.IGNORECASE)
    }
