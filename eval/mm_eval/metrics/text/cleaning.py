"""What is taken off a generated text before it is scored: marks of the model and of Markdown, never words."""

import re

PREFIX = "Here is the feedback based on the given pose sequence and the expert correct sequence: "
"""Stands before every text of ExpertAF's released data."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>|</?s>|<(?:pad|unk|image|video|mask)>|\[(?:CLS|SEP|PAD|UNK|MASK)\]")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|\d{1,2}[.)][ \t]+)+", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:`{3}\w*|[-*_]{3,})[ \t]*$", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*{1,3}|(?<!\w)_{1,3})(?=\S)([^*_\n]+?)(?<=\S)(?:\1)(?!\w)")


def clean(text: str) -> str:
    """Takes special tokens, `PREFIX` and Markdown off a text and puts it on one line.

    Brackets, hyphens and case stay: the tokenizers behind the metrics treat them as published. Any white space, line separators
    such as U+2028 included, becomes one space; inside a text they would shift every later one in PTBTokenizer's output.

    Args:
        text: Generated or true text.

    Returns:
        The text in one line.
    """
    text = _SPECIAL_TOKEN.sub(" ", text).strip().removeprefix(PREFIX.strip())
    text = _LINE_START.sub("", _RULE.sub("", _LINK.sub(r"\1", text)))
    return one_line(_EMPHASIS.sub(r"\2", text).replace("`", ""))


def one_line(text: str) -> str:
    """Replaces any white space by one space."""
    return " ".join(text.split())


def has_words(text: str) -> bool:
    """Says whether a text holds any letter or digit."""
    return any(character.isalnum() for character in text)
