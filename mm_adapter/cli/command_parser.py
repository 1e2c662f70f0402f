"""The parser of all commands: flags are never abbreviated, and a misspelt one gets the name that was meant."""

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question whether a near word was meant, after a blank; nothing where no known word is near."""
    near = get_close_matches(word.split("=", 1)[0], list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose subcommands are parsers of the same kind."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parses, and refuses what it does not know here, where the subcommand's flags are known."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            meant = next((word for word in unknown if word.startswith("-")), unknown[0])
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}.{did_you_mean(meant, self._option_string_actions)}"
            )
        return parsed, unknown

    def error(self, message: str) -> Any:
        """Exits with status 2; a word that is none of the choices gets the nearest one."""
        if choice := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += did_you_mean(choice[1], re.findall(r"[\w.+-]+", choice[2]))
        super().error(message)
