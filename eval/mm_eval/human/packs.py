"""Blinded packs: a page per rater with clips inside, the questions as JSONL, and a key that raters never see."""

import base64
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np

from mm_data.ground.digests import hash_of
from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.videos.cut import cut_video
from mm_eval.answers.test_sets import TRUTH, TestItem
from mm_eval.metrics.text import clean

LIKERT, RANK = "likert", "rank"
POINTS = 4
"""Points of the Likert scale, as in ExpertAF's study: an even number, so that there is no middle to hide in."""
KEY, PACK, QUESTIONS = "key.json", "pack", "questions.jsonl"
_LABELS = "ABCDEFGH"
_CHECK_EVERY = 8
_MOST_BLOCKS = 500
CHECK = "check"


@dataclass(frozen=True)
class Question:
    """What one rater is asked about one item.

    Attributes:
        question_id: Id, unique in the pack; it says nothing about item or system.
        rater: Number of the rater, from 1.
        category: Activity of the item.
        texts: Label to text, in the order in which they are shown.
        clips: View to the item's video, as a data address.
    """

    question_id: str
    rater: int
    category: str
    texts: dict[str, str]
    clips: dict[str, str]


@dataclass(frozen=True)
class KeyEntry:
    """The truth behind a question: item, take, label to system; for an attention check the right values instead."""

    item_id: str
    cluster: str
    systems: dict[str, str]
    expected: dict[str, int] | None = None


@dataclass(frozen=True)
class Design:
    """How a pack is made.

    Attributes:
        kind: Kind of the answers: ``likert`` or ``rank``.
        raters: Number of people.
        per_item: Number of people who see each item.
        seed: Seed of orders and assignment.
        views: Views of the clips that are shown; none without videos.
    """

    kind: str
    raters: int
    per_item: int
    seed: int = 0
    views: tuple[str, ...] = ("exo",)


def make_pack(
    items: Sequence[TestItem],
    systems: Sequence[str],
    design: Design,
    out: Path,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> int:
    """Writes ``pack/`` for the raters and ``key.json`` beside it.

    The order of texts is drawn for every question, the order of items for every rater. Attention checks ask for a stated rating or
    order.

    Args:
        items: Items with the systems' answers.
        systems: Systems whose answers are rated; `TRUTH` for the references.
        design: How the pack is made.
        out: Folder of the study.
        progress: Called with a stage, the number done and the number of all.

    Returns:
        The number of questions.

    Raises:
        ValueError: Too few or many systems, more raters per item than raters, or an item without a clip.
    """
    if not 1 <= len(systems) <= len(_LABELS) or (design.kind == RANK and len(systems) < 2):
        raise ValueError(f"{len(systems)} systems: a ranking takes 2 to {len(_LABELS)}, a rating 1 to {len(_LABELS)}.")
    if not 1 <= design.per_item <= design.raters:
        raise ValueError(
            f"{design.per_item} raters per item out of {design.raters}; give at most as many as there are."
        )
    rng = np.random.default_rng(design.seed)
    clips = _clips(items, design.views, progress)
    key: dict[str, KeyEntry] = {}
    by_rater: dict[int, list[Question]] = {}
    blocks = balanced_blocks(len(items), design.raters, design.per_item, rng)
    for rater in range(1, design.raters + 1):
        mine = [items[index] for index in rng.permutation(len(items)) if rater - 1 in blocks[index]]
        pairs = [_question(item, systems, rater, clips.get(item.item_id, {}), rng) for item in mine]
        for position in reversed(check_positions(len(pairs))):
            pairs.insert(position, _check(design.kind, len(systems), rater, rng))
        by_rater[rater] = []
        for number, (question, entry) in enumerate(pairs, start=1):
            question_id = f"r{rater}q{number}"
            by_rater[rater].append(replace(question, question_id=question_id))
            key[question_id] = entry
    _write_pack(out / PACK, by_rater, design.kind)
    record = {
        "kind": design.kind,
        "design": asdict(design),
        "systems": list(systems),
        "synthetic": any(item.synthetic for item in items),
        "questions": {question_id: asdict(entry) for question_id, entry in key.items()},
    }
    write_atomically(out / KEY, json.dumps(record, indent=1))
    return len(key)


def _write_pack(pack: Path, by_rater: Mapping[int, Sequence[Question]], kind: str) -> None:
    """Writes what raters get: their questions as JSON lines, as pages, and for Label Studio."""
    questions = [question for mine in by_rater.values() for question in mine]
    pack.mkdir(parents=True, exist_ok=True)
    records = [{name: value for name, value in asdict(q).items() if name != "clips"} for q in questions]
    write_atomically(pack / QUESTIONS, "".join(json.dumps(record) + "\n" for record in records))
    for rater, mine in by_rater.items():
        write_atomically(pack / f"rater_{rater}.html", _page(mine, rater, kind))
    write_atomically(pack / "label_studio.json", json.dumps([_task(q) for q in questions], indent=1))
    write_atomically(pack / "label_studio.xml", _label_studio(questions, kind))


def check_positions(questions: int) -> list[int]:
    """Chooses the questions that an attention check comes before, spread over the pack: one in eight, and one in every pack.

    Questions are cut into as many stretches of equal length as there are checks, with a check in the middle of each.

    Args:
        questions: Number of questions.

    Returns:
        Positions of questions, from 0.
    """
    checks = max(1, round(questions / _CHECK_EVERY)) if questions else 0
    return [(2 * check + 1) * questions // (2 * checks) for check in range(checks)]


def balanced_blocks(items: int, raters: int, per_item: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Chooses which raters see each item: loads, and how often two raters meet, differ as little as can be.

    Args:
        items: Number of items.
        raters: Number of raters.
        per_item: Number of raters who see each item.
        rng: Generator that draws between equals.

    Returns:
        Raters of each item, from 0.
    """
    blocks = list(combinations(range(raters), per_item)) if comb(raters, per_item) <= _MOST_BLOCKS else None
    load, met = np.zeros(raters), Counter[tuple[int, int]]()
    chosen = []
    for _ in range(items):
        least_busy = np.lexsort((rng.random(raters), load))[:per_item]
        candidates = blocks or [tuple(sorted(least_busy.tolist()))]
        cost = []
        for block in candidates:
            pairs = [met[pair] for pair in combinations(block, 2)]
            cost.append((max(pairs, default=0), sum(pairs), sum(load[list(block)]), rng.random()))
        block = candidates[min(range(len(candidates)), key=cost.__getitem__)]
        load[list(block)] += 1
        met.update(combinations(block, 2))
        chosen.append(block)
    return chosen


def _question(
    item: TestItem, systems: Sequence[str], rater: int, clips: dict[str, str], rng: np.random.Generator
) -> tuple[Question, KeyEntry]:
    order = [systems[int(index)] for index in rng.permutation(len(systems))]
    named = dict(zip(_LABELS[: len(order)], order, strict=True))
    texts = {
        # Cleaned: tokens, Markdown or a prefix would tell the systems apart.
        label: clean(item.truth.text if system == TRUTH else item.answers[system].text)
        for label, system in named.items()
    }
    return Question("", rater, item.category, texts, clips), KeyEntry(item.item_id, item.cluster, named)


def _check(kind: str, count: int, rater: int, rng: np.random.Generator) -> tuple[Question, KeyEntry]:
    """Makes a question that only somebody who reads can answer right."""
    values = rng.permutation(count) + 1 if kind == RANK else rng.integers(1, POINTS + 1, count)
    expected = {label: int(value) for label, value in zip(_LABELS[:count], values, strict=True)}
    name = "rank" if kind == RANK else "rating"
    texts = {label: f"To show that you are reading, give this text the {name} {v}." for label, v in expected.items()}
    return Question("", rater, "", texts, {}), KeyEntry(CHECK, CHECK, {}, expected)


def _clips(
    items: Sequence[TestItem], views: Sequence[str], progress: Callable[[str, int, int], None]
) -> dict[str, dict[str, str]]:
    """Cuts each item's clips, as data addresses."""
    clips: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for done, item in enumerate(items if views else [], start=1):
            for view in views:
                if view not in item.clips:
                    raise ValueError(f"Item {item.item_id!r} has no {view} clip; choose other --views, or none.")
                clip, cut = item.clips[view], Path(folder) / "clip.mp4"
                cut_video(Path(clip.video), clip.start, clip.stop, cut)
                address = f"data:video/mp4;base64,{base64.b64encode(cut.read_bytes()).decode()}"
                clips.setdefault(item.item_id, {})[view] = address
            progress("clips", done, len(items))
    return clips


def _page(questions: Sequence[Question], rater: int, kind: str) -> str:
    records = [{"id": q.question_id, "category": q.category, "texts": q.texts, "clips": q.clips} for q in questions]
    scale = f"1 (useless to the learner) to {POINTS} (what a good coach would say)"
    instructions = {
        LIKERT: f"Watch the clip, then rate each commentary from {scale}.",
        RANK: "Watch the clip, then rank the commentaries: 1 is the best for the learner. Equal ranks are allowed.",
    }
    pack = {"pack": _digest(questions), "rater": rater, "kind": kind, "points": POINTS, "questions": records}
    return fill_template("mm_eval", "human/pack.html", rater=rater, instructions=instructions[kind], pack=pack)


def _digest(questions: Sequence[Question]) -> str:
    """Returns what tells a browser this pack from every other one, so that it offers none's answers to another."""
    texts = [[q.question_id, q.texts] for q in questions]
    return hash_of(texts, sort_keys=False)[:16]


def _task(question: Question) -> dict[str, object]:
    """Words a question for Label Studio; its clips are left to the pages, because it serves files by address."""
    texts = {f"text_{label}": text for label, text in question.texts.items()}
    return {"data": {"question": question.question_id, "rater": question.rater, "category": question.category, **texts}}


def _label_studio(questions: Sequence[Question], kind: str) -> str:
    labels = max((list(q.texts) for q in questions), key=len)
    most = POINTS if kind == LIKERT else len(labels)
    fields = "".join(
        f'\n  <Text name="shown_{label}" value="$text_{label}"/>'
        f'\n  <Rating name="{label}" toName="shown_{label}" maxRating="{most}"/>'
        for label in labels
    )
    return f'<View>\n  <Header value="$category"/>{fields}\n</View>\n'
