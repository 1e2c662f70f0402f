"""A table of one's own: clips with remarks, scores, verdicts, labels and findings, as people write them in a spreadsheet."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import create_model

from mm_adapter.tasks.table.format import ASK, ASK_LABEL, ASK_VERDICT, TableFormat
from mm_adapter.tasks.task import Task
from mm_adapter.tasks.zero_shot import Instruction
from mm_data.asking.forms import Form, OneOf, Text
from mm_data.tasks.item_table import read_item_table


@dataclass(frozen=True)
class TableOptions:
    """A table has no switches: what it holds decides what is asked."""


def _instruction(knowledge: dict[str, Any], options: TableOptions) -> Instruction:
    """Asks for all that the table says at once, each part in a field of its own."""
    form = TableFormat(knowledge, options)
    asked: dict[str, tuple[str, str, Any]] = {}
    for part, question in (("label", ASK_LABEL), ("verdict", ASK_VERDICT)):
        if part in form.choices:
            names = form.choices[part][1]
            asked[part] = (f"{question} One of: {'; '.join(names)}.", '"..."', Annotated[str, OneOf(names)])
    if form.remarks:
        asked["text"] = (f"{ASK} Answer in one or two sentences.", '"..."', Text)
    if form.findings:
        names = "; ".join(form.findings)
        asked["findings"] = (f"What needs improvement? None or some of: {names}.", '["...", ...]', list[Annotated[str, OneOf(form.findings)]])  # fmt: skip
    if form.scale is not None:
        asked["score"] = ("Which score, from {:g} to {:g}?".format(*form.scale), "<number>", float)
    fields = ", ".join(f'"{part}": {shape}' for part, (_, shape, _) in asked.items())
    words = {"asked": "\n".join(question for question, _, _ in asked.values()), "form": f"{{{fields}}}"}
    model = create_model("Answered", __base__=Form, **{part: (kind, ...) for part, (_, _, kind) in asked.items()})  # pyright: ignore[reportCallIssue, reportArgumentType]
    return Instruction.of_prompt("mm_adapter.tasks.table", "table-zero-shot-1", model, lambda item: words, form.inputs)


TABLE = Task(
    name="table",
    read=read_item_table,
    options=TableOptions,
    format=TableFormat,
    instruction=_instruction,
    phrase="comment on this",
)
