"""Descriptive action coaching (TechCoach, EE4D-DescCoach): what is done well and what to improve per TechPoint, commentary, score."""

from pathlib import Path
from typing import Any

from mm_adapter.tasks.desccoach.annotate import annotate_by_rules, annotate_desccoach
from mm_adapter.tasks.desccoach.files import read_desccoach
from mm_adapter.tasks.desccoach.format import DescCoachFormat, DescCoachOptions
from mm_adapter.tasks.desccoach.miniature import write_desccoach
from mm_adapter.tasks.desccoach.suite import COMMENTARY
from mm_adapter.tasks.task import Task
from mm_adapter.tasks.zero_shot import Instruction
from mm_data.annotation import Pictures, Stages
from mm_data.asking.forms import Form, Text
from mm_data.release.egoexo4d import read_release


class _Commentary(Form):
    text: Text
    score: float


def _instruction(knowledge: dict[str, Any], options: DescCoachOptions) -> Instruction:
    words, inputs = lambda item: {"category": item.category}, ["task: told"]
    return Instruction.of_prompt("mm_adapter.tasks.desccoach", "desccoach-zero-shot-1", _Commentary, words, inputs)


def _annotate(source: Path, out: Path, stages: Stages, pictures: Pictures) -> None:
    annotate_desccoach(read_release(source), out, stages)


DESCCOACH = Task(
    name="desccoach",
    read=read_desccoach,
    options=DescCoachOptions,
    format=DescCoachFormat,
    suite=COMMENTARY,
    instruction=_instruction,
    annotate=_annotate,
    annotate_by_rules=annotate_by_rules,
    miniature=write_desccoach,
    phrase="coach me",
    own_facts={"task": "what the clip shows", "techpoints": {}, "commentary": {}},
)
