"""ExpertAF's Table 1: trains and evaluates variants of one preset, each in a folder of its own, and collects them."""

import json
import logging
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import TrainingArguments

from mm_adapter.checkpoint.inspection import tensor_sizes
from mm_adapter.checkpoint.seal import is_complete, read_manifest
from mm_adapter.errors import can_be_mended, did_you_mean, sentence
from mm_adapter.evaluation.answer_folder import answer_folder
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.matcher_training import MatcherArguments, matcher_settings
from mm_adapter.evaluation.open import ItemRequest, open_coach, open_system
from mm_adapter.tasks.expertaf import EXPERTAF
from mm_adapter.training import RECIPES
from mm_adapter.training.arguments import ExpertafArguments
from mm_data.ground.files import read_text, write_atomically
from mm_data.ground.progress import Progress
from mm_data.ground.safe_load import read_json
from mm_data.items.manifest import MANIFEST
from mm_data.tuples.variants import write_variant
from mm_eval.answers.test_sets import FILE as ANSWERS
from mm_eval.suites.runs import open_run
from mm_eval.suites.suite import Run

logger = logging.getLogger(__name__)

Settings = dict[str, Any]
"""Settings of a recipe by name."""

RECIPE_ARGUMENTS = {"expertaf": ExpertafArguments, "matcher": MatcherArguments}


@dataclass(frozen=True)
class Variant:
    """One row of a variants file.

    Attributes:
        row: Name of the row.
        published: Name of the paper's row, where it has one.
        coach: What answers without training, such as nearest-neighbour:video; None trains.
        recipe: Recipe that trains: expertaf, or matcher with those settings of the preset that it knows.
        train: Settings beyond the base preset's.
        demonstrator: Settings of a second coach that ranks and demonstrates, trained apart; None trains one coach.
        features: Whether the coach sees video.
        experts: Demonstrations to train on, as `mm-coach data vary` names them; None keeps those of the tuples.
        privileged: Whether the expert's clip or remark is given at inference too.
        note: Sentence that is printed below the table.
    """

    row: str
    published: str | None = None
    coach: str | None = None
    recipe: Literal["expertaf", "matcher"] = "expertaf"
    train: Settings = field(default_factory=dict)
    demonstrator: Settings | None = None
    features: bool = True
    experts: str | None = None
    privileged: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        """Refuses settings that the recipe would refuse after hours of other rows."""
        if self.recipe not in RECIPE_ARGUMENTS:
            raise ValueError(f"row {self.row!r}: recipe is {self.recipe!r}; use {' or '.join(RECIPE_ARGUMENTS)}.")
        kinds = (RECIPE_ARGUMENTS[self.recipe], TrainingArguments)
        known = [setting.name for kind in kinds for setting in fields(kind)]
        for name, settings in (("train", self.train), ("demonstrator", self.demonstrator or {})):
            if not isinstance(settings, dict):
                raise ValueError(
                    f"row {self.row!r}: {name} has to map settings to values, such as {{mode: lora}}, not {settings!r}."
                )
            if unknown := [setting for setting in settings if setting not in known]:
                raise ValueError(
                    f"row {self.row!r}: {name} has settings that recipes/{self.recipe}.py does not know: {', '.join(unknown)}."
                    f"{did_you_mean(unknown[0], known)}"
                )

    @property
    def folder(self) -> str:
        """Name of the row's folder."""
        return "".join(c if c.isalnum() else "_" for c in self.row.lower().replace("/", "")).strip("_")


def read_variants(path: Path) -> list[Variant]:
    """Reads a YAML list of rows; unknown keys and settings are an error that names them and the row."""
    known = {entry.name for entry in fields(Variant)}
    variants = []
    for entry in yaml.safe_load(read_text(path)):
        if unknown := sorted(set(entry) - known):
            raise ValueError(
                f"{path}, row {entry.get('row')!r}: unknown keys {unknown}; use {', '.join(sorted(known))}."
            )
        try:
            variants.append(Variant(**entry))
        except ValueError as error:
            raise ValueError(f"{path}, {error}") from error
    return variants


class NotRun(Exception):
    """A row cannot be run here; says why."""


@dataclass(frozen=True)
class TableRun:
    """Runs rows below one folder, each resumable.

    Attributes:
        out: Folder of all rows.
        base: Settings of the base preset.
        progress: Opens what shows how far answering is.
        collect: Train and answer nothing, only collect.
        launch: Launch file of accelerate; None starts one process on a CPU.
        threads: CPU threads per process; None leaves them to accelerate.
        encode: Makes pose codes and, where the third path is given, video features of a folder's clips, for ablations that add some.
        max_items: Number of test items, evenly spaced; None takes all.
    """

    out: Path
    base: Settings
    progress: Callable[[], AbstractContextManager[Progress]]
    encode: Callable[[Path, Path, Path | None], None]
    collect: bool = False
    launch: Path | None = None
    threads: int | None = None
    max_items: int | None = None

    def row(self, variant: Variant) -> Run:
        """Trains a row and lets it answer, or reads what is there.

        Args:
            variant: The row.

        Returns:
            The scored run.

        Raises:
            NotRun: It cannot be run here; says why.
        """
        folder = self.out / variant.folder
        answers = folder / "answers"
        if self.collect and not (answers / ANSWERS).is_file():
            raise NotRun("was not run")
        coach, demonstrator, seconds, parameters = variant.coach or "", None, 0.0, 0
        if variant.coach is None:
            trained, seconds, parameters = self._train(variant, folder / "training", variant.train)
            coach = str(trained)
        if variant.demonstrator is not None:
            demonstrator, more, others = self._train(variant, folder / "demonstrator", variant.demonstrator)
            seconds, parameters = seconds + more, parameters + others
        took = self._answer(answers, coach, demonstrator, variant.privileged)
        cost = f"{seconds / 60:.1f} min, {parameters / 1e6:.1f} M parameters; " if seconds else ""
        run = open_run(f"{variant.row}={answers}", EXPERTAF.suite)
        notes = [*run.notes, *([f"{variant.row}: {variant.note}."] if variant.note else [])]
        return replace(run, notes=notes, cost=f"{cost}answering {took / 60:.1f} min")

    def _train(self, variant: Variant, folder: Path, settings: Settings) -> tuple[Path, float, int]:
        """Folder of the coach, seconds that its training took, and number of trained parameters."""
        inputs: Settings = {} if variant.features else {"features": None}
        if variant.experts is not None:
            inputs |= self._inputs_with_experts(variant.experts)
        flags, record = flags_of(settings), folder / "settings.yaml"
        preset = {**self.base, **inputs}
        preset = matcher_settings(preset) if variant.recipe == "matcher" else preset
        content = f"# with the flags: {shlex.join(flags)}\n{yaml.safe_dump(preset)}"
        if is_complete(folder / "coach"):
            if not self.collect and (not record.is_file() or record.read_text() != content):
                raise NotRun(f"{folder} was trained with other settings; give the same ones, or delete it")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            record.write_text(content)
            launch = self.launch or RECIPES / "accelerate" / "cpu.yaml"
            command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch)]
            command += ["--num_cpu_threads_per_process", str(self.threads)] if self.threads else []
            command += [str(RECIPES / f"{variant.recipe}.py"), "--config", str(record), "--output_dir", str(folder)]
            run_training([*command, *flags])
        state = folder / "trainer_state.json"
        if not state.is_file():
            raise NotRun(f"{state} is missing, which says how long its training took")
        history = json.loads(state.read_text())["log_history"]
        seconds = sum(entry.get("train_runtime", 0.0) for entry in history)
        return folder / "coach", seconds, _parameters(folder / "coach")

    def _inputs_with_experts(self, experts: str) -> Settings:
        """Tuples with other demonstrations, and codes and features of their clips; what is there already is left alone."""
        folder, base = self.out / "inputs" / experts, self.base
        tuples, codes, features = folder / "tuples", folder / "pose_codes", base.get("features")
        try:
            if not (tuples / MANIFEST).is_file():
                write_variant(Path(base["tuples"]), tuples, experts)
            is_new = (
                features is not None and experts != "activity"
            )  # an activity's demonstration is a clip that was there
            self.encode(tuples, codes, folder / "features" if is_new else None)
            features = str(folder / "features") if is_new else features
        except (ValueError, FileNotFoundError) as error:
            raise NotRun(f"its inputs cannot be made: {error}") from error
        return {"tuples": str(tuples), "pose_codes": str(codes), "features": features}

    def _answer(self, out: Path, coach: str, demonstrator: Path | None, privileged: bool) -> float:
        """Lets a system answer, as `mm-coach answer` does, and returns the seconds that it took, now or before; what stops it stops this row alone."""
        record, begun = out.with_name("answered.json"), time.time()
        switches = {"privileged": privileged}
        try:
            if not self.collect:
                system = (
                    open_system(coach, self._request, switches)
                    if demonstrator is None
                    else open_coach(Path(coach), self._request, switches, demonstrator=demonstrator)
                )
                with self.progress() as progress:
                    answer_folder(system, self._items, out, progress)
        except Exception as error:
            logger.error(sentence(error), exc_info=None if can_be_mended(error) else error)
            raise NotRun(f"it did not answer: {sentence(error)}") from error
        if not record.is_file():
            write_atomically(record, json.dumps({"seconds": time.time() - begun}))
        return read_json(record, f"nobody knows what {out} was made by; delete it.")["seconds"]

    @cached_property
    def _request(self) -> ItemRequest:
        features = self.base.get("features")
        tuples, codes = Path(self.base["tuples"]), Path(self.base["pose_codes"])
        return ItemRequest(tuples, Path(features) if features else None, codes, self.max_items)

    @cached_property
    def _items(self) -> ItemSet:
        """What all rows are scored on."""
        return self._request.open()


def flags_of(settings: Settings) -> list[str]:
    """Returns settings of a recipe as words of its command line."""
    words = []
    for name, value in settings.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


_ERROR = re.compile(r"\w+\.py: .+$|([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Diverged|Interrupt)\b(: .+)?$")
"""How the sentence of a recipe and the last line of a traceback look."""

_LAUNCHERS = ("CalledProcessError", "ChildFailedError")
"""Errors that only say that the process behind a launcher failed."""


def run_training(command: list[str]) -> None:
    """Runs a command, whose messages pass by; `NotRun` says why it failed, with the recipe's sentence or its traceback's last line."""
    lines: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            lines.append(line.strip())
    if process.returncode:
        errors = [line for line in lines if _ERROR.match(line) and not any(name in line for name in _LAUNCHERS)]
        last = [*filter(None, lines)][-1:]
        why = (errors or last or ["without a message"])[-1]
        raise NotRun(f"its training failed with status {process.returncode}: {why}")


def _parameters(folder: Path) -> int:
    """Number of trained parameters of a coach on disk."""
    names = [name for name in read_manifest(folder)["files"] if name.endswith(".safetensors")]
    return sum(sum(tensor_sizes(folder / name)) for name in names if not name.startswith("pose_tokenizer/"))
