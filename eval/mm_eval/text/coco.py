"""Reference text metrics of the captioning field, by pycocoevalcap's scorers (PTB tokens, lower case, Java METEOR 1.5)."""

import os
import shutil

import numpy as np

from mm_eval.metric import Metric, item_metric
from mm_eval.text.suite import EMPTY, NotComputed, Suite, checked, one_line


def coco_suite(systems: dict[str, list[str]], references: list[str], clusters: list[str]) -> Suite:
    """BLEU-4, METEOR, ROUGE-L and CIDEr-D of several systems over one corpus, one reference per item.

    BLEU and METEOR are corpus aggregates; ROUGE-L and CIDEr-D are means over items.

    Args:
        systems: Generated texts per system, each aligned with ``references``.
        references: True texts.
        clusters: Take of each item, for the intervals.

    Raises:
        ValueError: The lists differ in length.
    """
    suite = checked(systems, references, clusters)
    suite.compute("BLEU-4, METEOR, ROUGE-L, CIDEr", lambda: _scores(systems, references, clusters))
    return suite


def _scores(systems: dict[str, list[str]], references: list[str], clusters: list[str]) -> dict[str, dict[str, Metric]]:
    if shutil.which("java") is None:
        raise NotComputed("Java is not installed (apt-get install default-jre-headless)")
    # Under another locale METEOR prints decimal commas, which its wrapper cannot read.
    os.environ["JAVA_TOOL_OPTIONS"] = "-Duser.language=en -Duser.country=US -Dfile.encoding=UTF-8"
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge
    except ModuleNotFoundError as error:
        raise NotComputed("pycocoevalcap is not installed (pip install 'mm-coach[metrics]')") from error

    truth = _tokenized(references)
    sign = f"impl:pycocoevalcap-1.2|tok:ptb3.4.1lc|nrefs:1|n:{len(references)}"
    meteor_scorer = Meteor()  # one Java process for all systems: loading its paraphrases takes seconds
    results: dict[str, dict[str, Metric]] = {}
    for name, texts in systems.items():
        found = _tokenized(texts)
        bleu = Bleu(4).compute_score(truth, found, verbose=0)[0][3]
        meteor, meteor_items = meteor_scorer.compute_score(truth, found)
        rouge_items = np.asarray(Rouge().compute_score(truth, found)[1])
        cider_items = np.asarray(Cider().compute_score(truth, found)[1])
        results[name] = {
            "bleu4": Metric(float(bleu), None, len(texts), 0, "0-1", f"bleu4|corpus|{sign}"),
            "meteor": Metric(
                float(meteor),
                tuple(float(v) for v in meteor_items),
                len(texts),
                0,
                "0-1",
                f"meteor-1.5|aggregate|{sign}",
            ),
            "rouge_l": item_metric(rouge_items, clusters, "0-1", f"rouge_l|beta:1.2|{sign}"),
            "cider": item_metric(cider_items, clusters, "0-10", f"cider-d|idf:this set|{sign}"),
        }
    meteor_scorer.meteor_p.kill()
    return results


def _tokenized(texts: list[str]) -> dict[int, list[str]]:
    """PTB tokens per text; texts without any token become `EMPTY`."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    lines = {i: [{"caption": one_line(text) or EMPTY}] for i, text in enumerate(texts)}
    tokens = PTBTokenizer().tokenize(lines)
    if len(tokens) != len(texts):
        raise ValueError(f"The PTB tokenizer returned {len(tokens)} lines for {len(texts)} texts.")
    return {i: [tokens[i][0] or EMPTY] for i in range(len(texts))}
