"""What text metrics score, a corpus of cleaned texts, and what they give, the scores of several systems."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mm_eval.metrics.text.cleaning import clean, has_words
from mm_eval.statistics.metric import Metric

EMPTY = "emptyanswer"
"""Stands for an empty candidate: a word that no reference holds scores 0 everywhere, where "" would crash."""

References = Sequence[str | Sequence[str]]
"""One or several true texts per item."""

Rows = dict[str, dict[str, Metric]]
"""System to name to metric."""


class NotComputed(RuntimeError):
    """A metric whose tools are missing. It is never replaced by another one under the same name."""


@dataclass(frozen=True)
class Corpus:
    """Texts ready to be scored.

    Attributes:
        systems: Candidates of each system, `EMPTY` where there are no words.
        references: True texts, several per item.
        clusters: Cluster of each item: the person, or the take.
    """

    systems: dict[str, list[str]]
    references: list[list[str]]
    clusters: list[str]

    @property
    def signature(self) -> str:
        """How many references the items have."""
        counts = {len(texts) for texts in self.references}
        return f"nrefs:{counts.pop()}" if len(counts) == 1 else f"nrefs:{min(counts)}-{max(counts)}"


@dataclass(frozen=True)
class TextScores:
    """Scores of several systems on one corpus.

    Attributes:
        rows: Metrics by system and name.
        notes: What was not computed, and why; how many candidates hold no word.
    """

    rows: Rows
    notes: list[str] = field(default_factory=list)

    def compute(self, title: str, work: Callable[[], Rows]) -> None:
        """Adds the metrics that a function gives, or a note where their tools are missing."""
        try:
            for system, metrics in work().items():
                self.rows[system] |= metrics
        except NotComputed as reason:
            self.notes.append(f"{title}: not computed: {reason}")


def prepare(
    systems: Mapping[str, Sequence[str]],
    references: References,
    clusters: Sequence[str],
    cleaned: Callable[[str], str] = clean,
) -> tuple[Corpus, TextScores]:
    """Cleans texts and counts those without words.

    Args:
        systems: Generated texts of each system, aligned with ``references``.
        references: True texts.
        clusters: Cluster of each item (the person, or the take), for the intervals.
        cleaned: Function that every text goes through first.

    Returns:
        The corpus, and scores that are still empty.

    Raises:
        ValueError: The lists differ in length, or an item has no true text.
    """
    for name, texts in systems.items():
        if not len(texts) == len(references) == len(clusters):
            raise ValueError(
                f"{name}: {len(texts)} candidates, {len(references)} references, {len(clusters)} clusters; "
                "they must match."
            )
    true = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    true = [[line for line in map(cleaned, texts) if has_words(line)] for texts in true]
    if empty := [index for index, texts in enumerate(true) if not texts]:
        raise ValueError(f"Item {empty[0]} has no true text ({len(empty)} of {len(true)} have none); leave it out.")
    scores, candidates = TextScores({name: {} for name in systems}), {}
    for name, texts in systems.items():
        lines = [cleaned(text) for text in texts]
        candidates[name] = [line if has_words(line) else EMPTY for line in lines]
        if count := candidates[name].count(EMPTY):
            scores.notes.append(f"{name}: {count} of {len(texts)} texts hold no word and score 0.")
    return Corpus(candidates, true, list(clusters)), scores


@contextmanager
def needing(package: str, extra: str = "metrics") -> Iterator[None]:
    """Turns an import that fails in the block into the error that says which package is missing, and which extra installs it.

    Args:
        package: The package.
        extra: The extra of this project that installs it.

    Yields:
        Nothing.

    Raises:
        NotComputed: The package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotComputed(f"{package} is not installed (pip install 'mm-coach[{extra}]')") from error
