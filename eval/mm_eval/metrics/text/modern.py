"""Text metrics as today's language model papers report them: ROUGE F1, BLEU with a signature, BERTScore."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mm_eval.metrics.text.corpus import EMPTY, Corpus, References, Rows, TextScores, needing, prepare
from mm_eval.statistics.aggregates import BLEU_ORDERS
from mm_eval.statistics.metric import corpus_metric, item_metric

_LONGEST = 512  # tokens


@dataclass(frozen=True)
class BertModel:
    """Weights of BERTScore on disk.

    Attributes:
        folder: Transformers checkpoint, such as ``microsoft/deberta-xlarge-mnli``.
        layer: Layer whose states are compared; 40 for deberta-xlarge-mnli, 18 for deberta-xlarge.
        baseline: File of bert-score's rescale baselines, or None for scores as they are.
    """

    folder: Path
    layer: int
    baseline: Path | None = None


def modern_scores(
    systems: Mapping[str, Sequence[str]],
    references: References,
    clusters: Sequence[str],
    bert: BertModel | None = None,
) -> TextScores:
    """Computes ROUGE-1, ROUGE-2 and ROUGE-L F1 (stemmed), sacrebleu's BLEU, and BERTScore F1 where weights are given.

    Args:
        systems: Generated texts of each system, aligned with ``references``.
        references: True texts, one or several per item; the best counts, as in each package.
        clusters: Cluster of each item (the person, or the take), for the intervals.
        bert: Weights of BERTScore.

    Returns:
        Metrics by system, and notes on what could not be computed.

    Raises:
        ValueError: The lists differ in length, or an item has no true text.
    """
    corpus, scores = prepare(systems, references, clusters)
    scores.compute("ROUGE F1", lambda: _rouge(corpus))
    scores.compute("sacreBLEU", lambda: _sacrebleu(corpus))
    if bert is None:
        scores.notes.append("BERTScore: not computed: no weights were given (--bert-model FOLDER --bert-layer N)")
    else:
        scores.compute("BERTScore", lambda: _bert_score(corpus, bert))
    return scores


def _rouge(corpus: Corpus) -> Rows:
    with needing("rouge-score"):
        from rouge_score.rouge_scorer import RougeScorer
    kinds = {"rouge1": "rouge1_f1", "rouge2": "rouge2_f1", "rougeL": "rouge_l_f1"}
    scorer = RougeScorer(list(kinds), use_stemmer=True)
    sign = f"impl:rouge-score-{version('rouge-score')}|stem:porter|{corpus.signature}"
    rows: Rows = {}
    for name, texts in corpus.systems.items():
        scores = [scorer.score_multi(true, text) for true, text in zip(corpus.references, texts, strict=True)]
        rows[name] = {
            metric: item_metric([score[kind].fmeasure for score in scores], corpus.clusters, "0-1", f"{metric}|{sign}")
            for kind, metric in kinds.items()
        }
    return rows


def _sacrebleu(corpus: Corpus) -> Rows:
    with needing("sacrebleu"):
        from sacrebleu.metrics.bleu import BLEU
    scorer = BLEU(effective_order=True)
    options = "case:mixed|eff:no|tok:13a|smooth:exp"
    sign = f"sacrebleu|{corpus.signature}|{options}|version:{version('sacrebleu')}"
    rows: Rows = {}
    for name, texts in corpus.systems.items():
        scores = [scorer.sentence_score(text, true) for text, true in zip(texts, corpus.references, strict=True)]
        statistics = np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], float)
        assert statistics.shape[1] == 2 * BLEU_ORDERS + 2
        values = [s.score for s in scores]
        rows[name] = {"sacrebleu": corpus_metric(statistics, "sacrebleu", corpus.clusters, "0-100", sign, values)}
    return rows


def _bert_score(corpus: Corpus, bert: BertModel) -> Rows:
    with needing("bert-score", "bertscore"):
        from bert_score import BERTScorer
    scorer = BERTScorer(
        model_type=str(bert.folder),
        num_layers=bert.layer,
        lang="en",
        rescale_with_baseline=bert.baseline is not None,
        baseline_path=None if bert.baseline is None else str(bert.baseline),
    )
    # DeBERTa's tokenizer has no limit of its own, which transformers 5 hands on as an integer too large for its backend.
    tokenizer = scorer._tokenizer
    tokenizer.model_max_length = min(tokenizer.model_max_length, _LONGEST)
    sign = (
        f"bertscore|F1|impl:bert-score-{version('bert-score')}|model:{bert.folder.name}_L{bert.layer}|idf:no|"
        f"rescaled:{'no' if bert.baseline is None else bert.baseline.name}|{corpus.signature}"
    )
    rows: Rows = {}
    for name, texts in corpus.systems.items():
        f1 = np.asarray(scorer.score(texts, corpus.references, batch_size=16)[2])
        values = np.where([text == EMPTY for text in texts], 0.0, f1)
        rows[name] = {"bertscore": item_metric(values, corpus.clusters, "0-1", sign)}
    return rows
