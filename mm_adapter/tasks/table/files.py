"""Reads a table of one's own: a row per remark on a clip, beside the videos.

::

    FOLDER/items.csv (or items.jsonl)
    clip,person,category,split,score,remark
    anna-1.mp4,Anna,serve,train,6.5,Bend the knees before you toss.
    FOLDER/anna-1.mp4

Columns: ``clip`` (a video below the folder, or a name that poses are filed under) and ``remark`` have to be there. ``start`` and ``stop``
(seconds), ``person``, ``category``, ``split`` (train or test) and ``score`` may be. Several rows of one clip and stretch are several
remarks on it. Without ``split`` whole people are put aside for testing.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mm_data.ground.digests import uniform
from mm_data.ground.funnel import Funnel
from mm_data.ground.hand_tables import number, read_table, video_path
from mm_data.records import SPLITS, VideoClip
from mm_data.tasks import Answer, TaskData, TaskItem
from mm_data.videos.frames import VideoError, read_duration

NAMES = ("items.csv", "items.jsonl")
KNOWN = ("clip", "start", "stop", "person", "category", "split", "score", "remark")
TEST_SHARE = 0.2
"""Share of people, or of clips where nobody says whose they are, who are put aside for testing where the table has no split."""


def read_items_table(root: Path) -> TaskData:
    """Reads a table and splits it where it does not say how.

    Args:
        root: Folder with ``items.csv`` or ``items.jsonl`` beside the videos, or the table itself.

    Returns:
        Items of both splits.

    Raises:
        FileNotFoundError: There is no table.
        ValueError: A row cannot be read; names file and line. Or too many rows had to be left out, or a split would be empty.
    """
    table = root if root.is_file() else next((root / name for name in NAMES if (root / name).is_file()), None)
    if table is None:
        raise FileNotFoundError(f"{root} holds no {' and no '.join(NAMES)}; docs/tour.md shows one.")
    folder, funnel = table.parent, Funnel("read the table", 0.1)
    items: dict[str, TaskItem] = {}
    splits: dict[str, str] = {}
    for where, row in read_table(table, ("clip", "remark")):
        if unknown := sorted(set(row) - set(KNOWN)):
            raise ValueError(f"{where}: unknown column {unknown[0]!r}; known are {', '.join(KNOWN)}.")
        item = _item(row, where, folder, funnel)
        if item is None:
            continue
        funnel.keep()
        earlier = items.get(item.item_id)
        if earlier is not None:
            item = _joined(earlier, item, where)
        items[item.item_id] = item
        splits[item.item_id] = item.split
    funnel.check()
    found = list(items.values())
    if not any(splits.values()):
        found = _split(found, funnel)
    elif unsaid := [name for name, split in splits.items() if not split]:
        raise ValueError(
            f"{table}: {len(unsaid)} clips have no split, such as {unsaid[0]!r}; fill in all of them, or none."
        )
    scores = sorted(i.truth.score for i in found if i.split == "train" and i.truth.score is not None)
    knowledge = {"lowest": scores[0], "highest": scores[-1], "scores": scores} if scores else {"scores": []}
    return TaskData(found, knowledge, [funnel], folder, False)


def _item(row: dict[str, Any], where: str, folder: Path, funnel: Funnel) -> TaskItem | None:
    """A row as an item; None where it cannot be used, which is counted."""
    name, remark, split = (str(row.get(column) or "").strip() for column in ("clip", "remark", "split"))
    if not name:
        raise ValueError(f"{where}: the row names no clip.")
    if split not in ("", *SPLITS):
        raise ValueError(f"{where}: split is {split!r}; give train or test.")
    if not remark:
        funnel.drop("no remark", where)
        return None
    path = video_path(name, where, f"{folder}, the table's folder")
    start, stop = (_seconds(row.get(column), where, column) for column in ("start", "stop"))
    try:
        duration = read_duration(folder / path)
    except FileNotFoundError:
        duration = None
        funnel.note("no video: poses or published features are needed", where)
    except VideoError as error:
        raise ValueError(f"{where}: {error}") from error
    if stop is None and duration is None:
        funnel.drop("neither a video nor where the clip stops", where)
        return None
    begin, end = start or 0.0, stop if stop is not None else duration or 0.0
    if not 0 <= begin < end or (duration is not None and begin >= duration):
        lasts = "" if duration is None else f" of a video of {duration:g} s"
        raise ValueError(f"{where}: the clip runs from {begin:g} s to {end:g} s{lasts}; start has to be before stop.")
    stem = Path(path).with_suffix("").as_posix().replace("/", "-")
    clip_id = stem if start is None and stop is None else f"{stem}:{begin:g}-{end:g}"
    clip = VideoClip(clip_id, {"exo": path}, begin, end)
    score = None if row.get("score") in (None, "") else number(row["score"], where, "score")
    person, category = (str(row.get(column) or "").strip() for column in ("person", "category"))
    truth = Answer(remark, score=score)
    return TaskItem(
        clip_id, split, person or stem, category or "movement", clip, truth, [remark], person=person or None
    )


def _joined(earlier: TaskItem, further: TaskItem, where: str) -> TaskItem:
    """An item with one more remark; everything else has to be the same."""
    for name in ("split", "cluster", "category"):
        mine, other = getattr(earlier, name), getattr(further, name)
        if mine != other:
            raise ValueError(f"{where}: clip {earlier.item_id!r} has {name} {other!r} here and {mine!r} above.")
    if None not in (earlier.truth.score, further.truth.score) and earlier.truth.score != further.truth.score:
        raise ValueError(
            f"{where}: clip {earlier.item_id!r} has score {further.truth.score:g} here and {earlier.truth.score:g} above."
        )
    score = further.truth.score if earlier.truth.score is None else earlier.truth.score
    remarks = list(dict.fromkeys([*earlier.references, *further.references]))
    return replace(earlier, truth=replace(earlier.truth, score=score), references=remarks)


def _split(items: Sequence[TaskItem], funnel: Funnel) -> list[TaskItem]:
    """Puts whole people aside for testing, at least one; where there is one person alone, clips."""
    people = sorted({item.cluster for item in items}, key=uniform)
    groups = people if len(people) > 1 else sorted((item.item_id for item in items), key=uniform)
    if len(groups) < 2:
        raise ValueError("The table has one clip alone; training and testing need at least one each.")
    aside = set(groups[: max(1, math.floor(TEST_SHARE * len(groups)))])
    what = "people put aside for testing" if len(people) > 1 else "clips put aside for testing: all are of one person"
    for name in sorted(aside):
        funnel.note(what, name)
    return [replace(item, split="test" if {item.cluster, item.item_id} & aside else "train") for item in items]


def _seconds(cell: Any, where: str, column: str) -> float | None:
    return None if cell in (None, "") else number(cell, where, column)
