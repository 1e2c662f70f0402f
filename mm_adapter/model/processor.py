"""Conversations to token ids: media placeholders, the language model's own chat template, labels from its spans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mm_adapter.model.config import POSE_FORMS, VIEWS, CoachConfig
from mm_data.conversation import Conversation, Message
from mm_tokenizers.coordinates import poses_to_text

EGO_TOKEN, EXO_TOKEN = "<|ego_video|>", "<|exo_video|>"
VIDEO_TOKENS = {"ego": EGO_TOKEN, "exo": EXO_TOKEN}
IGNORE = -100
_DEFAULT_TEMPLATE = "default"
"""What transformers calls the template of a conversation without tools."""


@dataclass(frozen=True)
class Encoded:
    """One tokenized conversation.

    Attributes:
        sample_id: Id of the conversation, which error messages name.
        input_ids: Token ids ``[S]``.
        labels: Labels ``[S]``, -100 where unsupervised.
        clips: View to the clips whose features fill its placeholders, in order.
    """

    sample_id: str
    input_ids: list[int]
    labels: list[int]
    clips: dict[str, list[str]]


class CoachProcessor:
    """Turns conversations into model inputs.

    Args:
        tokenizer: The language model's fast tokenizer with a chat template; pose and video tokens are appended to it.
        config: Configuration of the coach, which says what a clip looks like to the language model.

    Raises:
        ValueError: Nothing of a clip would be shown, or in an unknown form or view; the tokenizer has no chat template, or several
            and none by default; is not a fast one; or already knows some of the tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: CoachConfig) -> None:
        if config.pose_form not in POSE_FORMS:
            raise ValueError(f"Unknown pose form {config.pose_form!r}; choose from {', '.join(POSE_FORMS)}.")
        if unknown := [view for view in config.views if view not in VIEWS]:
            raise ValueError(f"Unknown views {unknown}; choose from {', '.join(VIEWS)}.")
        if config.pose_form == "none" and not config.shown_views:
            raise ValueError("Neither poses nor video would be shown; give a feature store, or another pose form.")
        if not tokenizer.is_fast or not tokenizer.chat_template:
            raise ValueError(
                f"{tokenizer.name_or_path}: needs a fast tokenizer with a chat template; use an instruction-tuned model."
            )
        if isinstance(tokenizer.chat_template, dict):
            # The one that `apply_chat_template` takes becomes the only one, here and in all that is saved.
            if _DEFAULT_TEMPLATE not in tokenizer.chat_template:
                raise ValueError(
                    f"{tokenizer.name_or_path}: has the chat templates {', '.join(sorted(tokenizer.chat_template))} and none that is named "
                    f"{_DEFAULT_TEMPLATE}; give that name to the one to be used, in the model's tokenizer files."
                )
            tokenizer.chat_template = tokenizer.chat_template[_DEFAULT_TEMPLATE]
        self.tokenizer = tokenizer
        self.config = config
        self._names = config.pose_vocabulary.names()
        code = tokenizer.convert_tokens_to_ids(self._names[0])
        saved = isinstance(code, int) and code != tokenizer.unk_token_id  # a processor's or an export's tokenizer
        first = int(code) if saved else len(tokenizer)  # type: ignore[arg-type]
        self.vocabulary = replace(config.pose_vocabulary, first_id=first)
        tokenizer.add_tokens([*self._names, EGO_TOKEN, EXO_TOKEN], special_tokens=True)
        if tokenizer.convert_tokens_to_ids(EXO_TOKEN) != first + self.vocabulary.size + 1:
            raise ValueError(
                f"{tokenizer.name_or_path}: pose tokens did not land on consecutive ids from {first}; the tokenizer already has some of them."
            )

    def render(
        self, messages: list[Message], poses: Callable[[str], np.ndarray]
    ) -> tuple[list[dict[str, str]], dict[str, list[str]]]:
        """Expands content parts to text.

        A clip becomes one span: poses, then ego, then exo placeholders; a part that says ``views`` or ``pose: False`` shows
        no more than those. An assistant's pose part becomes poses alone: tokens even where clips show none.

        Args:
            messages: Chat messages with content parts.
            poses: Clip id to pose codes ``[T, M]``, or to joints ``[T, 17, 3]`` in metres where poses are text.

        Returns:
            Plain messages for the chat template, and per view the ids of the clips that need its features, in order.

        Raises:
            ValueError: Nothing of a clip would be shown.
        """
        clips: dict[str, list[str]] = {view: [] for view in self.config.views}
        plain = []
        for message in messages:
            pieces = []
            for part in message["content"]:
                if part["type"] == "text":
                    pieces.append(part["text"])
                    continue
                if part["type"] == "pose":
                    pieces.append(self.pose_text(poses(part["clip_id"])))
                    continue
                shows_poses, views = self._shown(part)
                text = self.pose_text(poses(part["clip_id"])) if shows_poses else ""
                for view in views:
                    text += VIDEO_TOKENS[view] * self.config.video_tokens
                    clips[view].append(part["clip_id"])
                pieces.append(text)
            plain.append({"role": message["role"], "content": "\n".join(pieces)})
        return plain, clips

    def _shown(self, part: dict[str, Any]) -> tuple[bool, list[str]]:
        """Whether a clip part shows poses, and which views."""
        poses = self.config.pose_form != "none" and part.get("pose", True)
        views = [view for view in self.config.shown_views if view in part.get("views", self.config.views)]
        if not poses and not views:
            raise ValueError(
                f"Clip {part['clip_id']}: the coach sees {', '.join(self.config.views) or 'no video'} and poses as {self.config.pose_form}, and the clip has none of them. "
                "Give its poses, or a feature store with one of these views."
            )
        return poses, views

    def answer_ids(self, poses: np.ndarray) -> list[int]:
        """Returns the token ids of a demonstration, without the end of the turn."""
        return self.tokenizer.encode(self.pose_text(poses), add_special_tokens=False)

    def pose_text(self, poses: np.ndarray) -> str:
        """Writes a clip's poses as the language model reads them.

        Args:
            poses: Codes ``[T, M]``, or joints ``[T, 17, 3]`` in metres where poses are text.

        Returns:
            Pose tokens, or coordinates.

        Raises:
            ValueError: The codes are none of this coach's.
        """
        if self.config.pose_form == "text":
            return poses_to_text(poses)
        return "".join(self._names[i - self.vocabulary.first_id] for i in self.vocabulary.to_ids(poses))

    def encode(self, conversation: Conversation, poses: Callable[[str], np.ndarray]) -> Encoded:
        """Tokenizes a training conversation; labels cover the supervised turns' text and end-of-turn token.

        Args:
            conversation: Messages with the turns that are supervised.
            poses: Clip id to its poses, as `render` takes them.

        Returns:
            Ids and labels.

        Raises:
            ValueError: No token is supervised, or the template does not close a turn with a special token.
        """
        messages, clips = self.render(conversation.messages, poses)
        text = self._template(messages)
        spans = [self._answer_span(messages, turn, text, conversation.sample_id) for turn in conversation.supervised]
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]  # type: ignore[assignment]
        offsets: list[tuple[int, int]] = encoded["offset_mapping"]  # type: ignore[assignment]
        labels = [
            token if any(start <= a and b <= stop and a < b for start, stop in spans) else IGNORE
            for token, (a, b) in zip(ids, offsets, strict=True)
        ]
        if all(label == IGNORE for label in labels):
            raise ValueError(
                f"Sample {conversation.sample_id}: no token is supervised; its answer is empty. Remove the sample."
            )
        return Encoded(conversation.sample_id, ids, labels, clips)

    def lengths(self, conversations: Sequence[Conversation], poses: Callable[[str], np.ndarray]) -> list[int]:
        """Counts the tokens of training conversations, as `encode` would make them, many times faster.

        A clip's tokens are special ones, so their number is known and one of them can stand for all.
        """
        if self.config.pose_form == "text":
            return [len(self.encode(conversation, poses).input_ids) for conversation in conversations]
        answer = self.vocabulary.clip_length
        texts, spans = [], []
        for conversation in conversations:
            plain, span = [], 0
            for message in conversation.messages:
                pieces = [part.get("text", self._names[0]) for part in message["content"]]
                plain.append({"role": message["role"], "content": "\n".join(pieces)})
                span += sum(self._expansion(part, answer) for part in message["content"])
            texts.append(self._template(plain))
            spans.append(span)
        counted = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [len(ids) + span for ids, span in zip(counted, spans, strict=True)]  # type: ignore[arg-type]

    def _expansion(self, part: dict[str, Any], answer: int) -> int:
        """Tokens of a part beyond the one that stands for it."""
        if part["type"] == "text":
            return 0
        if part["type"] == "pose":
            return answer - 1
        poses, views = self._shown(part)
        return (answer if poses else 0) + self.config.video_tokens * len(views) - 1

    def encode_prompt(self, messages: list[Message], poses: Callable[[str], np.ndarray], sample_id: str) -> Encoded:
        """Tokenizes a prompt that ends where the assistant's answer begins."""
        plain, clips = self.render(messages, poses)
        text = self.rendered_prompt(plain)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[assignment]
        return Encoded(sample_id, ids, [IGNORE] * len(ids), clips)

    def rendered_prompt(self, messages: list[dict[str, str]]) -> str:
        """Renders plain messages in the chat template, up to where the assistant's answer begins."""
        return self._template(messages, add_generation_prompt=True)

    def _template(self, messages: list[dict[str, str]], **kwargs: Any) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)  # type: ignore[return-value]

    def _answer_span(self, messages: list[dict[str, str]], turn: int, text: str, sample_id: str) -> tuple[int, int]:
        """Characters of an assistant turn's content and end-of-turn token in the rendered text."""
        before = self._template(messages[:turn], add_generation_prompt=True)
        whole = messages[turn]["content"]
        content = whole.strip()
        if whole != content and text.startswith(before + whole):
            raise ValueError(
                f"Sample {sample_id}: the answer of turn {turn} begins or ends with blanks, {whole[:20]!r} ... {whole[-20:]!r}, and the "
                "chat template keeps them; take them away from the text."
            )
        if not text.startswith(before + content):
            raise ValueError(
                f"Sample {sample_id}: the chat template does not render turn {turn} after its own generation prompt; use another template."
            )
        stop = len(before) + len(content)
        end = next((t for t in self.tokenizer.all_special_tokens if text.startswith(t, stop)), None)
        if end is None:
            raise ValueError(
                f"Sample {sample_id}: the chat template ends turn {turn} with {text[stop : stop + 12]!r}, not with a special token."
            )
        return len(before), stop + len(end)

    @property
    def end_of_turn_id(self) -> int:
        """Id of the special token that ends an assistant's turn in the chat template.

        Raises:
            ValueError: The template ends turns without one.
        """
        question = {"role": "user", "content": "x"}
        texts = [self._template([question, {"role": "assistant", "content": content}]) for content in "yz"]
        start = next(at for at, (y, z) in enumerate(zip(*texts, strict=True)) if y != z) + 1
        end = next((t for t in self.tokenizer.all_special_tokens if texts[0].startswith(t, start)), None)
        if end is None:
            raise ValueError(
                f"{self.tokenizer.name_or_path}: the chat template ends a turn with {texts[0][start : start + 12]!r}, "
                "not with a special token; use another template."
            )
        return self.tokenizer.convert_tokens_to_ids(end)  # type: ignore[return-value]

    @classmethod
    def load(cls, folder: Path, config: CoachConfig) -> "CoachProcessor":
        """Reads the processor of a folder that holds its tokenizer."""
        return cls(AutoTokenizer.from_pretrained(folder), config)
