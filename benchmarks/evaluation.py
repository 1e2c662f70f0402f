"""Every text metric of a test set of ExpertAF's size, and the intervals of all metrics, on one core.

    python benchmarks/evaluation.py [--items 1272] [--save]

Candidates and references are 12 to 25 random words each, in takes of four items. ``seconds`` is the time of the three text suites (coco, modern,
ExpertAF's release) for one system, Java's start and intervals included; ``bootstrap_seconds`` that of 2,000 resamples of every metric
again, scores, ranks and poses included. NLTK's METEOR takes part where WordNet is installed.
"""

import os

import numpy as np
from record import finish, parse, timed

from mm_eval.metrics.retrieval import retrieval_metrics
from mm_eval.metrics.scores import relative_l2, spearman_correlation
from mm_eval.metrics.text import coco_scores, modern_scores, release_scores
from mm_eval.statistics.aggregates import AGGREGATES
from mm_eval.statistics.intervals import cluster_interval
from mm_eval.statistics.metric import Metric, item_metric

WORDS = [f"word{number}" for number in range(300)]


def sentences(count: int, rng: np.random.Generator) -> list[str]:
    """Random ones."""
    return [" ".join(rng.choice(WORDS, size=rng.integers(12, 26))) for _ in range(count)]


def further_metrics(count: int, takes: list[str], rng: np.random.Generator) -> dict[str, Metric]:
    """Scores, ranks and poses of random systems."""
    judged = rng.uniform(0, 10, count)
    scores = (judged + rng.normal(size=count)).tolist()
    return {
        "spearman": spearman_correlation(scores, judged.tolist(), takes),
        "relative_l2": relative_l2(scores, judged.tolist(), takes, (0.0, 10.0)),
        "pa_mpjpe": item_metric(rng.uniform(50, 200, count), takes, "mm", "random"),
        **retrieval_metrics(rng.integers(1, count + 1, count).astype(float), np.full(count, count), takes),
    }


def resample(metric: Metric, takes: list[str]) -> tuple[float, float] | None:
    """A metric's interval from its statistics."""
    return cluster_interval(lambda weights: AGGREGATES[metric.aggregate](weights, metric.statistics), takes)


def main() -> None:
    """Times both and prints them."""
    args = parse(__doc__, items=1272)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    references, candidates = sentences(args.items, rng), sentences(args.items, rng)
    takes = [str(index // 4) for index in range(args.items)]
    metrics: dict[str, Metric] = {}
    total = 0.0
    for name, suite in (("coco", coco_scores), ("modern", modern_scores), ("release", release_scores)):
        seconds, scores = timed(suite, {"ours": candidates}, references, takes)
        total += seconds
        metrics |= {f"{name}/{metric}": value for metric, value in scores.rows["ours"].items()}
        print(f"{name:10} {seconds:6.1f} s  {', '.join(scores.rows['ours'])}", *scores.notes, sep="\n             ")
    metrics |= further_metrics(args.items, takes, rng)
    bootstrap, _ = timed(lambda: [resample(metric, takes) for metric in metrics.values()])
    print(f"{'bootstrap':10} {bootstrap:6.1f} s  2,000 resamples of {len(metrics)} metrics, {len(set(takes))} takes")
    result = {"items": args.items, "seconds": round(total, 2), "bootstrap_seconds": round(bootstrap, 2), "metrics": len(metrics)}  # fmt: skip
    finish("evaluation", result, args.save)


if __name__ == "__main__":
    main()
