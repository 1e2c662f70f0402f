"""ExpertAF (CVPR 2025): expert commentary, retrieval of an expert's demonstration by likelihood, corrected poses."""

from pathlib import Path
from typing import Any

from mm_adapter.tasks.expertaf.format import ExpertafFormat, ExpertafOptions
from mm_adapter.tasks.expertaf.hidden import injected_errors
from mm_adapter.tasks.expertaf.suite import CoachingSuite
from mm_adapter.tasks.task import Task
from mm_adapter.tasks.zero_shot import Instruction
from mm_data.asking.forms import Form, Text
from mm_data.miniature import write_miniature
from mm_data.tasks import TaskData
from mm_data.tasks.item_table import NAMES, find_table, read_item_table, with_experts


def _read(root: Path) -> TaskData:
    if find_table(root) is None:
        raise ValueError(
            f"{root}: ExpertAF's items are mined from remarks and poses, and `mm-coach data build` makes them; or they stand in a table "
            f"whose rows name an expert_clip ({', '.join(NAMES)}), and there is none."
        )
    return with_experts(read_item_table(root), root)


class _Remark(Form):
    text: Text


def _instruction(knowledge: dict[str, Any], options: ExpertafOptions) -> Instruction:
    words, inputs = lambda item: {"category": item.category}, ["activity: told"]
    return Instruction.of_prompt("mm_adapter.tasks.expertaf", "expertaf-zero-shot-1", _Remark, words, inputs)


EXPERTAF = Task(
    name="expertaf",
    read=_read,
    options=ExpertafOptions,
    format=ExpertafFormat,
    suite=CoachingSuite(),
    instruction=_instruction,
    miniature=write_miniature,
    hidden_truth=injected_errors,
)
