"""Reference text metrics of the captioning field, by pycocoevalcap's scorers (PTB tokens, lower case, Java METEOR 1.5)."""

import os
import shutil

import numpy as np

from mm_eval.metric import Metric, item_metric

EMPTY = "emptyanswer"
"""Stands for an empty candidate: a word that no reference holds scores 0 everywhere, where "" would crash."""


class NotComputed(RuntimeError):
    """A metric whose tools are missing. It is never replaced by another one under the same name."""


def coco_suite(candidates: list[str], references: list[str], clusters: list[str]) -> dict[str, Metric]:
    """BLEU-4, METEOR, ROUGE-L and CIDEr-D over a corpus, one reference per item.

    Args:
        candidates: Generated texts.
        references: True texts.
        clusters: Take of each item, for the intervals.

    Returns:
        Metrics by name. BLEU and METEOR are corpus aggregates; ROUGE-L and CIDEr-D are means over items.

    Raises:
        NotComputed: Java or pycocoevalcap is missing; says how to get it.
        ValueError: The lists differ in length.
    """
    if not len(candidates) == len(references) == len(clusters):
        raise ValueError(
            f"{len(candidates)} candidates, {len(references)} references, {len(clusters)} clusters; they must match."
        )
    if shutil.which("java") is None:
        raise NotComputed("Java is not installed (apt-get install default-jre-headless)")
    # Under another locale METEOR prints decimal commas, which its wrapper cannot read.
    os.environ["JAVA_TOOL_OPTIONS"] = "-Duser.language=en -Duser.country=US -Dfile.encoding=UTF-8"
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ModuleNotFoundError as error:
        raise NotComputed("pycocoevalcap is not installed (pip install 'mm-coach[metrics]')") from error

    def tokenized(texts: list[str]) -> dict[int, list[str]]:
        # Line separators inside a text would shift every later line of the tokenizer's output.
        lines = {i: [{"caption": " ".join(text.split()) or EMPTY}] for i, text in enumerate(texts)}
        tokens = PTBTokenizer().tokenize(lines)
        if len(tokens) != len(texts):
            raise ValueError(f"The PTB tokenizer returned {len(tokens)} lines for {len(texts)} texts.")
        return {i: [tokens[i][0] or EMPTY] for i in range(len(texts))}

    truth, found = tokenized(references), tokenized(candidates)
    sign = f"impl:pycocoevalcap-1.2|tok:ptb3.4.1lc|nrefs:1|n:{len(candidates)}"
    bleu = Bleu(4).compute_score(truth, found, verbose=0)[0][3]
    meteor_scorer = Meteor()
    meteor, meteor_items = meteor_scorer.compute_score(truth, found)
    meteor_scorer.meteor_p.kill()  # one Java process per call; end it here
    rouge_items = np.asarray(Rouge().compute_score(truth, found)[1])
    cider_items = np.asarray(Cider().compute_score(truth, found)[1])
    return {
        "bleu4": Metric(float(bleu), None, len(candidates), 0, "0-1", f"bleu4|corpus|{sign}"),
        "meteor": Metric(
            float(meteor),
            tuple(float(v) for v in meteor_items),
            len(candidates),
            0,
            "0-1",
            f"meteor-1.5|aggregate|{sign}",
        ),
        "rouge_l": item_metric(rouge_items, clusters, "0-1", "rouge_l|beta:1.2|" + sign),
        "cider": item_metric(cider_items, clusters, "0-10", "cider-d|idf:this set|" + sign),
    }
