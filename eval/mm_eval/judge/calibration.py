"""How far a judge agrees with people, verdict by verdict."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mm_data.ground.hand_tables import read_csv
from mm_data.labelling.agreement import cohen_kappa
from mm_eval.judge.judging import OK, Judgement
from mm_eval.judge.protocols import NOT_MENTIONED, VERDICTS
from mm_eval.statistics.agreement import krippendorff_alpha

ENOUGH_ITEMS = 100
"""Labelled items below which a judge should not be trusted with a headline."""

_COLUMNS = ("text_id", "detail", "rater", "verdict", "truth_detail", "text")


@dataclass(frozen=True)
class Calibration:
    """Judge against people.

    Attributes:
        verdicts: Labelled verdicts that the judge gave too.
        items: Texts that they are about.
        skipped: Verdicts of people on what the judge failed or did not see.
        raters: People.
        kappa: Cohen's kappa over the three verdicts, all people together; None where chance explains everything.
        kappa_per_verdict: Likewise of each verdict against the others.
        alpha: Krippendorff's alpha (nominal) of the judge and the people together; None where nothing varies.
        human_alpha: Of the people alone: what a judge can at most be asked for.
        spearman: Of the items' GPT-M, judge against people.
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


def labelling_sheet(judgements: Sequence[Judgement], texts: dict[tuple[str, str], str]) -> str:
    """A table for people to fill in (CSV): a row per detail; neither system nor the judge's verdict is shown."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for j in judgements:
        if j.repeat == 0 and j.status == OK:
            for number, verdict in enumerate(j.verdicts, start=1):
                writer.writerow([_text_id(j), number, "", "", verdict["text"], texts[j.item_id, j.system]])
    return out.getvalue()


def _text_id(j: Judgement) -> str:
    """Says nothing about the system to somebody who reads it."""
    return hashlib.sha256(f"{j.item_id}\n{j.system}".encode()).hexdigest()[:12]


def calibrate(judgements: Sequence[Judgement], sheet: Path) -> Calibration:
    """Compares the judge's first answers with people's.

    Raises:
        ValueError: The sheet lacks columns, holds an unknown verdict, or nothing that the judge answered.
        ModuleNotFoundError: The ``metrics`` extra is not installed.
    """
    judged = {
        (_text_id(j), number): verdict["verdict"]
        for j in judgements
        if j.repeat == 0 and j.status == OK
        for number, verdict in enumerate(j.verdicts, start=1)
    }
    people: dict[tuple[str, int], dict[str, str]] = {}
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
        key, rater = (row["text_id"], int(row["detail"])), row.get("rater") or "person"
        if key not in judged:
            skipped += 1
            continue
        if people.setdefault(key, {}).setdefault(rater, verdict) != verdict:
            raise ValueError(
                f"{where}: {rater} judged detail {key[1]} of {key[0]} before, and otherwise; name the raters."
            )
    if not people:
        raise ValueError(f"{sheet} has no verdict on anything that the judge answered; fill in its column `verdict`.")
    pairs = [(verdict, judged[key]) for key, given in people.items() for verdict in given.values()]
    raters = sorted({rater for given in people.values() for rater in given})
    numbers = {verdict: float(index) for index, verdict in enumerate(VERDICTS)}
    table = np.array([[numbers.get(people[key].get(rater, ""), np.nan) for key in people] for rater in raters])
    judge_row = np.array([[numbers[judged[key]] for key in people]])

    def shares(pick: str) -> dict[str, float]:
        """GPT-M per text."""
        found: dict[str, list[float]] = {}
        for key, given in people.items():
            said = list(given.values()) if pick == "people" else [judged[key]]
            found.setdefault(key[0], []).append(float(np.mean([verdict != NOT_MENTIONED for verdict in said])))
        return {item: float(np.mean(values)) for item, values in found.items()}

    by_people, by_judge = shares("people"), shares("judge")
    x, y = [by_people[item] for item in by_people], [by_judge[item] for item in by_people]
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
