"""ExpertAF's Table 1: trains and evaluates variants of one preset, each in a folder of its own, and collects them."""

import json
import logging
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import TrainingArguments

from mm_adapter.checkpoint.inspection import tensor_sizes
from mm_adapter.checkpoint.seal import is_complete, read_manifest
from mm_adapter.errors import can_be_mended, did_you_mean, sentence
from mm_adapter.evaluation.matcher_training import MatcherArguments, matcher_settings
from mm_adapter.evaluation.predictions import Progress
from mm_adapter.evaluation.report import METRICS
from mm_adapter.evaluation.run import evaluate
from mm_adapter.evaluation.systems import SystemUnderTest
from mm_adapter.evaluation.test_set import TestSet
from mm_adapter.training import RECIPES
from mm_adapter.training.arguments import ExpertafArguments
from mm_data.ground.files import check_apart, read_text, write_atomically
from mm_data.ground.safe_load import read_json
from mm_eval.statistics.storage import read_metrics, without_statistics
from mm_eval.tables import RENDERERS, to_markdown
from mm_eval.tables.expertaf import System, comparison_table

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
        coach: What is evaluated without training, such as nearest-neighbour; None trains.
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
        run_command: Runs one `mm-coach` command that prepares inputs, and returns its exit status.
        progress: Opens what shows an evaluation's progress.
        collect: Train and evaluate nothing, only collect.
        launch: Launch file of accelerate; None starts one process on a CPU.
        threads: CPU threads per process; None leaves them to accelerate.
        extract: Flags of `mm-coach features extract` for clips that an ablation adds, or None.
        max_tuples: Number of test tuples, evenly spaced; None takes all.
    """

    out: Path
    base: Settings
    run_command: Callable[[Sequence[str]], int]
    progress: Callable[[], AbstractContextManager[Progress]]
    collect: bool = False
    launch: Path | None = None
    threads: int | None = None
    extract: str | None = None
    max_tuples: int | None = None

    def row(self, variant: Variant) -> System:
        """Trains and evaluates a row, or reads what is there."""
        folder = self.out / variant.folder
        metrics = folder / "evaluation" / METRICS
        try:
            if self.collect and not metrics.is_file():
                raise NotRun("was not run")
            coach, demonstrator, seconds, parameters = Path(variant.coach or ""), None, 0.0, 0
            if variant.coach is None:
                coach, seconds, parameters = self._train(variant, folder / "training", variant.train)
            if variant.demonstrator is not None:
                demonstrator, more, others = self._train(variant, folder / "demonstrator", variant.demonstrator)
                seconds, parameters = seconds + more, parameters + others
            evaluated = self._evaluate(metrics.parent, coach, demonstrator, variant.privileged)
        except NotRun as reason:
            return System(variant.row, None, note=f"not run: {reason}")
        trained = f"{seconds / 60:.1f} min, {parameters / 1e6:.1f} M parameters; " if seconds else ""
        cost = f"{trained}evaluation {evaluated / 60:.1f} min"
        return System(variant.row, read_metrics(metrics.parent), cost, variant.note)

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
        """Tuples with other demonstrations, and codes and features of their clips."""
        folder, base = self.out / "inputs" / experts, self.base
        tuples, codes, features = (str(folder / name) for name in ("tuples", "pose_codes", "features"))
        frames = str(base.get("pose_frames", 10))
        steps = [
            ["data", "vary", base["tuples"], tuples, "--experts", experts],
            ["tokenizer", "encode", tuples, base["pose_tokenizer"], codes, "--frames", frames],
        ]
        if experts == "activity" or not base.get("features"):  # no clip is new
            features = base.get("features")
        elif self.extract is None:
            raise NotRun("its clips have no features; give the flags of their extraction as --extract")
        else:
            steps.append(["features", "extract", tuples, features, *shlex.split(self.extract)])
        done, made_by = folder / "done", json.dumps(steps)
        if not done.is_file() or done.read_text() != made_by:
            for step in steps:  # each leaves alone what it made, and refuses what others made
                if self.run_command(step):
                    raise NotRun(f"`mm-coach {' '.join(step[:2])}` failed")
            write_atomically(done, made_by)
        return {"tuples": tuples, "pose_codes": codes, "features": features}

    def _evaluate(self, out: Path, coach: Path, demonstrator: Path | None, privileged: bool) -> float:
        """Seconds that the evaluation took, now or before."""
        base, record, is_new = self.base, out.with_name("evaluated.json"), not (out / METRICS).is_file()
        command = ["evaluate", str(coach), base["tuples"], base["pose_codes"], str(out)]
        command += ["--privileged"] if privileged else []
        command += ["--demonstrator", str(demonstrator)] if demonstrator else []
        command += ["--features", base["features"]] if base.get("features") else []
        command += ["--max-tuples", str(self.max_tuples)] if self.max_tuples else []
        if is_new:
            begun = time.time()
            self._score(out, coach, demonstrator, privileged, "its evaluation failed")
            write_atomically(record, json.dumps({"command": command, "seconds": time.time() - begun}))
        done = read_json(record, f"nobody knows what {out} was made by; delete it.")
        if done["command"] != command:
            raise ValueError(
                f"{out} was made by `mm-coach {' '.join(done['command'])}`; delete it, or give the same settings, "
                "because all rows of a table have to be scored on the same test set."
            )
        if not is_new and not self.collect:
            problem = "its evaluation is of another coach or other inputs; delete it"
            self._score(out, coach, demonstrator, privileged, problem)
        return done["seconds"]

    def _score(self, out: Path, coach: Path, demonstrator: Path | None, privileged: bool, problem: str) -> None:
        """Does what `mm-coach evaluate` does; what stops it stops this row alone."""
        try:
            features = self.base.get("features")
            inputs = [Path(self.base[name]) for name in ("tuples", "pose_codes")]
            check_apart(out, coach, *inputs, features and Path(features), demonstrator)
            system = SystemUnderTest.named(coach, demonstrator, privileged)
            with self.progress() as progress:
                evaluate(system, self._test_set, out, str(coach), None, progress)
        except Exception as error:
            logger.error(sentence(error), exc_info=None if can_be_mended(error) else error)
            raise NotRun(problem) from error

    @cached_property
    def _test_set(self) -> TestSet:
        """What all rows are scored on."""
        features = self.base.get("features")
        folders = Path(self.base["tuples"]), Path(self.base["pose_codes"]), Path(features) if features else None
        return TestSet.open(*folders, True, self.max_tuples)


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


def write_table(out: Path, rows: Sequence[System], published: Sequence[str]) -> str:
    """Writes rows beside the paper's of these names as ``table.md`` (.tex, .csv, .html) and ``table.json``; returns the Markdown."""
    table = comparison_table(rows, published)
    out.mkdir(parents=True, exist_ok=True)
    for ending, render in RENDERERS.items():
        write_atomically(out / f"table.{ending}", render(table))
    write_atomically(out / "table.json", json.dumps([without_statistics(vars(row)) for row in rows], indent=1))
    return to_markdown(table)
