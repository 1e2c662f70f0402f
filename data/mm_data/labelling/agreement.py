"""Compares two labellers region by region; the second may be the truth of a miniature."""

from collections import Counter
from dataclasses import dataclass

from mm_data.labelling.labeller import Labels
from mm_data.labelling.llm import NOT_MENTIONED
from mm_data.poses.skeleton import REGIONS
from mm_data.records import CORRECT, IMPROVE

LABELS = (IMPROVE, CORRECT, NOT_MENTIONED)


@dataclass(frozen=True)
class RegionAgreement:
    """One region's agreement.

    Attributes:
        region: Its name.
        kappa: Cohen's kappa over the three labels; None where both always say the same single label.
        confusion: (label of the first, label of the second) to count.
        examples: Remark ids on which they differ.
    """

    region: str
    kappa: float | None
    confusion: Counter[tuple[str, str]]
    examples: list[str]

    def precision(self, label: str) -> float | None:
        """Returns the share of the first labeller's uses of a label that the second confirms; None where it never uses it."""
        used = sum(count for (first, _), count in self.confusion.items() if first == label)
        return self.confusion[label, label] / used if used else None

    def recall(self, label: str) -> float | None:
        """Returns the share of the second labeller's uses of a label that the first finds; None where it never occurs."""
        there = sum(count for (_, second), count in self.confusion.items() if second == label)
        return self.confusion[label, label] / there if there else None


@dataclass(frozen=True)
class Agreement:
    """Agreement over the remarks that both judged.

    Attributes:
        compared: Remarks that both judged.
        failed: Remarks that one of them could not judge.
        only_one: Remarks that only one of them was given.
        regions: Agreement per region.
    """

    compared: int
    failed: int
    only_one: int
    regions: list[RegionAgreement]


def cohen_kappa(confusion: Counter[tuple[str, str]]) -> float | None:
    """Computes Cohen's (1960) kappa of a square table of counts; None where chance alone explains everything."""
    total = sum(confusion.values())
    if not total:
        return None
    observed = sum(count for (a, b), count in confusion.items() if a == b) / total
    first, second = Counter[str](), Counter[str]()
    for (a, b), count in confusion.items():
        first[a] += count
        second[b] += count
    expected = sum(first[label] * second[label] for label in first) / total**2
    return None if expected == 1.0 else (observed - expected) / (1.0 - expected)


def compare_labels(first: Labels, second: Labels) -> Agreement:
    """Compares two labellers on the remarks that both judged.

    Args:
        first: Labels of the one.
        second: Labels of the other.

    Returns:
        Their agreement.

    Raises:
        ValueError: They have no remark in common.
    """
    common = sorted(first.regions.keys() & second.regions.keys())
    if not common:
        raise ValueError(
            f"{first.name} and {second.name} have no remark in common ({len(first.regions)} and {len(second.regions)} judged); "
            "label the same data set with both."
        )
    regions = []
    for region in REGIONS:
        pairs = {
            remark: (
                first.regions[remark].get(region, NOT_MENTIONED),
                second.regions[remark].get(region, NOT_MENTIONED),
            )
            for remark in common
        }
        confusion = Counter(pairs.values())
        regions.append(
            RegionAgreement(region, cohen_kappa(confusion), confusion, [r for r, (a, b) in pairs.items() if a != b])
        )
    failed = first.failed | second.failed
    return Agreement(len(common), len(failed), len((first.regions.keys() ^ second.regions.keys()) - failed), regions)
