"""Raters' answers, read back and matched with the key."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from mm_data.ground.files import read_text, write_atomically
from mm_data.ground.hand_tables import csv_text, read_csv
from mm_eval.human.packs import KEY, LIKERT, POINTS

RATINGS = "ratings.csv"
_COLUMNS = ("rater", "question", "label", "value")


Values = dict[tuple[str, str], tuple[str, int]]
"""(question, label) to rater and value."""

RawRating = tuple[str, str, str, str, Any]
"""Where an answer stands, rater, question, label, value as it came."""


@dataclass(frozen=True)
class Rating:
    """One rater's value for one system on one item: points, or a rank of which 1 is best."""

    rater: str
    item_id: str
    cluster: str
    system: str
    value: float


@dataclass(frozen=True)
class Imported:
    """Answers of all raters.

    Attributes:
        kind: Kind of the pack: ``likert`` or ``rank``.
        systems: Names of the systems in the pack.
        ratings: Ratings by raters who passed their attention checks.
        left_out: Raters who failed half of their attention checks or more; their ratings are not there.
        checks: Rater to the numbers of checks that they passed and saw.
        missing: Number of questions that were given out and not answered in full.
        synthetic: Whether the items are made up.
    """

    kind: str
    systems: list[str]
    ratings: list[Rating]
    left_out: list[str]
    checks: dict[str, tuple[int, int]]
    missing: int
    synthetic: bool = False


def import_answers(folder: Path, sources: Sequence[Path]) -> Imported:
    """Reads CSV files of the pages, or Label Studio's JSON exports, and matches them with ``key.json``.

    Args:
        folder: Folder of the study, which holds the key.
        sources: Files of answers.

    Returns:
        The answers, unblinded.

    Raises:
        FileNotFoundError: The folder has no key.
        ValueError: A file cannot be read, answers a question that was not asked, or twice; or a value is out of range.
    """
    if not (folder / KEY).is_file():
        raise FileNotFoundError(f"{folder / KEY} is not there; `mm-coach human pack` writes it, beside the pack.")
    key = json.loads((folder / KEY).read_text())
    questions, most = key["questions"], POINTS if key["kind"] == LIKERT else len(key["systems"])
    values: Values = {}
    for source in sources:
        rows = _label_studio(source) if source.suffix == ".json" else _csv(source)
        for where, rater, question, label, raw in rows:
            entry = questions.get(question)
            if entry is None or label not in (entry["expected"] or entry["systems"]):
                raise ValueError(f"{where}: no text {label!r} was shown in question {question!r} of this pack.")
            try:
                value = int(raw)
            except (TypeError, ValueError):
                value = 0
            if not 1 <= value <= most:
                raise ValueError(f"{where}: value {raw!r}; expected a whole number from 1 to {most}.")
            if values.setdefault((question, label), (rater, value)) != (rater, value):
                raise ValueError(
                    f"{where}: question {question!r}, text {label!r} was answered before, with another value."
                )
    return _matched(key, values)


def _matched(key: dict[str, Any], values: Values) -> Imported:
    passed, seen = Counter[str](), Counter[str]()
    ratings: list[Rating] = []
    missing = 0
    for question, entry in key["questions"].items():
        labels = list(entry["expected"] or entry["systems"])
        answers = {label: values[question, label] for label in labels if (question, label) in values}
        if len(answers) < len(labels):
            missing += 1
            continue
        rater = next(iter(answers.values()))[0]
        if entry["expected"]:
            seen[rater] += 1
            passed[rater] += {label: value for label, (_, value) in answers.items()} == entry["expected"]
            continue
        for label, (rater, value) in answers.items():
            ratings.append(Rating(rater, entry["item_id"], entry["cluster"], entry["systems"][label], float(value)))
    left_out = sorted(rater for rater in seen if passed[rater] * 2 <= seen[rater])
    ratings = [rating for rating in ratings if rating.rater not in left_out]
    checks = {rater: (passed[rater], seen[rater]) for rater in sorted(seen)}
    return Imported(key["kind"], key["systems"], ratings, left_out, checks, missing, key["synthetic"])


def write_ratings(folder: Path, ratings: Sequence[Rating]) -> None:
    """Writes ``ratings.csv`` into a folder."""
    headings = [field.name for field in fields(Rating)]
    write_atomically(folder / RATINGS, csv_text([headings, *(astuple(rating) for rating in ratings)]))


def _csv(path: Path) -> Iterable[RawRating]:
    for line, row in read_csv(path, _COLUMNS):
        yield f"{path}, line {line}", row["rater"], row["question"], row["label"], row["value"]


def _label_studio(path: Path) -> Iterable[RawRating]:
    """Reads an export in Label Studio's full JSON form: each task with its annotations."""
    try:
        tasks = json.loads(read_text(path))
        for number, task in enumerate(tasks, start=1):
            for annotation in task["annotations"]:
                if annotation.get("was_cancelled"):
                    continue
                for result in annotation["result"]:
                    if result["type"] == "rating":
                        rater, question = str(task["data"]["rater"]), task["data"]["question"]
                        yield f"{path}, task {number}", rater, question, result["from_name"], result["value"]["rating"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no Label Studio export of this pack's tasks (JSON, not JSON-MIN): {error!r}."
        ) from error
