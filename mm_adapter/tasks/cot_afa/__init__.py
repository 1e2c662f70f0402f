"""Action form assessment with a chain of thought (CoT-AFA): the class, the verdict, and what to mend step by step."""

from typing import Annotated, Any, Literal

from pydantic import create_model

from mm_adapter.tasks.cot_afa.annotate import annotate_cot_afa
from mm_adapter.tasks.cot_afa.files import read_cot_afa
from mm_adapter.tasks.cot_afa.format import CotAfaFormat, CotAfaOptions
from mm_adapter.tasks.cot_afa.miniature import write_gym
from mm_adapter.tasks.cot_afa.suite import ASSESSMENTS
from mm_adapter.tasks.task import Task
from mm_adapter.tasks.zero_shot import Instruction
from mm_data.asking.forms import Form, OneOf, Text


def _instruction(knowledge: dict[str, Any], options: CotAfaOptions) -> Instruction:
    """Asks to choose the class from all that the data set knows."""
    names = sorted(knowledge["steps"])
    verdict = Literal["standard", "non-standard"]
    form = create_model(
        "_Assessment",
        __base__=Form,
        text=(Text, ...),
        label=(Annotated[str, OneOf(names)], ...),
        verdict=(verdict, ...),
    )
    words, inputs = lambda item: {"labels": ", ".join(names)}, [f"classes: {len(names)} to choose from"]
    return Instruction.of_prompt("mm_adapter.tasks.cot_afa", "cot-afa-zero-shot-1", form, words, inputs)


COT_AFA = Task(
    name="cot-afa",
    read=read_cot_afa,
    options=CotAfaOptions,
    format=CotAfaFormat,
    suite=ASSESSMENTS,
    instruction=_instruction,
    annotate=annotate_cot_afa,
    miniature=write_gym,
    phrase="assess my form",
)
