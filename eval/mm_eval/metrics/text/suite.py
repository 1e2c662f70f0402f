"""What every suite of text metrics takes, checks and gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mm_eval.metrics.text.cleaning import clean, has_words
from mm_eval.statistics.metric import Metric

EMPTY = "emptyanswer"
"""Stands for an empty candidate: a word that no reference holds scores 0 everywhere, where "" would crash."""

References = Sequence[str | Sequence[str]]
"""One or several true texts per item."""


class NotComputed(RuntimeError):
    """A metric whose tools are missing. It is never replaced by another one under the same name."""


@dataclass(frozen=True)
class Corpus:
    """Texts ready to be scored.

    Attributes:
        systems: Candidates per system, `EMPTY` where there are no words.
        references: True texts, several per item.
        clusters: Cluster of each item: the person, or the take.
    """

    systems: dict[str, list[str]]
    references: list[list[str]]
    clusters: list[str]

    @property
    def signature(self) -> str:
        """References per item."""
        counts = {len(texts) for texts in self.references}
        return f"nrefs:{counts.pop()}" if len(counts) == 1 else f"nrefs:{min(counts)}-{max(counts)}"


@dataclass(frozen=True)
class Suite:
    """Scores of several systems.

    Attributes:
        rows: Metrics by system and name.
        notes: What was not computed, and why; candidates without words.
    """

    rows: dict[str, dict[str, Metric]]
    notes: list[str] = field(default_factory=list)

    def compute(self, what: str, work: Callable[[], dict[str, dict[str, Metric]]]) -> None:
        """Adds metrics, or a note where their tools are missing."""
        try:
            for system, metrics in work().items():
                self.rows[system] |= metrics
        except NotComputed as reason:
            self.notes.append(f"{what}: not computed: {reason}")


def prepare(
    systems: Mapping[str, Sequence[str]],
    references: References,
    clusters: Sequence[str],
    cleaned: Callable[[str], str] = clean,
) -> tuple[Corpus, Suite]:
    """Cleaned texts, and a suite without scores yet.

    Args:
        systems: Generated texts per system, each aligned with ``references``.
        references: True texts.
        clusters: Cluster of each item (the person, or the take), for the intervals.
        cleaned: What is done to every text first.

    Raises:
        ValueError: The lists differ in length, or an item has no true text.
    """
    for name, texts in systems.items():
        if not len(texts) == len(references) == len(clusters):
            raise ValueError(
                f"{name}: {len(texts)} candidates, {len(references)} references, {len(clusters)} clusters; they must match."
            )
    true = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    true = [[line for line in map(cleaned, texts) if has_words(line)] for texts in true]
    if empty := [index for index, texts in enumerate(true) if not texts]:
        raise ValueError(f"Item {empty[0]} has no true text ({len(empty)} of {len(true)} have none); leave it out.")
    suite, found = Suite({name: {} for name in systems}), {}
    for name, texts in systems.items():
        lines = [cleaned(text) for text in texts]
        found[name] = [line if has_words(line) else EMPTY for line in lines]
        if count := found[name].count(EMPTY):
            suite.notes.append(f"{name}: {count} of {len(texts)} texts hold no word and score 0.")
    return Corpus(found, true, list(clusters)), suite


def lacking(package: str, extra: str = "metrics") -> NotComputed:
    """A package is not installed."""
    return NotComputed(f"{package} is not installed (pip install 'mm-coach[{extra}]')")
