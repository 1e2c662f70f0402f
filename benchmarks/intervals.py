"""How often a 95 % interval holds the true value, by simulation: clusters 6 to 80 × kinds of metric.

    python benchmarks/intervals.py [--sets 1000] [--seed 0] [--save]

Each simulated test set has people with 1 to 4 items; 40 % of an item's variance belongs to its person. The true value is the metric of
60,000 such people. Beside the intervals of `mm_eval.statistics.intervals` stands the plain percentile bootstrap. ``paired`` compares two systems that
are equally good: how often the interval leaves out 0, and how often the p-value of swapped answers is below 0.05. ``people`` gives each of
k people three takes of two items and resamples takes, then people.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from record import finish, parse
from scipy.stats import expon, norm

from mm_eval.statistics.aggregates import AGGREGATES, BLEU_ORDERS
from mm_eval.statistics.comparison import compare
from mm_eval.statistics.intervals import resampling_weights
from mm_eval.statistics.metric import YES_OR_NO, corpus_metric, item_metric

CLUSTERS = (6, 8, 10, 12, 20, 40, 80)
WITHIN_PERSON = 0.4


@dataclass(frozen=True)
class Kind:
    """One kind of metric.

    Attributes:
        aggregate: A key of `AGGREGATES`.
        rows: Sufficient statistics of items from two standard normal numbers each.
        scale: Unit or range, as metrics have it.
    """

    aggregate: str
    rows: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
    scale: str = ""


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(float)[:, None]


def _share(probability: float) -> Kind:
    return Kind("mean", lambda x, y, rng: _column(norm.cdf(x) < probability), YES_OR_NO)


def _correlation(rho: float) -> Kind:
    return Kind("spearman", lambda x, y, rng: np.stack([x, rho * x + np.sqrt(1 - rho**2) * y], 1))


def _bleu_rows(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    length = rng.integers(10, 25, len(x))
    right = norm.cdf(0.2 + 0.5 * x)
    guessed = [length - order for order in range(BLEU_ORDERS)]
    correct = [rng.binomial(number, right ** (order + 1)) for order, number in enumerate(guessed)]
    return np.stack([*correct, *guessed, length, length + rng.integers(-3, 4, len(x))], 1).astype(float)


def _ratio_rows(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    details = 1 + rng.poisson(6, len(x))
    return np.stack([rng.binomial(details, norm.cdf(0.7 * x - 0.3)), details], 1).astype(float)


KINDS = {
    "normal mean": Kind("mean", lambda x, y, rng: _column(x)),
    "skewed mean (exponential)": Kind("mean", lambda x, y, rng: _column(expon.ppf(norm.cdf(x)))),
    "very skewed mean (log-normal)": Kind("mean", lambda x, y, rng: _column(np.exp(0.8 * x))),
    "skewed median": Kind("median", lambda x, y, rng: _column(np.exp(0.8 * x))),
    "share 0.5": _share(0.5),
    "share 0.2": _share(0.2),
    "share 0.9": _share(0.9),
    "Spearman 0.5": _correlation(0.5),
    "Spearman 0.8": _correlation(0.8),
    "BLEU-4 of the corpus": Kind("bleu4", _bleu_rows),
    "ratio of sums": Kind("ratio", _ratio_rows),
}


def people(count: int, rng: np.random.Generator) -> np.ndarray:
    """The person of every item."""
    return np.repeat(np.arange(count), rng.integers(1, 5, count))


def numbers(person: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A standard normal number per item, correlated within a person."""
    of_person, of_item = rng.normal(size=person.max() + 1)[person], rng.normal(size=len(person))
    return np.sqrt(WITHIN_PERSON) * of_person + np.sqrt(1 - WITHIN_PERSON) * of_item


def coverage(kind: Kind, count: int, sets: int, seed: int) -> tuple[float, float]:
    """Share of simulated sets whose interval holds the true value, by percentiles and by `mm_eval.statistics.intervals`."""
    aggregate = AGGREGATES[kind.aggregate]
    rng = np.random.default_rng(seed)
    many = people(60_000, rng)
    rows = kind.rows(numbers(many, rng), numbers(many, rng), rng)
    truth = float(aggregate(np.ones((1, len(rows))), rows)[0])
    held = np.zeros(2)
    for _ in range(sets):
        person = people(count, rng)
        rows = kind.rows(numbers(person, rng), numbers(person, rng), rng)
        names = [str(number) for number in person]
        drawn = aggregate(resampling_weights(names), rows)
        interval = corpus_metric(rows, kind.aggregate, names, kind.scale, kind.aggregate).interval
        for position, (low, high) in enumerate((np.nanpercentile(drawn, [2.5, 97.5]), interval or (np.nan, np.nan))):
            held[position] += low - 1e-9 <= truth <= high + 1e-9
    return held[0] / sets, held[1] / sets


def paired(count: int, sets: int, seed: int) -> tuple[float, float, float]:
    """Two equally good systems: how often percentiles leave out 0, the interval does, and p is below 0.05."""
    rng = np.random.default_rng(seed)
    outcomes = np.zeros(3)
    for _ in range(sets):
        person = people(count, rng)
        names = [str(number) for number in person]
        common = numbers(person, rng)
        ours, theirs = (item_metric(common + numbers(person, rng), names, "", "x") for _ in range(2))
        comparison = compare(ours, theirs, names)
        drawn = AGGREGATES["mean"](resampling_weights(names), ours.statistics - theirs.statistics)
        low, high = np.percentile(drawn, [2.5, 97.5])
        outcomes += [
            not low <= 0 <= high,
            not comparison.interval[0] <= 0 <= comparison.interval[1],
            comparison.p_value < 0.05,
        ]
    return tuple(outcomes / sets)


def by_take_and_by_person(count: int, sets: int, seed: int) -> tuple[float, float]:
    """How often the interval holds the true mean 0 when takes are resampled, and when people are."""
    rng = np.random.default_rng(seed)
    take = np.repeat(np.arange(3 * count), 2)
    person = take // 3
    held = np.zeros(2)
    for _ in range(sets):
        of_person, of_take, of_item = rng.normal(size=count), rng.normal(size=3 * count), rng.normal(size=6 * count)
        values = np.sqrt(0.4) * of_person[person] + np.sqrt(0.2) * of_take[take] + np.sqrt(0.4) * of_item
        for position, cluster in enumerate((take, person)):
            interval = item_metric(values, [str(number) for number in cluster], "", "x").interval
            held[position] += interval is not None and interval[0] <= 0 <= interval[1]
    return held[0] / sets, held[1] / sets


def main() -> None:
    """Simulates and prints the tables."""
    args = parse(__doc__, sets=1000, seed=0)
    result: dict[str, dict[str, list[float]]] = {"coverage": {}, "paired": {}, "people": {}}
    print("Coverage of 95 % intervals, percentiles → mm_eval.statistics.intervals")
    print(f"| |{'|'.join(map(str, CLUSTERS))}|")
    for name, kind in KINDS.items():
        rows = [coverage(kind, count, args.sets, args.seed) for count in CLUSTERS]
        result["coverage"][name] = [round(now, 3) for _, now in rows]
        print(f"| {name} | " + " | ".join(f"{100 * old:.0f} → {100 * now:.0f}" for old, now in rows) + " |", flush=True)
    for count in (6, 12, 20, 40):
        old, now, p = paired(count, args.sets, args.seed)
        result["paired"][str(count)] = [round(number, 3) for number in (old, now, p)]
        print(
            f"two equal systems, {count} people: 0 left out by percentiles {old:.1%}, now {now:.1%}; p < 0.05 in {p:.1%}",
            flush=True,
        )
    for count in (6, 12, 20, 40):
        take, person = by_take_and_by_person(count, args.sets, args.seed)
        result["people"][str(count)] = [round(take, 3), round(person, 3)]
        print(f"{count} people with three takes: by take {take:.1%}, by person {person:.1%}", flush=True)
    finish("intervals", {"sets": args.sets, "seed": args.seed, **result}, args.save)


if __name__ == "__main__":
    main()
