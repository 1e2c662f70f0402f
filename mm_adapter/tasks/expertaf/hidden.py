"""What only the evaluation may know: which errors the miniature's clips were made with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm_adapter.tasks.expertaf.commentary import ACTIVITY, ERRORS
from mm_data.miniature.truth import SIDECAR, MiniatureTruth
from mm_data.records import FPS
from mm_data.tasks import TaskItem


def injected_errors(source: Path, items: Sequence[TaskItem]) -> dict[str, dict[str, Any]]:
    """Looks up the errors of simulated clips.

    Args:
        source: Folder of the data set.
        items: Test items.

    Returns:
        Item id to activity and errors; empty where the data set is no miniature.
    """
    if not (source / SIDECAR).is_file():
        return {}
    truth, known = MiniatureTruth(source), {}
    for item in items:
        take = item.clip.clip_id.partition(":")[0]
        errors = truth.errors(take, round(item.clip.start * FPS), round(item.clip.stop * FPS))
        known[item.item_id] = {ACTIVITY: truth.takes[take]["activity"], ERRORS: sorted(errors)}
    return known
