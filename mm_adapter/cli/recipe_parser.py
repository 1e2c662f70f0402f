"""The parser of all recipes: TRL's, whose flags are never abbreviated and whose refusals are sentences."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from trl.scripts.utils import TrlParser

from mm_adapter.errors import did_you_mean


class RecipeParser(TrlParser):
    """Reads dataclasses from ``--config YAML`` and flags; raises instead of exiting, because a recipe has hundreds of flags to print."""

    def __init__(self, *dataclasses: Any) -> None:
        super().__init__(dataclasses, allow_abbrev=False)

    def parse_args_and_config(self, args: Iterable[str] | None = None, **options: Any) -> tuple[Any, ...]:
        """One instance of every dataclass.

        Args:
            args: Words of the command line; those of the process where None is given.
            options: Options of `TrlParser.parse_args_and_config`.

        Raises:
            FileNotFoundError: There is no such configuration.
            ValueError: Unknown flags or keys, values of another type, or a configuration that is no YAML mapping.
        """
        words = list(sys.argv[1:] if args is None else args)
        for position, word in enumerate(words):
            if word.startswith("--config="):
                words[position : position + 1] = ["--config", word.removeprefix("--config=")]
        if "--config" in words:
            _check_config(words[words.index("--config") + 1 :])
        return super().parse_args_and_config(words, **options)

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """Takes a configuration's values as defaults; a key that no dataclass has is an error."""
        remaining = super().set_defaults_with_config(**config)
        if unknown := [word.removeprefix("--") for word in remaining if word.startswith("--")]:
            known = [action.dest for action in self._actions]
            raise ValueError(
                f"The configuration has keys that this recipe does not know: {', '.join(unknown)}.{did_you_mean(unknown[0], known)}"
            )
        return remaining

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parses flags; an unknown one is an error."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith("-")), unknown[0])
            raise ValueError(f"Unknown flags: {' '.join(unknown)}.{did_you_mean(flag, self._option_string_actions)}")
        return parsed, unknown

    def error(self, message: str) -> Any:
        """Raises what argparse would print below hundreds of lines of usage."""
        raise ValueError(f"{message}. --help lists all flags.")


def _check_config(words: Sequence[str]) -> None:
    if not words:
        raise ValueError("--config needs a file.")
    path = Path(words[0])
    if not path.is_file():
        near = (
            did_you_mean(path.name, [file.name for file in path.parent.glob("*.yaml")]) if path.parent.is_dir() else ""
        )
        raise FileNotFoundError(f"Configuration {path} is not there.{near}")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} has to map names to values, such as `learning_rate: 1e-4`.")
