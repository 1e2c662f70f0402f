"""Narrative action evaluation (PGMI, CVPR 2024): a narrative of a performance with its actions and its score."""

from pathlib import Path
from typing import Any

from mm_adapter.tasks.nae.annotate import annotate_nae
from mm_adapter.tasks.nae.files import read_nae
from mm_adapter.tasks.nae.format import NaeFormat, NaeOptions
from mm_adapter.tasks.nae.miniature import write_dives
from mm_adapter.tasks.nae.suite import NARRATIVES
from mm_adapter.tasks.task import Task
from mm_adapter.tasks.zero_shot import Instruction
from mm_data.annotation import Pictures, Stages
from mm_data.asking.forms import Form, Text
from mm_data.tasks import TaskItem


class _Narrative(Form):
    text: Text
    actions: list[str]
    score: float


def _instruction(knowledge: dict[str, Any], options: NaeOptions) -> Instruction:
    def words(item: TaskItem) -> dict[str, str]:
        return {"told": f"The event: {item.category}. " if options.category else ""}

    inputs = ["category: told (a hint at the truth)" if options.category else "category: not told"]
    return Instruction.of_prompt("mm_adapter.tasks.nae", "nae-zero-shot-2", _Narrative, words, inputs)


def _annotate(source: Path, out: Path, stages: Stages, pictures: Pictures) -> None:
    annotate_nae(source, out, stages)


NAE = Task(
    name="nae",
    read=read_nae,
    options=NaeOptions,
    format=NaeFormat,
    suite=NARRATIVES,
    instruction=_instruction,
    annotate=_annotate,
    miniature=write_dives,
    phrase="score this",
)
