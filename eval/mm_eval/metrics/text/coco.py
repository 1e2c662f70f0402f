"""Reference text metrics of the captioning field, by pycocoevalcap's scorers (PTB tokens, lower case, Java METEOR 1.5)."""

from collections.abc import Mapping, Sequence

import numpy as np

from mm_eval.metrics.text.corpus import EMPTY, Corpus, References, Rows, TextScores, needing, prepare
from mm_eval.metrics.text.java import meteor_statistics, ptb_tokens
from mm_eval.statistics.aggregates import AGGREGATES, BLEU_ORDERS
from mm_eval.statistics.metric import Metric, corpus_metric, item_metric

Tokens = dict[int, list[str]]
"""Item to its texts as tokens: one candidate, or all references."""


def coco_scores(systems: Mapping[str, Sequence[str]], references: References, clusters: Sequence[str]) -> TextScores:
    """Computes BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr-D of several systems over one corpus.

    BLEU and METEOR are corpus aggregates; ROUGE-L and CIDEr-D are means over items. ``COCOEvalCap`` itself is not used: it builds
    SPICE, which downloads.

    Args:
        systems: Generated texts of each system, aligned with ``references``.
        references: True texts, one or several per item.
        clusters: Cluster of each item (the person, or the take), for the intervals.

    Returns:
        Metrics by system, and notes on what could not be computed.

    Raises:
        ValueError: The lists differ in length, or an item has no true text.
    """
    corpus, scores = prepare(systems, references, clusters)
    tokens: list[tuple[Tokens, dict[str, Tokens]]] = []

    def counted() -> Rows:
        tokens.append(_tokenized(corpus))
        return _counted(*tokens[0], corpus)

    scores.compute("BLEU, METEOR, ROUGE-L, CIDEr", counted)
    if tokens:
        scores.compute("METEOR", lambda: _meteor(*tokens[0], corpus))
    return scores


def _counted(truth: Tokens, systems: dict[str, Tokens], corpus: Corpus) -> Rows:
    """Computes BLEU, ROUGE-L and CIDEr-D from counts of tokens."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    sign = _signature(corpus)
    rows: Rows = {}
    for name, candidates in systems.items():
        rouge = Rouge().compute_score(truth, candidates)[1]
        cider = Cider().compute_score(truth, candidates)[1]
        rows[name] = {
            **_bleu(truth, candidates, corpus.clusters, sign),
            "rouge_l": item_metric(rouge, corpus.clusters, "0-1", f"rouge_l|beta:1.2|{sign}"),
            "cider": item_metric(cider, corpus.clusters, "0-10", f"cider-d|idf:this set|{sign}"),
        }
    return rows


def _meteor(truth: Tokens, systems: dict[str, Tokens], corpus: Corpus) -> Rows:
    rows: Rows = {}
    for name, candidates in systems.items():
        statistics = np.array([meteor_statistics(candidates[index][0], truth[index]) for index in truth])
        per_item = AGGREGATES["meteor"](np.eye(len(statistics)), statistics)
        sign = f"meteor-1.5|aggregate|{_signature(corpus)}"
        rows[name] = {"meteor": corpus_metric(statistics, "meteor", corpus.clusters, "0-1", sign, per_item)}
    return rows


def _signature(corpus: Corpus) -> str:
    return f"impl:pycocoevalcap-1.2|tok:ptb3.4.1lc|{corpus.signature}"


def _bleu(truth: Tokens, candidates: Tokens, clusters: list[str], sign: str) -> dict[str, Metric]:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=BLEU_ORDERS)
    for index, references in truth.items():
        scorer += (candidates[index][0], references)
    _, per_item = scorer.compute_score(option="closest")
    rows = []
    for counts in scorer.ctest:
        length = counts["testlen"]
        _, closest = min((abs(n - length), n) for n in counts["reflen"])
        rows.append([*counts["correct"], *counts["guess"], length, closest])
    statistics, metrics = np.array(rows), {}
    for order, values in enumerate(per_item, start=1):
        name = f"bleu{order}"
        metrics[name] = corpus_metric(statistics, name, clusters, "0-1", f"{name}|corpus|{sign}", values)
    return metrics


def _tokenized(corpus: Corpus) -> tuple[Tokens, dict[str, Tokens]]:
    """Tokenizes references and every system's candidates in one run of the Java program."""
    true = [text for texts in corpus.references for text in texts]
    with needing("pycocoevalcap"):
        tokens = ptb_tokens([*true, *(text for texts in corpus.systems.values() for text in texts)])
    lines = iter(line or EMPTY for line in tokens)
    truth = {index: [next(lines) for _ in texts] for index, texts in enumerate(corpus.references)}
    return truth, {
        name: {index: [next(lines)] for index in range(len(texts))} for name, texts in corpus.systems.items()
    }
