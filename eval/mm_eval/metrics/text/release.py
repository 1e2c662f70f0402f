"""ExpertAF's released scorer, for comparison with its Table 1 alone.

Its texts keep a constant prefix of fifteen words in references and candidates alike, so that an empty commentary scores above
60 ROUGE-L: `PREFIX` on both sides reproduces that, and the prefix alone is the floor. Words are split at white space, their case
kept; METEOR is NLTK's, ROUGE-L the union variant of the package ``rouge``, CIDEr-D runs without PTB tokens. None of these
numbers compares with those of `coco_suite`.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import ArrayLike

from mm_eval.metrics.text.cleaning import PREFIX, one_line
from mm_eval.metrics.text.suite import NotComputed, Suite, lacking, prepare
from mm_eval.statistics.aggregates import BLEU_ORDERS
from mm_eval.statistics.metric import Metric, corpus_metric, item_metric

Rows = dict[str, dict[str, Metric]]


def release_suite(
    systems: Mapping[str, Sequence[str]], references: Sequence[str], clusters: Sequence[str], prefix: str = PREFIX
) -> Suite:
    """BLEU-4, METEOR, ROUGE-L and CIDEr-D as the release computes them.

    Args:
        systems: Generated texts per system, each aligned with ``references``.
        references: True texts.
        clusters: Cluster of each item (the person, or the take), for the intervals.
        prefix: Put before every text; "" gives the clean numbers of the same recipe.

    Raises:
        ValueError: The lists differ in length.
    """
    corpus, suite = prepare(systems, references, clusters, lambda text: one_line(prefix + text))
    truth, found, clusters = [texts[0] for texts in corpus.references], corpus.systems, corpus.clusters
    sign = f"tok:whitespace|nrefs:1|prefix:{'kept' if prefix else 'none'}"
    suite.compute("BLEU-4", lambda: _bleu(found, truth, clusters, sign))
    suite.compute("METEOR", lambda: _meteor(found, truth, clusters, sign))
    suite.compute("ROUGE-L", lambda: _rouge(found, truth, clusters, sign))
    suite.compute("CIDEr", lambda: _cider(found, truth, clusters, sign))
    return suite


def _bleu(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    try:
        from nltk.translate.bleu_score import modified_precision
    except ModuleNotFoundError as error:
        raise lacking("nltk") from error
    split = [[text.split()] for text in truth]
    signature = f"bleu4|corpus|impl:nltk-{version('nltk')}|smooth:method4|{sign}"
    rows: Rows = {}
    for name, texts in systems.items():
        found = [text.split() for text in texts]
        counts = [
            [modified_precision(true, words, order) for order in range(1, BLEU_ORDERS + 1)]
            for true, words in zip(split, found, strict=True)
        ]
        statistics = np.array(
            [[*(c.numerator for c in mine), *(c.denominator for c in mine), len(words), len(true[0])] for mine, words, true in zip(counts, found, split, strict=True)],
            float,
        )  # fmt: skip
        rows[name] = {"bleu4": corpus_metric(statistics, "nltk_bleu", clusters, "0-1", signature)}
    return rows


def _meteor(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    try:
        from nltk.corpus import wordnet
        from nltk.translate.meteor_score import meteor_score
    except ModuleNotFoundError as error:
        raise lacking("nltk") from error
    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise NotComputed("NLTK has no WordNet 3.0 (python -m nltk.downloader wordnet)") from error
    signature = f"meteor|mean|impl:nltk-{version('nltk')}|wordnet:{wordnet.get_version()}|{sign}"
    values = {
        name: [meteor_score([true.split()], text.split()) for true, text in zip(truth, texts, strict=True)]
        for name, texts in systems.items()
    }
    return _means("meteor", values, clusters, "0-1", signature)


def _rouge(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    try:
        from rouge import Rouge
    except ModuleNotFoundError as error:
        raise lacking("rouge") from error
    scorer = Rouge(metrics=["rouge-l"])

    def score(text: str, true: str) -> float:
        try:
            return scorer.get_scores(text, true)[0]["rouge-l"]["f"]  # type: ignore[index]
        except RecursionError:  # the package recurses once per word
            return float("nan")

    signature = f"rouge_l|union of sentences, F1|impl:rouge-{version('rouge')}|{sign}"
    values = {
        name: [score(text, true) for text, true in zip(texts, truth, strict=True)] for name, texts in systems.items()
    }
    return _means("rouge_l", values, clusters, "0-1", signature)


def _cider(systems: dict[str, list[str]], truth: list[str], clusters: list[str], sign: str) -> Rows:
    try:
        from pycocoevalcap.cider.cider import Cider
    except ModuleNotFoundError as error:
        raise lacking("pycocoevalcap") from error
    references = {index: [text] for index, text in enumerate(truth)}
    signature = f"cider-d|idf:this set|impl:pycocoevalcap-{version('pycocoevalcap')}|{sign}"
    values = {
        name: Cider().compute_score(references, {index: [text] for index, text in enumerate(texts)})[1]
        for name, texts in systems.items()
    }
    return _means("cider", values, clusters, "0-10", signature)


def _means(metric: str, values: Mapping[str, ArrayLike], clusters: list[str], scale: str, signature: str) -> Rows:
    return {
        name: {metric: item_metric(np.asarray(per_item), clusters, scale, signature)}
        for name, per_item in values.items()
    }
