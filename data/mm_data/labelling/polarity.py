"""Labels from Ego-Exo4D's own judgement of good executions and tips for improvement.

Those files say whether a moment is good, in words of their annotators, but not which body region it is about; the region
is found by the words that the rules know.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from mm_data.labelling.labeller import NOTHING_SAID
from mm_data.labelling.rules import regions_named
from mm_data.records import CORRECT, IMPROVE, Demonstration, LabelledRemark, Remark

TOLERANCE = 0.5
"""Seconds within which a judgement by the same commentator can be about the same moment; the nearest one counts."""


class PolarityLabeller:
    """The labeller that takes its sides from the data set's own judgement.

    Args:
        demonstrations: Moments of ``proficiency_demonstration_*.json``.

    Raises:
        ValueError: There are none, so that nothing could be labelled.
    """

    version = "polarity-2"

    def __init__(self, demonstrations: Sequence[Demonstration]) -> None:
        if not demonstrations:
            raise ValueError(
                "The polarity labeller needs annotations/proficiency_demonstration_{train,val}.json, and none were found; "
                "fetch `--parts annotations`, or choose another labeller."
            )
        self._by_session: dict[tuple[str, str], list[Demonstration]] = defaultdict(list)
        for item in demonstrations:
            self._by_session[item.take_uid, item.commentator].append(item)

    def label(
        self, remarks: Sequence[Remark], progress: Callable[[int], None] = lambda done: None
    ) -> list[LabelledRemark | str]:
        """Labels remarks; returns one result per remark, in order."""
        results = [self._label(remark) for remark in remarks]
        progress(len(results))
        return results

    def _label(self, remark: Remark) -> LabelledRemark | str:
        session = self._by_session.get((remark.take_uid, remark.commentator), [])
        nearest = min((abs(item.time - remark.time) for item in session), default=TOLERANCE + 1)
        if nearest > TOLERANCE:
            return "no judgement of this moment"
        moments = [item for item in session if abs(item.time - remark.time) <= nearest + 1e-6]
        tips = [text for item in moments if not item.good for text in item.texts]
        praise = [text for item in moments if item.good for text in item.texts]
        regions = dict.fromkeys((r for text in praise for r in regions_named(text)), CORRECT)
        regions |= dict.fromkeys((r for text in tips for r in regions_named(text)), IMPROVE)
        if not regions:
            return NOTHING_SAID
        summary = "; ".join(text.rstrip(" .") for text in (tips or praise)) + "."
        return LabelledRemark(remark, summary, regions, self.version)
