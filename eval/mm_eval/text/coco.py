"""Reference text metrics of the captioning field, by pycocoevalcap's scorers (PTB tokens, lower case, Java METEOR 1.5)."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from mm_eval.aggregates import AGGREGATES, BLEU_ORDERS
from mm_eval.metric import Metric, corpus_metric, item_metric
from mm_eval.text.suite import EMPTY, Corpus, NotComputed, References, Suite, lacking, prepare

Rows = dict[str, dict[str, Metric]]
Tokens = dict[int, list[str]]
_LOCALE = "-Duser.language=en -Duser.country=US -Dfile.encoding=UTF-8"


def coco_suite(systems: Mapping[str, Sequence[str]], references: References, clusters: Sequence[str]) -> Suite:
    """BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr-D of several systems over one corpus.

    BLEU and METEOR are corpus aggregates; ROUGE-L and CIDEr-D are means over items. ``COCOEvalCap`` itself is not used: it builds
    SPICE, which downloads.

    Args:
        systems: Generated texts per system, each aligned with ``references``.
        references: True texts, one or several per item.
        clusters: Cluster of each item (the person, or the take), for the intervals.

    Raises:
        ValueError: The lists differ in length, or an item has no true text.
    """
    corpus, suite = prepare(systems, references, clusters)
    suite.compute("BLEU, METEOR, ROUGE-L, CIDEr", lambda: _scores(corpus))
    return suite


def _scores(corpus: Corpus) -> Rows:
    if shutil.which("java") is None:
        raise NotComputed("Java is not installed (apt-get install default-jre-headless)")
    # Under another locale METEOR prints decimal commas.
    if _LOCALE not in os.environ.get("JAVA_TOOL_OPTIONS", ""):
        os.environ["JAVA_TOOL_OPTIONS"] = f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} {_LOCALE}".strip()
    try:
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ModuleNotFoundError as error:
        raise lacking("pycocoevalcap") from error

    sign = f"impl:pycocoevalcap-1.2|tok:ptb3.4.1lc|{corpus.signature}"
    truth, systems = _tokenized(corpus)
    results: Rows = {}
    for name, found in systems.items():
        rouge, cider = Rouge().compute_score(truth, found)[1], Cider().compute_score(truth, found)[1]
        statistics = np.array([_meteor_statistics(found[i][0], truth[i]) for i in truth])
        results[name] = {
            **_bleu(truth, found, corpus.clusters, sign),
            "meteor": corpus_metric(
                statistics,
                "meteor",
                corpus.clusters,
                "0-1",
                f"meteor-1.5|aggregate|{sign}",
                AGGREGATES["meteor"](np.eye(len(statistics)), statistics),
            ),
            "rouge_l": item_metric(rouge, corpus.clusters, "0-1", f"rouge_l|beta:1.2|{sign}"),
            "cider": item_metric(cider, corpus.clusters, "0-10", f"cider-d|idf:this set|{sign}"),
        }
    return results


def _bleu(truth: Tokens, found: Tokens, clusters: list[str], sign: str) -> dict[str, Metric]:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=BLEU_ORDERS)
    for index, references in truth.items():
        scorer += (found[index][0], references)
    _, per_item = scorer.compute_score(option="closest")
    rows = np.array(
        [[*c["correct"], *c["guess"], c["testlen"], min((abs(n - c["testlen"]), n) for n in c["reflen"])[1]] for c in scorer.ctest]
    )  # fmt: skip
    return {
        f"bleu{order}": corpus_metric(
            rows, f"bleu{order}", clusters, "0-1", f"bleu{order}|corpus|{sign}", per_item[order - 1]
        )
        for order in range(1, BLEU_ORDERS + 1)
    }


@cache
def _meteor(process: int) -> Any:
    """METEOR's Java program, started once per process: loading its paraphrases takes seconds."""
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()


def _meteor_statistics(candidate: str, references: list[str]) -> list[float]:
    meteor = _meteor(os.getpid())
    if meteor.meteor_p.poll() is not None:
        _meteor.cache_clear()
        meteor = _meteor(os.getpid())
    with meteor.lock:
        line = meteor._stat(candidate, [text.replace("|||", "") for text in references])
    try:
        return [float(value) for value in line.split()]
    except ValueError:
        raise NotComputed(f"METEOR's Java program answered {line[:200]!r}") from None


def _tokenized(corpus: Corpus) -> tuple[Tokens, dict[str, Tokens]]:
    """PTB tokens of references and of every system's candidates, in one run of the Java tokenizer."""
    lines = _ptb([*(text for texts in corpus.references for text in texts), *(t for s in corpus.systems.values() for t in s)])  # fmt: skip
    truth = {index: [next(lines) for _ in texts] for index, texts in enumerate(corpus.references)}
    return truth, {
        name: {index: [next(lines)] for index in range(len(texts))} for name, texts in corpus.systems.items()
    }


def _ptb(texts: Iterable[str]) -> Iterator[str]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    lines = {index: [{"caption": text}] for index, text in enumerate(texts)}
    try:
        tokens = PTBTokenizer().tokenize(lines)
    except PermissionError as error:
        raise NotComputed(f"pycocoevalcap writes beside its own files and may not: {error}") from error
    if len(tokens) != len(lines):
        raise ValueError(f"The PTB tokenizer returned {len(tokens)} lines for {len(lines)} texts.")
    return iter([tokens[index][0] or EMPTY for index in lines])
