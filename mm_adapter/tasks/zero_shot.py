"""What a vision-language model that knows nothing of our formats is asked about an item: frames, an instruction, an answer in JSON.

Of the papers' own instructions only TechCoach's is published as text; DescCoach's follows it, without its answer example and without
its hint of what the truth talks about. The others are ours. All are versioned.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_data.asking.completions import Request, Schema
from mm_data.asking.forms import Form, Text, answer_schema
from mm_data.asking.prompts import load_prompt
from mm_data.conversation import Message
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.videos.pictures import clip_pictures

_VIEWS = {"exo": "Seen from outside:", "ego": "Seen from their own eyes:"}


@dataclass(frozen=True)
class Frames:
    """Frames of a clip that the model sees.

    Attributes:
        count: Frames per view, evenly spaced.
        size: Most pixels of the longer side.
        views: Views, in the order in which they are shown.
    """

    count: int = 8
    size: int = 448
    views: tuple[str, ...] = ("exo", "ego")


@dataclass(frozen=True)
class Instruction:
    """What a model is told and asked about an item beside its frames.

    Attributes:
        schema: Form of the answer.
        messages: An item's system and user turn, the latter without frames.
        inputs: What the model is given beside the frames, for signatures.
        about: What a log of answers notes about the prompt.
        read: An answer's content to the answer.
    """

    schema: Schema
    messages: Callable[[TaskItem], tuple[str, str]]
    inputs: list[str]
    about: dict[str, str] = field(default_factory=dict)
    read: Callable[[Mapping[str, Any]], Answer] = lambda content: Answer(**content)

    @classmethod
    def of_prompt(
        cls,
        package: str,
        prompt: str,
        form: type[Form],
        words: Callable[[TaskItem], dict[str, str]],
        inputs: list[str],
    ) -> "Instruction":
        """Makes an instruction of a prompt in a task's room.

        Args:
            package: The room.
            prompt: Name of the prompt.
            form: Fields of the answer, named as those of `Answer`.
            words: What fills the places of the prompt.
            inputs: What the model is given beside the frames.

        Returns:
            The instruction.
        """
        loaded = load_prompt(package, prompt)

        def messages(item: TaskItem) -> tuple[str, str]:
            system, user = loaded.messages(words(item), words(item))
            return system["content"], user["content"]

        return cls(answer_schema(prompt, form), messages, inputs, loaded.about)

    @classmethod
    def of_format(cls, form: TaskFormat) -> "Instruction":
        """Makes an instruction of a task's own first question, whose answer is read as a coach's is."""

        class Words(Form):
            text: Text

        def messages(item: TaskItem) -> tuple[str, str]:
            (question,) = next(form.questions(item))
            turns = question.messages
            user = "\n".join(_words(turn) for turn in turns if turn["role"] != "system")
            system = "\n".join(_words(turn) for turn in turns if turn["role"] == "system")
            return system, f'{user}\n\nAnswer with one JSON object: {{"text": "..."}}'

        schema = answer_schema("words", Words)
        return cls(schema, messages, form.inputs, {}, lambda content: form.parse(content["text"]))

    def request(self, item: TaskItem, videos: Path, frames: Frames) -> Request:
        """Makes the request about an item.

        Args:
            item: The item; its videos are read.
            videos: Folder that they lie in.
            frames: Frames that are shown.

        Returns:
            The request.

        Raises:
            ValueError: The item has no clip of a view.
            VideoError: A clip cannot be read.
        """
        system, user = self.messages(item)
        content = [*_pictures(item, videos, frames), {"type": "text", "text": user}]
        turns = [{"role": "system", "content": system}, {"role": "user", "content": content}]
        return Request(item.item_id, turns, self.schema, about={**self.about, **vars(frames), "inputs": self.inputs})


def _pictures(item: TaskItem, videos: Path, frames: Frames) -> Iterator[dict[str, Any]]:
    for view in frames.views:
        if view not in item.clip.videos:
            raise ValueError(f"Item {item.item_id!r} has no {view} clip; choose other --views.")
        yield {"type": "text", "text": _VIEWS.get(view, f"{view}:")}
        path = videos / item.clip.videos[view]
        yield from clip_pictures(path, item.clip.start, item.clip.stop, frames.count, frames.size)


def _words(turn: Message) -> str:
    """Returns a turn's words without its clips."""
    return "\n".join(part["text"] for part in turn["content"] if part["type"] == "text")
