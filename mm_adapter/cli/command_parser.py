"""The parser of all commands: flags are never abbreviated, and a misspelt one gets the name that was meant."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from mm_adapter.errors import did_you_mean


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
