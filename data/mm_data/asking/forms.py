"""Forms of answers as pydantic models: the JSON schema that an endpoint is sent, and the sentence by which a reply is refused."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import CoreSchema
from pydantic_core.core_schema import literal_schema

from mm_data.asking.completions import Schema

_UNSENT = ("$defs", "title", "description", "default")


class Form(BaseModel):
    """An answer that has exactly these fields; nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


FormT = TypeVar("FormT", bound=BaseModel)


@dataclass(frozen=True)
class OneOf:
    """A mark of texts that have to be one of several: ``Annotated[str, OneOf(names)]``.

    Attributes:
        choices: Texts to choose from.
    """

    choices: Sequence[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return literal_schema(list(self.choices))


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Text = Annotated[str, AfterValidator(_filled)]
"""A text that holds more than blanks."""


def answer_schema(name: str, form: type[FormT], check: Callable[[FormT], str | None] = lambda answer: None) -> Schema:
    """Builds what an answer must look like.

    Args:
        name: Name of the schema; letters, digits and dashes.
        form: Model of the answer; its validators check what a JSON schema cannot say.
        check: Says what is wrong with a well-formed answer, or None: for what depends on the question.

    Returns:
        The schema, whose ``problem`` is a sentence.
    """

    def problem(content: Any) -> str | None:
        try:
            answer = form.model_validate(content)
        except ValidationError as error:
            return _sentence(error)
        return check(answer)

    return Schema(name, _json_schema(form), problem)


def _json_schema(form: type[BaseModel]) -> dict[str, Any]:
    """The schema as endpoints take it: without references, every field required and no other allowed."""
    whole = form.model_json_schema()

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(whole["$defs"][node["$ref"].rpartition("/")[2]])
        node = {name: plain(value) for name, value in node.items() if name not in _UNSENT}
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "properties" in node:
            node |= {"required": list(node["properties"]), "additionalProperties": False}
        return node

    return plain(whole)


def _sentence(error: ValidationError) -> str:
    first: Mapping[str, Any] = dict(error.errors(include_url=False)[0])
    place = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "value_error":
            return f"{place!r} {first['ctx']['error']}" if place else str(first["ctx"]["error"])
        case "missing":
            return f"{place!r} is missing"
        case "extra_forbidden":
            return f"{place!r} was not asked for"
        case "model_type":
            return f"{repr(place) if place else 'the answer'} has to be an object"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{repr(place) if place else 'the answer'} is {reprlib.repr(first['input'])}; {message}"
