"""Labels spoken remarks: a one-sentence summary and, per body region, praise or need for improvement (ExpertAF §3.2)."""

from mm_data.labelling.choice import make_labeller, remarks_to_label
from mm_data.labelling.labeller import Labeller, Labels, label_remarks, read_labels
from mm_data.labelling.llm import LlmLabeller
from mm_data.labelling.polarity import PolarityLabeller
from mm_data.labelling.rules import RulesLabeller

__all__ = [
    "Labeller",
    "Labels",
    "LlmLabeller",
    "PolarityLabeller",
    "RulesLabeller",
    "label_remarks",
    "make_labeller",
    "read_labels",
    "remarks_to_label",
]
