"""Versioned prompts: Markdown files inside the packages, with a system and a user part."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        name: Its file's name, which ends in its version; a prompt that changes gets a new one.
        system: What the model is told about its task, with ``$placeholders``.
        user: What it is given.
        digest: Hash of the file.
    """

    name: str
    system: str
    user: str
    digest: str

    @property
    def about(self) -> dict[str, str]:
        """What a log of answers notes about the prompt."""
        return {"prompt": self.name, "prompt_sha256": self.digest}

    def messages(self, system: Mapping[str, str], user: Mapping[str, str]) -> Messages:
        """Filled in. What is judged or labelled is data: it belongs into the user's turn alone."""
        return [
            {"role": "system", "content": Template(self.system).substitute(system).strip()},
            {"role": "user", "content": Template(self.user).substitute(user).strip()},
        ]


@cache
def load_prompt(package: str, name: str) -> Prompt:
    """Reads ``prompts/<name>.md`` of a package."""
    content = files(package).joinpath(f"prompts/{name}.md").read_text()
    _, system, user = content.replace("<!-- user -->", "<!-- system -->").split("<!-- system -->\n")
    return Prompt(name, system, user, hashlib.sha256(content.encode()).hexdigest())
