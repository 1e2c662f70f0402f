"""GPT-M, GPT-Q and what stands beside them, out of judgements.

With g details in the truth, b of them mentioned and s of those with the same opinion, GPT-M is b/g and GPT-Q is s/b (TechCoach §4.3).
The paper leaves open what an item without details or mentions counts; the readings lie up to 18 points apart, so all are given, and
the headline leaves such items out.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mm_eval.answers.test_sets import TestItem
from mm_eval.judge.judging import OK, Judgement
from mm_eval.judge.protocols import COACH_SCORE, HIGHEST_RATING, PREFERENCE
from mm_eval.statistics.metric import YES_OR_NO, Metric, corpus_metric, item_metric
from mm_eval.statistics.storage import write_metrics

MOST_FAILED = 0.02
"""Share of judgements that may fail before a headline is withheld."""

_WORTH = {"win": 1.0, "tie": 0.0, "loss": -1.0}
_PAIRS = {"gpt_m": ("mentioned", "total"), "gpt_q": ("same", "mentioned"), "gpt_joint": ("same", "total")}


def score_judgements(
    judgements: Sequence[Judgement], items: Sequence[TestItem], settings: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Scores every system that was judged.

    Args:
        judgements: Judgements of one run of the judge.
        items: Items of the test set.
        settings: Settings of the run.

    Returns:
        System to ``metrics`` (name to `Metric`), ``failures``, ``failed_share``, ``withheld``, ``bounds``, ``repeats`` and
        ``flip_rate``.
    """
    by_system: dict[str, list[Judgement]] = defaultdict(list)
    for j in judgements:
        by_system[j.system].append(j)
    return {system: _score(mine, items, settings) for system, mine in by_system.items()}


def write_scores(out: Path, scores: Mapping[str, dict[str, Any]], settings: Mapping[str, Any]) -> None:
    """Writes ``metrics.json`` and the metrics' statistics beside it.

    Args:
        out: Folder of the judge.
        scores: What `score_judgements` returns.
        settings: Settings of the run.
    """
    systems = {
        system: {**score, "metrics": {name: metric.to_json() for name, metric in score["metrics"].items()}}
        for system, score in scores.items()
    }
    write_metrics(out, {"settings": settings, "systems": systems})


def _score(judgements: list[Judgement], items: Sequence[TestItem], settings: dict[str, Any]) -> dict[str, Any]:
    protocol = f"{settings['protocol']}-{settings['protocol_version']}"
    sign = f"judge:{settings['model']}|protocol:{protocol}|repeats:{settings['repeats']}"
    by_item: dict[str, list[Judgement]] = defaultdict(list)
    for j in judgements:
        by_item[j.item_id].append(j)
    clusters = [item.cluster for item in items]
    grouped = [[j for j in by_item[item.item_id] if j.status == OK] for item in items]
    failures = Counter(j.status for j in judgements if j.status != OK)
    share = sum(failures.values()) / len(judgements)
    if settings["protocol"] == PREFERENCE:
        metrics, headline = _preferences(grouped, clusters, sign), "net_win"
    elif settings["protocol"] == COACH_SCORE:
        ratings = [_mean([float(j.rating or 0) for j in group]) for group in grouped]
        metrics, headline = {"coach_score": item_metric(ratings, clusters, "0-5", f"coach-score|{sign}")}, "coach_score"
    else:
        metrics, headline = _details(grouped, clusters, sign), "gpt_m"
    return {
        "metrics": metrics,
        "failures": dict(failures),
        "failed_share": share,
        "withheld": share > MOST_FAILED,
        "bounds": _bounds([by_item[item.item_id] for item in items], headline),
        "repeats": _over_repeats(judgements, items, settings, headline),
        "flip_rate": _flip_rate(grouped),
    }


def _mean(values: list[float]) -> float:
    """Returns the mean; NaN where nothing could be scored."""
    return float(np.mean(values)) if values else float("nan")


def _details(groups: list[list[Judgement]], clusters: list[str], sign: str) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {}
    for name, (above, below) in _PAIRS.items():
        counts = [[(getattr(j, above), getattr(j, below)) for j in group] for group in groups]
        shares = [_mean([a / b for a, b in pairs if b]) for pairs in counts]
        zeroed = [_mean([a / b if b else 0.0 for a, b in pairs]) for pairs in counts]
        sums = np.array([np.mean(pairs, axis=0) if pairs else (np.nan, np.nan) for pairs in counts], float)
        undefined = sum(bool(pairs) and not any(b for _, b in pairs) for pairs in counts)
        defined = item_metric(
            shares, clusters, "0-1", f"{name}|mean of items that define it|{sign}|undefined:{undefined}"
        )
        metrics[name] = replace(defined, n_failed=defined.n_failed - undefined)
        metrics[f"{name}_zero"] = item_metric(zeroed, clusters, "0-1", f"{name}|mean of items, undefined as 0|{sign}")
        metrics[f"{name}_micro"] = corpus_metric(sums, "ratio", clusters, "0-1", f"{name}|sum over sum|{sign}")
    stated = [
        _mean([min(1.0, (j.mentioned or 0) / j.stated) for j in group if j.stated is not None and j.stated > 0])
        for group in groups
    ]
    if np.isfinite(stated).any():
        # GPT-M alone rewards saying much.
        metrics["mention_precision"] = item_metric(stated, clusters, "0-1", f"mentioned by stated details|{sign}")
    return metrics


def _preferences(groups: list[list[Judgement]], clusters: list[str], sign: str) -> dict[str, Metric]:
    net = [_mean([_WORTH[j.preferred or "tie"] for j in group]) for group in groups]
    outcomes = [np.sign(value) for value in net if np.isfinite(value)]
    wins, losses = outcomes.count(1.0), outcomes.count(-1.0)
    p_value = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    agreed = [_mean([float(bool(j.consistent)) for j in group]) for group in groups]
    counts = f"wins:{wins}, ties:{len(outcomes) - wins - losses}, losses:{losses}|sign test p:{p_value:.4g}"
    return {
        "net_win": item_metric(net, clusters, "-1-1", f"net win, both orders|{counts}|{sign}"),
        "order_agreement": item_metric(agreed, clusters, YES_OR_NO, f"both orders say the same|{sign}"),
    }


def _bounds(groups: Sequence[list[Judgement]], headline: str) -> tuple[float, float]:
    """Returns the headline if every failed judgement had been the worst, or the best."""
    worst, best = {"net_win": (-1.0, 1.0), "coach_score": (0.0, float(HIGHEST_RATING))}.get(headline, (0.0, 1.0))

    def value(j: Judgement, failed: float) -> float | None:
        if j.status != OK:
            return failed
        if j.preferred is not None:
            return _WORTH[j.preferred]
        return j.rating if j.rating is not None else (j.mentioned or 0) / j.total if j.total else None

    def mean(failed: float) -> float:
        items = [[v for j in group if (v := value(j, failed)) is not None] for group in groups]
        return _mean([_mean(values) for values in items if values])

    return mean(worst), mean(best)


def _over_repeats(
    judgements: list[Judgement], items: Sequence[TestItem], settings: dict[str, Any], headline: str
) -> dict[str, float] | None:
    """Returns mean and standard deviation of the headline over repeats, each of them scored alone."""
    if settings["repeats"] < 2:
        return None
    once = settings | {"repeats": 1}
    values = [
        _score([j for j in judgements if j.repeat == repeat], items, once)["metrics"][headline].value
        for repeat in range(settings["repeats"])
    ]
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}


def _flip_rate(groups: list[list[Judgement]]) -> float | None:
    """Returns the share of items on which repeats do not all say the same."""
    outcomes = [{(j.mentioned, j.same, j.rating, j.preferred) for j in group} for group in groups if len(group) > 1]
    return _mean([float(len(different) > 1) for different in outcomes]) if outcomes else None
