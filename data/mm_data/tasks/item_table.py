"""Reads a table of one's own: a row per remark on a clip, beside videos or poses.

::

    FOLDER/items.csv (or items.jsonl, items.parquet)
    clip,person,category,split,score,verdict,remark
    anna-1.mp4,Anna,serve,train,6.5,good,Bend the knees before you toss.
    FOLDER/anna-1.mp4

``clip`` has to be there: a video below the folder, or a name that poses are filed under. So has one of ``remark``, ``score``,
``verdict``, ``label`` and ``findings`` (what needs improvement, separated by semicolons), and any of them may. ``start`` and ``stop``
(seconds), ``person``, ``category`` and ``split`` (train or test) may be, and ``expert_clip`` with ``expert_start``, ``expert_stop`` and
``expert_person``: a clip that shows the correction. Several rows of one clip and stretch are several remarks on it. Without ``split``
whole people are put aside for testing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mm_data.ground.digests import uniform
from mm_data.ground.funnel import Funnel
from mm_data.ground.hand_tables import number, read_table, video_path
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.poses.archive import PoseArchive
from mm_data.records import FPS, SPLITS, VideoClip
from mm_data.tasks.task import TaskData
from mm_data.videos.frames import VideoError, read_duration

NAMES = ("items.csv", "items.jsonl", "items.parquet")
SAID = ("remark", "score", "verdict", "label", "findings")
"""Columns of which one has to be there: what somebody said about the clip."""
EXPERT = ("expert_clip", "expert_start", "expert_stop", "expert_person")
KNOWN = ("clip", "start", "stop", "person", "category", "split", *SAID, *EXPERT)
TEST_SHARE = 0.2
"""Share of people, or of clips where nobody says whose they are, who are put aside for testing where the table has no split."""


def find_table(root: Path) -> Path | None:
    """Returns the table of a folder, or the table itself; None where there is none."""
    return root if root.is_file() else next((root / name for name in NAMES if (root / name).is_file()), None)


def read_item_table(root: Path) -> TaskData:
    """Reads a table and splits it where it does not say how.

    Args:
        root: Folder with a table of `NAMES` beside videos or poses, or the table itself.

    Returns:
        Items of both splits; their knowledge has the ``scores`` of training with ``lowest`` and ``highest``, and the ``labels``,
        ``verdicts`` and ``findings`` of both splits, each empty where the table has none, and ``remarks``: whether there are any.

    Raises:
        FileNotFoundError: There is no table.
        ValueError: A row cannot be read; names file and line. Or too many rows had to be left out, or a split would be empty.
    """
    table = find_table(root)
    if table is None:
        raise FileNotFoundError(f"{root} holds no {', no '.join(NAMES)}; docs/own-data.md shows one.")
    reader = _Reader(table)
    items: dict[str, TaskItem] = {}
    for where, row in _rows(table):
        item = reader.item(row, where)
        if item is not None:
            earlier = items.get(item.item_id)
            items[item.item_id] = item if earlier is None else _joined(earlier, item, where)
    reader.funnel.check()
    found = list(items.values())
    unsaid = [item.item_id for item in found if not item.split]
    if len(unsaid) == len(found):
        found = _split(found, table, reader.funnel)
    elif unsaid:
        raise ValueError(
            f"{table}: {len(unsaid)} clips have no split, such as {unsaid[0]!r}; fill in all of them, or none."
        )
    found = _comparable(found, reader.funnel)
    return TaskData(found, _knowledge(found), [reader.funnel], table.parent, False)


def with_experts(data: TaskData, root: Path) -> TaskData:
    """Keeps the items that have a remark and an expert's clip, and counts the others.

    Args:
        data: A table's items.
        root: Where they were read from, for the error.

    Returns:
        The items.

    Raises:
        ValueError: There is none.
    """
    funnel, kept = Funnel("find the experts", 1.0), []
    for item in data.items:
        if item.expert is None or not item.references:
            funnel.drop("no expert_clip" if item.expert is None else "no remark", item.item_id, expected=True)
        else:
            funnel.keep()
            kept.append(item)
    if not kept:
        raise ValueError(f"{root}: no clip has both a remark and an expert_clip, which ExpertAF's task needs.")
    return replace(data, items=kept, knowledge={}, funnels=[*data.funnels, funnel])


def _rows(table: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if table.suffix.lower() != ".parquet":
        return read_table(table, ("clip",))
    try:
        rows = pq.read_table(table).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{table} cannot be read as Parquet: {error}") from error
    return [(f"{table}: row {number}", row) for number, row in enumerate(rows, start=1)]


@dataclass
class _Reader:
    """What reading one row after another has to remember.

    Attributes:
        table: The table.
        funnel: What was kept, dropped and noted.
        spellings: Column and name in small letters to the name as it was spelt first.
    """

    table: Path
    funnel: Funnel = field(default_factory=lambda: Funnel("read the table", 0.1))
    spellings: dict[tuple[str, str], str] = field(default_factory=dict)

    def item(self, row: Mapping[str, Any], where: str) -> TaskItem | None:
        """Reads a row as an item; one that cannot be used is None, and counted."""
        if unknown := sorted(set(row) - set(KNOWN)):
            raise ValueError(f"{where}: unknown column {unknown[0]!r}; known are {', '.join(KNOWN)}.")
        if not set(row) & set(SAID):
            raise ValueError(f"{where}: the table says nothing about its clips; it needs one of {', '.join(SAID)}.")
        split = _text(row, "split")
        if split not in ("", *SPLITS):
            raise ValueError(f"{where}: split is {split!r}; give train or test.")
        score = _number(row, "score", where)
        label, verdict = (self._name(_text(row, column), column, where) for column in ("label", "verdict"))
        findings = self._findings(row.get("findings"), where) if "findings" in row else None
        remarks = _texts(row.get("remark"), where, "remark")
        if not remarks and score is None and not label and not verdict and not findings:
            self.funnel.drop("nothing is said about the clip", where)
            return None
        clip = self._clip(row, ("clip", "start", "stop"), where)
        if clip is None:
            return None
        expert = self._clip(row, EXPERT[:3], where) if _text(row, "expert_clip") else None
        if _text(row, "expert_clip") and expert is None:
            return None
        person = self._name(_text(row, "person"), "person", where) or None
        self.funnel.keep()
        return TaskItem(
            item_id=clip.clip_id,
            split=split,
            cluster=person or clip.clip_id.partition(":")[0],
            category=self._name(_text(row, "category"), "category", where) or label or "movement",
            clip=clip,
            truth=Answer(remarks[0] if remarks else "", score, label or None, verdict or None, findings=findings),
            references=remarks,
            person=person,
            expert=expert,
            expert_person=self._name(_text(row, "expert_person"), "person", where) or None,
        )

    def _clip(self, row: Mapping[str, Any], columns: Sequence[str], where: str) -> VideoClip | None:
        """Reads where a clip lies; None where nobody knows how long it is."""
        named, begins, ends = columns
        name = _text(row, named)
        if not name:
            raise ValueError(f"{where}: the row names no {named}.")
        path = video_path(name, where, f"{self.table.parent}, the table's folder")
        start, stop = _number(row, begins, where), _number(row, ends, where)
        stem = Path(path).with_suffix("").as_posix().replace("/", "-")
        lasts = self._duration(path, stem, where)
        if stop is None and lasts is None:
            self.funnel.drop(f"{named}: neither a video nor poses, nor where it stops", where)
            return None
        begin, end = start or 0.0, stop if stop is not None else lasts or 0.0
        if not 0 <= begin < end or (lasts is not None and begin >= lasts):
            of = "" if lasts is None else f" of {lasts:g} s that there are"
            raise ValueError(
                f"{where}: {named} runs from {begin:g} s to {end:g} s{of}; {begins} has to be before {ends}."
            )
        if lasts is not None and end > lasts + 1:
            raise ValueError(
                f"{where}: {named} stops at {end:g} s, and {name} ends at {lasts:g} s; {ends} is in seconds."
            )
        clip_id = stem if start is None and stop is None else f"{stem}:{begin:g}-{end:g}"
        return VideoClip(clip_id, {"exo": path}, begin, end)

    def _duration(self, path: str, stem: str, where: str) -> float | None:
        """Looks how long a clip's video is or, where there is none, its poses beside the table."""
        folder = self.table.parent
        try:
            return read_duration(folder / path)
        except FileNotFoundError:
            self.funnel.note("no video: poses or published features are needed", where)
        except VideoError as error:
            raise ValueError(f"{where}: {error}") from error
        poses = PoseArchive(folder)
        return poses.frames(stem) / FPS if stem in poses else None

    def _findings(self, cell: Any, where: str) -> list[str]:
        parts = [part for text in _texts(cell, where, "findings") for part in text.split(";")]
        return list(dict.fromkeys(self._name(part.strip(), "findings", where) for part in parts if part.strip()))

    def _name(self, name: str, column: str, where: str) -> str:
        """Returns a name as it was spelt first: "Anna" and "anna" are one person."""
        first = self.spellings.setdefault((column, " ".join(name.casefold().split())), name)
        if first != name:
            self.funnel.note(
                f"{column} spelt in several ways, which are read as the first", f"{where}: {name!r} as {first!r}"
            )
        return first


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _texts(cell: Any, where: str, column: str) -> list[str]:
    """Reads a cell with a text or, in JSON lines and Parquet, several."""
    cells = cell if isinstance(cell, list) else [cell]
    if wrong := [one for one in cells if one is not None and not isinstance(one, str)]:
        raise ValueError(f"{where}: {column} is {wrong[0]!r}; give a text, or a list of texts.")
    return [one.strip() for one in cells if one and one.strip()]


def _number(row: Mapping[str, Any], column: str, where: str) -> float | None:
    cell = row.get(column)
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return number(cell, where, column)


def _joined(earlier: TaskItem, further: TaskItem, where: str) -> TaskItem:
    """Returns an item with what a further row says; what both say has to be the same, but for remarks."""
    said = {
        name: (getattr(earlier, name), getattr(further, name)) for name in ("split", "cluster", "category", "expert")
    }
    said |= {name: (getattr(earlier.truth, name), getattr(further.truth, name)) for name in SAID[1:]}
    for name, (mine, other) in said.items():
        if None not in (mine, other) and mine != other:
            what = "expert_clip" if name == "expert" else "person" if name == "cluster" else name
            shown = (f"{one.clip_id if isinstance(one, VideoClip) else one!r}" for one in (other, mine))
            raise ValueError(f"{where}: clip {earlier.item_id!r} has {what} {' here and '.join(shown)} above.")
    fields = {name: mine if mine is not None else other for name, (mine, other) in said.items() if name in SAID}
    remarks = list(dict.fromkeys([*earlier.references, *further.references]))
    truth = replace(earlier.truth, text=remarks[0] if remarks else "", **fields)
    return replace(earlier, truth=truth, references=remarks, expert=earlier.expert or further.expert)


def _split(items: Sequence[TaskItem], table: Path, funnel: Funnel) -> list[TaskItem]:
    """Puts whole people aside for testing, at least one; where there is one person alone, clips."""
    people = sorted({item.cluster for item in items}, key=uniform)
    groups = people if len(people) > 1 else sorted((item.item_id for item in items), key=uniform)
    if len(groups) < 2:
        count = f"{len(groups)} clip{'' if len(groups) == 1 else 's'}"
        raise ValueError(f"{table} has {count} that can be used; training and testing need at least one each.")
    aside = set(groups[: max(1, math.floor(TEST_SHARE * len(groups)))])
    what = "people put aside for testing" if len(people) > 1 else "clips put aside for testing: all are of one person"
    for name in sorted(aside):
        funnel.note(what, name)
    return [replace(item, split="test" if {item.cluster, item.item_id} & aside else "train") for item in items]


def _comparable(items: Sequence[TaskItem], funnel: Funnel) -> list[TaskItem]:
    """Leaves out what nobody could be compared by: verdicts and labels of one kind alone, and test clips without a remark where others have one."""
    for part in ("verdict", "label"):
        names = {getattr(item.truth, part) for item in items} - {None}
        if len(names) == 1:
            funnel.note(f"{part} is the same everywhere, so it is not asked", f"{names.pop()!r}")
            items = [replace(item, truth=replace(item.truth, **{part: None})) for item in items]
    if not any(item.references for item in items):
        return list(items)
    mute = [item for item in items if item.split == "test" and not item.references]
    for item in mute:
        funnel.drop("a test clip without a remark, where others have one", item.item_id, expected=True)
    return [item for item in items if item not in mute]


def _knowledge(items: Sequence[TaskItem]) -> dict[str, Any]:
    """Collects what all items share."""
    truths = [item.truth for item in items]
    scores = sorted(i.truth.score for i in items if i.split == "train" and i.truth.score is not None)
    return {
        "scores": scores,
        **({"lowest": scores[0], "highest": scores[-1]} if scores else {}),
        "labels": sorted({truth.label for truth in truths if truth.label}),
        "verdicts": sorted({truth.verdict for truth in truths if truth.verdict}),
        "findings": sorted({name for truth in truths for name in truth.findings or ()}),
        "remarks": any(item.references for item in items),
    }
