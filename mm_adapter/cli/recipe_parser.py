"""The parser of all recipes: TRL's, whose flags are never abbreviated and whose refusals are sentences."""

import logging
import sys
from argparse import Action, ArgumentError, ArgumentTypeError
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import docstring_parser
import yaml
from docstring_parser import DocstringParam
from trl.scripts.utils import TrlParser

from mm_adapter.errors import did_you_mean, show_sentences
from mm_adapter.tasks import Task
from mm_adapter.tasks.known import find_task
from mm_adapter.tasks.table import TABLE
from mm_adapter.training.arguments import MixPart
from mm_data.items.manifest import ItemManifest


class RecipeParser(TrlParser):
    """Reads dataclasses from ``--config YAML`` and flags; raises instead of exiting, because a recipe has hundreds of flags to print.

    What is nested in the YAML is changed by dotted flags: ``--mix.0.weight 0.5``, ``--stages.1.max_steps 500``.
    """

    def __init__(self, *dataclasses: Any) -> None:
        super().__init__(dataclasses, allow_abbrev=False)
        self._values: dict[str, Any] = {}
        self._dotted: list[tuple[str, Any]] = []
        documented = [base for cls in dataclasses for base in reversed(cls.__mro__)]
        meta = [entry for cls in documented for entry in docstring_parser.parse(cls.__doc__ or "").meta]
        helps = {entry.arg_name: entry.description for entry in meta if isinstance(entry, DocstringParam)}
        for action in self._actions:
            action.help = action.help or str(helps.get(action.dest) or "").replace("%", "%%")
            if action.type in (MixPart, dict):
                action.type = _Nested(action.dest)

    def parse_args_and_config(self, args: Iterable[str] | None = None, **options: Any) -> tuple[Any, ...]:
        """Reads one instance of every dataclass.

        Args:
            args: Words of the command line; by default those of the process.
            **options: Options of `TrlParser.parse_args_and_config`.

        Returns:
            The instances, in the order of the dataclasses.

        Raises:
            FileNotFoundError: There is no such configuration.
            ValueError: Unknown flags or keys, values of another type, or a configuration that is no YAML mapping.
        """
        words, self._dotted = _without_dotted(sys.argv[1:] if args is None else args)
        if "--config" in words:
            _check_config(words[words.index("--config") + 1 :])
        else:
            self.set_defaults_with_config()
        return super().parse_args_and_config(words, **options)

    def parse_stages(self, args: Iterable[str] | None = None) -> list[tuple[Any, ...]]:
        """Reads one instance of every dataclass per stage: each entry of ``stages`` changes settings of any of them.

        Args:
            args: Words of the command line; by default those of the process.

        Returns:
            The instances of every stage; without ``stages``, those of the one stage that there is.

        Raises:
            ValueError: A stage has a key that no dataclass has or a value of another type; says which stage.
        """
        first = self.parse_args_and_config(args)
        return [self._changed(stage, number) for number, stage in enumerate(first[0].stages or [{}], start=1)]

    def _changed(self, stage: Any, number: int) -> tuple[Any, ...]:
        """Builds the dataclasses from the parsed values with those of one stage in their place."""
        where, values = f"Stage {number}", dict(self._values)
        if not isinstance(stage, dict):
            raise ValueError(f"{where} has to map settings to values, such as `mode: mappers`; it is {stage!r}.")
        known = {action.dest: action for action in self._actions if action.dest not in ("help", "stages")}
        for name, value in stage.items():
            if name not in known:
                raise ValueError(f"{where} has the unknown setting {name}.{did_you_mean(str(name), known)}")
            try:
                values[name] = self._typed(known[name], value)
            except ArgumentError as error:
                raise ValueError(f"{where}: {error}") from error
        types = cast(list[Any], self.dataclass_types)
        return tuple(cls(**{f.name: values[f.name] for f in fields(cls) if f.init}) for cls in types)

    def _typed(self, action: Action, value: Any) -> Any:
        """Gives a value of a configuration the type that it would have as a flag."""
        if value is None or isinstance(value, dict) or isinstance(action.type, _Nested):
            return value
        words = value if isinstance(value, list) else [value]
        return self._get_values(action, [str(word) for word in words])

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """Takes a configuration's values, changed by dotted flags, as defaults; a key that no dataclass has is an error.

        Args:
            **config: Values by name, as the YAML has them.

        Returns:
            An empty list: nothing is left over.
        """
        known = [action.dest for action in self._actions]
        for name, value in self._dotted:
            config = _with_nested(config, name, value)
        if unknown := sorted(config.keys() - set(known)):
            raise ValueError(
                f"The configuration has keys that this recipe does not know: {', '.join(unknown)}."
                f"{did_you_mean(unknown[0], known)}"
            )
        return super().set_defaults_with_config(**config)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parses flags; an unknown one is an error."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith("-")), unknown[0])
            raise ValueError(f"Unknown flags: {' '.join(unknown)}.{did_you_mean(flag, self._option_string_actions)}")
        self._values = dict(vars(parsed))  # they are taken out of the namespace later
        return parsed, unknown

    def error(self, message: str) -> Any:
        """Raises what argparse would print below hundreds of lines of usage."""
        raise ValueError(f"{message}. --help lists all flags.")


def begin_recipe() -> None:
    """Lets a recipe end with a sentence instead of a traceback, and print what the library logs."""
    show_sentences()
    logger = logging.getLogger("mm_adapter")
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.StreamHandler(sys.stdout)]


def task_of_items(args: Iterable[str] | None = None) -> Task:
    """Finds the task that the items of a command line, or of its configuration, are of.

    Args:
        args: Words of the command line; by default those of the process.

    Returns:
        The task; of no items at all, such as for ``--help``, that of a table of one's own.

    Raises:
        FileNotFoundError: The configuration is not there, or the folder holds no items.
        ValueError: Nothing names items.
    """
    words = list(sys.argv[1:] if args is None else args)
    named = {}
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--items", "--config"):
            named[name] = value if equals else next(iter(words[place + 1 : place + 2]), "")
    if "--config" in named:
        _check_config([named["--config"]] if named["--config"] else [])
        content = yaml.safe_load(Path(named["--config"]).read_text())
        named.setdefault("--items", str(content.get("items") or ""))
    if not named.get("--items"):
        if {"--help", "-h"} & set(words):
            return TABLE
        raise ValueError("Give --items, a folder that `mm-coach task read` wrote.")
    return find_task(ItemManifest.read(Path(named["--items"])).found_by)


@dataclass(frozen=True)
class _Nested:
    """The type of a flag whose values are mappings, which no single word can be."""

    name: str

    def __call__(self, word: str) -> Any:
        raise ArgumentTypeError(
            f"{word!r} is no mapping; write it in the configuration, or as --{self.name}.0.KEY VALUE"
        )


def _without_dotted(args: Iterable[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """Splits ``--mix.0.weight 0.5`` and the like from the other words; also takes ``--config=FILE`` apart, which TRL cannot.

    Args:
        args: Words of the command line.

    Returns:
        The other words, and dotted names with their values as YAML reads them.

    Raises:
        ValueError: A dotted flag has no value.
    """
    words, dotted, rest = [], [], iter(args)
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--config" and equals:
            words += [name, value]
        elif name.startswith("--") and "." in name:
            value = value if equals else next(rest, None)
            if value is None or (not equals and value.startswith("--")):
                raise ValueError(f"{name} needs a value.")
            dotted.append((name.removeprefix("--"), yaml.safe_load(value)))
        else:
            words.append(word)
    return words, dotted


def _with_nested(content: Any, name: str, value: Any) -> Any:
    """Replaces or adds one value inside a configuration.

    Args:
        content: A mapping, a list, or None where nothing is there yet.
        name: Keys and places on the way to the value, with dots between them: ``mix.0.weight``.
        value: The new value.

    Returns:
        The changed copy.

    Raises:
        ValueError: There is no such place.
    """
    if not name:
        return value
    first, _, rest = name.partition(".")
    if first.isdecimal():
        parts, place = list(content or []), int(first)
        if place > len(parts):
            raise ValueError(
                f"There are {len(parts)} entries, so {first}.{rest} names none; the next one is {len(parts)}."
            )
        return [
            *parts[:place],
            _with_nested(parts[place] if place < len(parts) else None, rest, value),
            *parts[place + 1 :],
        ]
    if not isinstance(content or {}, dict):
        raise ValueError(f"{content!r} is no mapping, so it has no {first}.")
    return {**(content or {}), first: _with_nested((content or {}).get(first), rest, value)}


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
