"""How far a judge agrees with people, verdict by verdict."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from mm_data.ground.files import write_atomically
from mm_data.ground.hand_tables import csv_text, read_csv
from mm_data.labelling.agreement import cohen_kappa
from mm_eval.answers.test_sets import TRUTH, TestItem
from mm_eval.judge.judging import OK, Judgement
from mm_eval.judge.protocols import NOT_MENTIONED, VERDICTS
from mm_eval.statistics.agreement import krippendorff_alpha

SHEET, CALIBRATION = "labels.csv", "calibration.json"
ENOUGH_ITEMS = 100
"""Labelled items below which a judge should not be trusted with a headline."""

_COLUMNS = ("text_id", "detail", "rater", "verdict", "truth_detail", "text")


@dataclass(frozen=True)
class Calibration:
    """Judge against people.

    Attributes:
        verdicts: Number of labelled verdicts that the judge gave too.
        items: Number of texts that they are about.
        skipped: Number of people's verdicts on what the judge failed or did not see.
        raters: Number of people.
        kappa: Cohen's kappa over the three verdicts, all people together; None where chance explains everything.
        kappa_per_verdict: Verdict to Cohen's kappa of it against the others.
        alpha: Krippendorff's alpha (nominal) of the judge and the people together; None where nothing varies.
        human_alpha: Krippendorff's alpha of the people alone: what a judge can at most be asked for.
        spearman: Correlation of the items' GPT-M, judge against people.
        confusion: (people's verdict, judge's) to count.
    """

    verdicts: int
    items: int
    skipped: int
    raters: int
    kappa: float | None
    kappa_per_verdict: dict[str, float | None]
    alpha: float | None
    human_alpha: float | None
    spearman: float | None
    confusion: Counter[tuple[str, str]]


def write_labelling_sheet(out: Path, judgements: Sequence[Judgement], items: Sequence[TestItem]) -> None:
    """Writes the sheet into a folder; see `labelling_sheet`.

    Args:
        out: Folder of the judge.
        judgements: Judgements of one run of the judge.
        items: Items of the test set.

    Raises:
        ValueError: The folder holds another sheet.
    """
    texts = {(item.item_id, name): answer.text for item in items for name, answer in item.answers.items()}
    texts |= {(item.item_id, TRUTH): item.truth.text for item in items}
    sheet = labelling_sheet(judgements, texts)
    if (out / SHEET).is_file() and (out / SHEET).read_bytes() != sheet.encode():
        raise ValueError(f"{out / SHEET} is filled in, or of other judgements; move it, and it is written anew.")
    write_atomically(out / SHEET, sheet)


def labelling_sheet(judgements: Sequence[Judgement], texts: Mapping[tuple[str, str], str]) -> str:
    """Lays out a table for people to fill in: a row per detail; neither system nor the judge's verdict is in it.

    Args:
        judgements: Judgements of one run of the judge.
        texts: (item id, system) to text.

    Returns:
        CSV.
    """
    rows = [
        (_text_id(j), number, "", "", verdict["text"], texts[j.item_id, j.system])
        for j, number, verdict in _first_verdicts(judgements)
    ]
    return csv_text([_COLUMNS, *rows])


def _first_verdicts(judgements: Sequence[Judgement]) -> Iterator[tuple[Judgement, int, dict[str, Any]]]:
    """Yields the verdicts of every judgement's first answer, with the numbers of their details."""
    for j in judgements:
        if j.repeat == 0 and j.status == OK:
            yield from ((j, number, verdict) for number, verdict in enumerate(j.verdicts, start=1))


def _text_id(j: Judgement) -> str:
    """Returns an id that says nothing about the system to somebody who reads it."""
    return hashlib.sha256(f"{j.item_id}\n{j.system}".encode()).hexdigest()[:12]


def write_calibration(out: Path, calibration: Calibration) -> None:
    """Writes ``calibration.json`` into a folder."""
    confusion = [[*pair, count] for pair, count in sorted(calibration.confusion.items())]
    write_atomically(out / CALIBRATION, json.dumps(asdict(calibration) | {"confusion": confusion}, indent=1))


Detail = tuple[str, int]
"""A detail that is judged: the text's id and the detail's number."""


def calibrate(judgements: Sequence[Judgement], sheet: Path) -> Calibration:
    """Compares the judge's first answers with people's.

    Args:
        judgements: Judgements of one run of the judge.
        sheet: Filled-in sheet (CSV).

    Returns:
        How far they agree.

    Raises:
        ValueError: The sheet lacks columns, holds an unknown verdict, or nothing that the judge answered.
        ModuleNotFoundError: The ``metrics`` extra is not installed.
    """
    judged = {(_text_id(j), number): verdict["verdict"] for j, number, verdict in _first_verdicts(judgements)}
    people, skipped = _read_sheet(sheet, judged)
    pairs = [(verdict, judged[detail]) for detail, verdicts in people.items() for verdict in verdicts.values()]
    raters = sorted({rater for verdicts in people.values() for rater in verdicts})
    numbers = {verdict: float(index) for index, verdict in enumerate(VERDICTS)}
    table = np.array([[numbers.get(people[key].get(rater, ""), np.nan) for key in people] for rater in raters])
    judge_row = np.array([[numbers[judged[key]] for key in people]])
    by_people = _mentioned({detail: list(verdicts.values()) for detail, verdicts in people.items()})
    by_judge = _mentioned({detail: [judged[detail]] for detail in people})
    x, y = [by_people[text] for text in by_people], [by_judge[text] for text in by_people]
    varied = len(set(x)) > 1 and len(set(y)) > 1
    return Calibration(
        verdicts=len(pairs),
        items=len(by_people),
        skipped=skipped,
        raters=len(raters),
        kappa=cohen_kappa(Counter(pairs)),
        kappa_per_verdict={v: cohen_kappa(Counter((str(a == v), str(b == v)) for a, b in pairs)) for v in VERDICTS},
        alpha=krippendorff_alpha(np.vstack([table, judge_row]), "nominal"),
        human_alpha=krippendorff_alpha(table, "nominal") if len(raters) > 1 else None,
        spearman=float(np.asarray(spearmanr(x, y))[0]) if varied else None,
        confusion=Counter(pairs),
    )


def _read_sheet(sheet: Path, judged: Mapping[Detail, str]) -> tuple[dict[Detail, dict[str, str]], int]:
    """Reads rater to verdict for every detail that the judge answered, and how many verdicts are on others."""
    people: dict[Detail, dict[str, str]] = {}
    skipped = 0
    for line, row in read_csv(sheet, ("text_id", "detail", "verdict")):
        where = f"{sheet}, line {line}"
        verdict = row["verdict"].lower()
        if not verdict:
            continue
        if verdict not in VERDICTS or not (row["detail"].isascii() and row["detail"].isdigit()):
            raise ValueError(
                f"{where}: verdict {row['verdict']!r} of detail {row['detail']!r}; use {', '.join(VERDICTS)}."
            )
        detail, rater = (row["text_id"], int(row["detail"])), row.get("rater") or "person"
        if detail not in judged:
            skipped += 1
            continue
        if people.setdefault(detail, {}).setdefault(rater, verdict) != verdict:
            raise ValueError(
                f"{where}: {rater} judged detail {detail[1]} of {detail[0]} before, and otherwise; name the raters."
            )
    if not people:
        raise ValueError(f"{sheet} has no verdict on anything that the judge answered; fill in its column `verdict`.")
    return people, skipped


def _mentioned(verdicts: Mapping[Detail, Sequence[str]]) -> dict[str, float]:
    """Returns GPT-M per text."""
    shares: dict[str, list[float]] = {}
    for (text, _), answers in verdicts.items():
        shares.setdefault(text, []).append(float(np.mean([verdict != NOT_MENTIONED for verdict in answers])))
    return {text: float(np.mean(values)) for text, values in shares.items()}
