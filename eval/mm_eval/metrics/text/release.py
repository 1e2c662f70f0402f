"""ExpertAF's released scorer, for comparison with its Table 1 alone.

Its texts keep a constant prefix of fifteen words in references and candidates alike, so that an empty commentary scores above
60 ROUGE-L: `PREFIX` on both sides reproduces that, and the prefix alone is the floor. Words are split at white space, their case
kept; METEOR is NLTK's, ROUGE-L the union variant of the package ``rouge``, CIDEr-D runs without PTB tokens. None of these
numbers compares with those of `coco_scores`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version

import numpy as np

from mm_eval.metrics.text.cleaning import PREFIX, one_line
from mm_eval.metrics.text.corpus import NotComputed, Rows, TextScores, needing, prepare
from mm_eval.statistics.aggregates import BLEU_ORDERS
from mm_eval.statistics.metric import corpus_metric, item_metric


def release_scores(
    systems: Mapping[str, Sequence[str]], references: Sequence[str], clusters: Sequence[str], prefix: str = PREFIX
) -> TextScores:
    """Computes BLEU-4, METEOR, ROUGE-L and CIDEr-D as the release computes them.

    Args:
        systems: Generated texts of each system, aligned with ``references``.
        references: True texts.
        clusters: Cluster of each item (the person, or the take), for the intervals.
        prefix: Words put before every text; "" gives the clean numbers of the same recipe.

    Returns:
        Metrics by system, and notes on what could not be computed.

    Raises:
        ValueError: The lists differ in length.
    """
    corpus, scores = prepare(systems, references, clusters, lambda text: one_line(prefix + text))
    truth = [texts[0] for texts in corpus.references]
    sign = f"tok:whitespace|nrefs:1|prefix:{'kept' if prefix else 'none'}"
    for title, work in (("BLEU-4", _bleu), ("METEOR", _meteor), ("ROUGE-L", _rouge), ("CIDEr", _cider)):
        scores.compute(title, partial(work, corpus.systems, truth, corpus.clusters, sign))
    return scores


def _bleu(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    with needing("nltk"):
        from nltk.translate.bleu_score import modified_precision
    signature = f"bleu4|corpus|impl:nltk-{version('nltk')}|smooth:method4|{sign}"
    rows: Rows = {}
    for name, texts in systems.items():
        statistics = []
        for text, reference in zip(texts, truth, strict=True):
            words, true = text.split(), reference.split()
            counts = [modified_precision([true], words, order) for order in range(1, BLEU_ORDERS + 1)]
            correct, guessed = [c.numerator for c in counts], [c.denominator for c in counts]
            statistics.append([*correct, *guessed, len(words), len(true)])
        rows[name] = {"bleu4": corpus_metric(np.array(statistics, float), "nltk_bleu", clusters, "0-1", signature)}
    return rows


def _meteor(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    with needing("nltk"):
        from nltk.corpus import wordnet
        from nltk.translate.meteor_score import meteor_score
    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise NotComputed("NLTK has no WordNet 3.0 (python -m nltk.downloader wordnet)") from error
    signature = f"meteor|mean|impl:nltk-{version('nltk')}|wordnet:{wordnet.get_version()}|{sign}"

    def score(texts: list[str]) -> list[float]:
        return [meteor_score([true.split()], text.split()) for true, text in zip(truth, texts, strict=True)]

    return {name: {"meteor": item_metric(score(texts), clusters, "0-1", signature)} for name, texts in systems.items()}


def _rouge(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    with needing("rouge"):
        from rouge import Rouge
    scorer = Rouge(metrics=["rouge-l"])

    def score(text: str, true: str) -> float:
        """F1, or NaN where the text is too long for the package."""
        try:
            return scorer.get_scores(text, true)[0]["rouge-l"]["f"]  # type: ignore[index]
        except RecursionError:  # the package recurses once per word
            return float("nan")

    signature = f"rouge_l|union of sentences, F1|impl:rouge-{version('rouge')}|{sign}"
    rows: Rows = {}
    for name, texts in systems.items():
        values = [score(text, true) for text, true in zip(texts, truth, strict=True)]
        rows[name] = {"rouge_l": item_metric(values, clusters, "0-1", signature)}
    return rows


def _cider(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    with needing("pycocoevalcap"):
        from pycocoevalcap.cider.cider import Cider
    references = {index: [text] for index, text in enumerate(truth)}
    signature = f"cider-d|idf:this set|impl:pycocoevalcap-{version('pycocoevalcap')}|{sign}"
    rows: Rows = {}
    for name, texts in systems.items():
        values = Cider().compute_score(references, {index: [text] for index, text in enumerate(texts)})[1]
        rows[name] = {"cider": item_metric(values, clusters, "0-10", signature)}
    return rows
