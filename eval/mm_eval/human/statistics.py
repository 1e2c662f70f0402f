"""What ratings and rankings say, and how sure it is."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, friedmanchisquare, wilcoxon

from mm_eval.human.packs import LIKERT
from mm_eval.human.ratings import Imported, Rating
from mm_eval.statistics.agreement import fleiss_kappa, intraclass_correlations, kendall_w, krippendorff_alpha
from mm_eval.statistics.comparison import compare, holm
from mm_eval.statistics.metric import Metric, item_metric
from mm_eval.statistics.storage import write_metrics

REPORT = "report.json"


@dataclass(frozen=True)
class PairOutcome:
    """One system against another over all rankings.

    Attributes:
        system: Name of the first system.
        against: Name of the second system.
        wins: Share of rankings that put the first ahead.
        ties: Share that put them level.
        losses: Share that put it behind.
        net_win: Wins minus losses, with its interval by cluster.
        p_value: Two-sided, the two systems' ranks swapped by cluster.
        sign_test_p_value: Over rankings that are no ties, which takes them all for independent: it finds too much.
    """

    system: str
    against: str
    wins: float
    ties: float
    losses: float
    net_win: Metric
    p_value: float
    sign_test_p_value: float


def analyse(imported: Imported) -> dict[str, Any]:
    """Computes all statistics of a study.

    Args:
        imported: Raters' answers.

    Returns:
        The statistics, JSON-ready.

    Raises:
        ValueError: There are no ratings.
    """
    if not imported.ratings:
        raise ValueError("No ratings are left: none were imported, or every rater failed the attention checks.")
    return {
        "kind": imported.kind,
        "systems": imported.systems,
        "items": len({r.item_id for r in imported.ratings}),
        "raters": len({r.rater for r in imported.ratings}),
        "ratings": len(imported.ratings),
        "left_out": imported.left_out,
        "checks": imported.checks,
        "missing": imported.missing,
        "synthetic": imported.synthetic,
        **(_likert(imported) if imported.kind == LIKERT else _ranks(imported)),
    }


def write_report(folder: Path, study: dict[str, Any]) -> None:
    """Writes ``report.json`` and the metrics' statistics beside it."""
    write_metrics(folder, study, REPORT.removesuffix(".json"))


def agreement_of(table: np.ndarray) -> dict[str, float | None]:
    """Computes agreement of raters; ICC and kappa need every rating.

    Args:
        table: ``[raters, units]`` of values, NaN where a rater did not see a unit.

    Returns:
        Measure to its value, None where it is not defined.
    """
    return {
        "alpha_ordinal": krippendorff_alpha(table, "ordinal"),
        "alpha_interval": krippendorff_alpha(table, "interval"),
        "alpha_nominal": krippendorff_alpha(table, "nominal"),
        **intraclass_correlations(table),
        "fleiss_kappa": fleiss_kappa(table) if np.isfinite(table).all() and len(table) > 1 else None,
    }


def _likert(imported: Imported) -> dict[str, Any]:
    clusters = {r.item_id: r.cluster for r in imported.ratings}
    items = sorted(clusters)
    takes = [clusters[item] for item in items]
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for rating in imported.ratings:
        values[rating.system, rating.item_id].append(rating.value)
    means = {
        system: item_metric(
            [float(np.mean(values[system, item])) if values[system, item] else float("nan") for item in items],
            takes,
            "points",
            "mean over raters, then items",
        )
        for system in imported.systems
    }
    pairs = list(combinations(imported.systems, 2))
    compared = [compare(means[a], means[b], takes) for a, b in pairs]
    adjusted = holm([c.p_value for c in compared])
    return {
        "means": {system: metric.to_json() for system, metric in means.items()},
        "agreement": agreement_of(_table(imported.ratings)),
        "pairs": [
            {"system": a, "against": b, **asdict(c), "p_holm": p, "wilcoxon_p": _wilcoxon(means[a], means[b])}
            for (a, b), c, p in zip(pairs, compared, adjusted, strict=True)
        ],
    }


def _ranks(imported: Imported) -> dict[str, Any]:
    rankings: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    clusters = {}
    for r in imported.ratings:
        rankings[r.item_id, r.rater][r.system] = r.value
        clusters[r.item_id, r.rater] = r.cluster
    full = [key for key, ranks in rankings.items() if len(ranks) == len(imported.systems)]
    takes = [clusters[key] for key in full]
    table = np.array([[rankings[key][system] for system in imported.systems] for key in full])
    outcomes = pair_outcomes(table, imported.systems, takes)
    adjusted = holm([outcome.p_value for outcome in outcomes])
    names = [item for item, _ in full]
    of_items = np.stack([table[[name == item for name in names]].mean(0) for item in dict.fromkeys(names)])
    friedman = None
    if len(imported.systems) > 2 and len(of_items) > 1:
        friedman = dict(zip(("statistic", "p_value"), map(float, friedmanchisquare(*of_items.T)), strict=True))
    return {
        "mean_rank": {system: float(column.mean()) for system, column in zip(imported.systems, table.T, strict=True)},
        "pairs": [
            {**vars(outcome), "net_win": outcome.net_win.to_json(), "p_holm": p}
            for outcome, p in zip(outcomes, adjusted, strict=True)
        ],
        "kendall_w": kendall_w(table),
        "friedman": friedman,
        "bradley_terry": bradley_terry(table, imported.systems),
    }


def pair_outcomes(ranks: np.ndarray, systems: Sequence[str], takes: Sequence[str]) -> list[PairOutcome]:
    """Compares every system with those after it.

    Args:
        ranks: ``[rankings, systems]``, 1 is best; equal ranks are ties.
        systems: Names of the columns.
        takes: Take of each ranking, for intervals.

    Returns:
        One outcome per pair.
    """
    outcomes = []
    for first, second in combinations(range(len(systems)), 2):
        won = np.sign(ranks[:, second] - ranks[:, first])
        wins, losses = int((won > 0).sum()), int((won < 0).sum())
        signs = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        net = item_metric(won, takes, "-1-1", "net win")
        swapped = compare(net, item_metric(-won, takes, "-1-1", "net win"), takes)
        shares = (wins / len(won), float((won == 0).mean()), losses / len(won))
        outcomes.append(PairOutcome(systems[first], systems[second], *shares, net, swapped.p_value, float(signs)))
    return outcomes


def bradley_terry(ranks: np.ndarray, systems: Sequence[str]) -> dict[str, float]:
    """Fits strengths whose differences are log-odds of winning, their mean 0; ties count half for each side.

    Args:
        ranks: ``[rankings, systems]``, 1 is best.
        systems: Names of the columns.

    Returns:
        System to its strength.

    Raises:
        ModuleNotFoundError: The ``metrics`` extra is not installed.
    """
    try:
        import choix
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Bradley-Terry strengths need the extra: pip install 'mm-coach[metrics]'.") from error
    wins = np.zeros((len(systems),) * 2)
    for first, second in combinations(range(len(systems)), 2):
        won = np.sign(ranks[:, second] - ranks[:, first])
        wins[first, second] = (won > 0).sum() + 0.5 * (won == 0).sum()
        wins[second, first] = (won < 0).sum() + 0.5 * (won == 0).sum()
    # Without a prior a system that never loses is infinitely strong.
    strengths = choix.ilsr_pairwise_dense(wins, alpha=0.1)
    return {system: float(value) for system, value in zip(systems, strengths - strengths.mean(), strict=True)}


def _wilcoxon(a: Metric, b: Metric) -> float | None:
    x, y = np.array(a.per_item), np.array(b.per_item)
    fine = np.isfinite(x) & np.isfinite(y)
    return float(np.asarray(wilcoxon(x[fine], y[fine]))[1]) if (x[fine] != y[fine]).any() else None


def _table(ratings: Sequence[Rating]) -> np.ndarray:
    """Lays values out as ``[raters, units]``; a unit is one system's text on one item."""
    raters, units = sorted({r.rater for r in ratings}), sorted({(r.item_id, r.system) for r in ratings})
    table = np.full((len(raters), len(units)), np.nan)
    row, column = {r: i for i, r in enumerate(raters)}, {u: i for i, u in enumerate(units)}
    for r in ratings:
        table[row[r.rater], column[r.item_id, r.system]] = r.value
    return table
