"""`mm-coach table expertaf`: trains and evaluates every row of ExpertAF's Table 1, or collects what is there."""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markdown import Markdown

from mm_adapter.checkpoint.inspection import tensor_sizes
from mm_adapter.checkpoint.seal import is_complete, read_manifest
from mm_adapter.cli import main as mm_coach
from mm_adapter.evaluation.matcher_training import matcher_settings
from mm_data.ground.files import write_atomically
from mm_data.ground.safe_load import read_json
from mm_eval.statistics.storage import read_metrics, without_statistics
from mm_eval.tables import RENDERERS, to_markdown
from mm_eval.tables.expertaf import System, comparison_table

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
if not RECIPES.is_dir():  # installed from a wheel
    RECIPES = Path(__file__).resolve().parents[1] / "_recipes"


@dataclass(frozen=True)
class Variant:
    """One row; see `recipes/configs/expertaf/table1.yaml` for the keys."""

    row: str
    published: str | None = None
    coach: str | None = None
    recipe: str = "expertaf"
    train: str = ""
    demonstrator: str | None = None
    features: bool = True
    experts: str | None = None
    privileged: bool = False
    note: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return "".join(c if c.isalnum() else "_" for c in self.row.lower().replace("/", "")).strip("_")


class NotRun(Exception):
    """A row cannot be run here; says why."""


def read_variants(path: Path) -> list[Variant]:
    """Rows of a variants file.

    Raises:
        ValueError: Unknown keys; names them and the row.
    """
    known = {field.name for field in fields(Variant)}
    variants = []
    for entry in yaml.safe_load(path.read_text()):
        if unknown := sorted(set(entry) - known):
            raise ValueError(
                f"{path}, row {entry.get('row')!r}: unknown keys {unknown}; use {', '.join(sorted(known))}."
            )
        variants.append(Variant(**entry))
    return variants


class TableRun:
    """Runs rows below one folder, each resumable.

    Args:
        args: Of the command.
        base: The base preset with what ``--set`` changes.
    """

    def __init__(self, args: argparse.Namespace, base: dict[str, Any]) -> None:
        self.args, self.base = args, base

    def row(self, variant: Variant) -> System:
        """Trains and evaluates a row, or reads what is there."""
        folder = self.args.out / variant.folder
        try:
            if self.args.collect and not (folder / "evaluation" / "metrics.json").is_file():
                raise NotRun("was not run")
            coach, seconds, parameters = Path(variant.coach or ""), 0.0, 0
            if variant.coach is None:
                coach, seconds, parameters = self._train(variant, folder / "training", variant.train)
            options = ["--privileged"] if variant.privileged else []
            if variant.demonstrator is not None:
                second, more, others = self._train(variant, folder / "demonstrator", variant.demonstrator)
                options += ["--demonstrator", str(second)]
                seconds, parameters = seconds + more, parameters + others
            evaluated = self._evaluate(folder / "evaluation", coach, options)
        except NotRun as reason:
            return System(variant.row, None, note=f"not run: {reason}")
        result = read_metrics(folder / "evaluation")
        trained = f"{seconds / 60:.1f} min, {parameters / 1e6:.1f} M parameters; " if seconds else ""
        return System(variant.row, result, f"{trained}evaluation {evaluated / 60:.1f} min", variant.note)

    def _train(self, variant: Variant, folder: Path, flags: str) -> tuple[Path, float, int]:
        inputs: dict[str, Any] = {}
        if not variant.features:
            inputs["features"] = None
        if variant.experts is not None:
            inputs |= self._inputs_with_experts(variant.experts)
        settings = folder / "settings.yaml"
        preset = {**self.base, **inputs}
        preset = matcher_settings(preset) if variant.recipe == "matcher" else preset
        wanted = f"# with the flags: {flags}\n{yaml.safe_dump(preset)}"
        if is_complete(folder / "coach"):
            if not self.args.collect and (not settings.is_file() or settings.read_text() != wanted):
                raise NotRun(f"{folder} was trained with other settings; give the same ones, or delete it")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            settings.write_text(wanted)
            launch = self.args.launch or RECIPES / "accelerate" / "cpu.yaml"
            command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch)]
            command += ["--num_cpu_threads_per_process", str(self.args.threads)] if self.args.threads else []
            command += [str(RECIPES / f"{variant.recipe}.py"), "--config", str(settings), "--output_dir", str(folder)]
            _run([*command, *shlex.split(flags)])
        state = folder / "trainer_state.json"
        if not state.is_file():
            raise NotRun(f"{state} is missing, which says how long its training took")
        history = json.loads(state.read_text())["log_history"]
        seconds = sum(entry.get("train_runtime", 0.0) for entry in history)
        return folder / "coach", seconds, _parameters(folder / "coach")

    def _inputs_with_experts(self, experts: str) -> dict[str, Any]:
        """Tuples with other demonstrations, and codes and features of their clips."""
        folder = self.args.out / "inputs" / experts
        base, tuples = self.base, folder / "tuples"
        steps = [["data", "vary", base["tuples"], str(tuples), "--experts", experts]]
        codes, features = str(folder / "pose_codes"), str(folder / "features")
        frames = str(base.get("pose_frames", 10))
        steps.append(["tokenizer", "encode", str(tuples), base["pose_tokenizer"], codes, "--frames", frames])
        if experts == "activity" or not base.get("features"):  # no clip is new
            features = base.get("features")
        elif self.args.extract is None:
            raise NotRun("its clips have no features; give the flags of their extraction as --extract")
        else:
            steps.append(["features", "extract", str(tuples), features, *shlex.split(self.args.extract)])
        done, made_by = folder / "done", json.dumps(steps)
        if not done.is_file() or done.read_text() != made_by:
            for step in steps:  # each leaves alone what it made, and refuses what others made
                if mm_coach(step):
                    raise NotRun(f"`mm-coach {' '.join(step[:2])}` failed")
            write_atomically(done, made_by)
        return {"tuples": str(tuples), "pose_codes": codes, "features": features}

    def _evaluate(self, out: Path, coach: Path, options: list[str]) -> float:
        command = ["evaluate", str(coach), self.base["tuples"], self.base["pose_codes"], str(out), *options]
        command += ["--features", self.base["features"]] if self.base.get("features") else []
        command += ["--max-tuples", str(self.args.max_tuples)] if self.args.max_tuples else []
        record = out.with_name("evaluated.json")
        if not (out / "metrics.json").is_file():
            begun = time.time()
            if mm_coach(command):
                raise NotRun("its evaluation failed")
            write_atomically(record, json.dumps({"command": command, "seconds": time.time() - begun}))
        done = read_json(record, f"nobody knows what {out} was made by; delete it.")
        if done["command"] != command:
            raise ValueError(
                f"{out} was made by `mm-coach {' '.join(done['command'])}`; delete it, or give the same settings, because all "
                "rows of a table have to be scored on the same test set."
            )
        if not self.args.collect and mm_coach(command):
            raise NotRun("its evaluation is of another coach or other inputs; delete it")
        return done["seconds"]


_ERROR = re.compile(r"\w+\.py: .+$|([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Diverged|Interrupt)\b(: .+)?$")
"""How the sentence of a recipe and the last line of a traceback look."""

_LAUNCHERS = ("CalledProcessError", "ChildFailedError")
"""Errors that only say that the process behind a launcher failed."""


def _run(command: list[str]) -> None:
    """Runs a command, whose messages pass by as they come.

    Raises:
        NotRun: It failed; says why with the recipe's sentence, or the line that its traceback ended with.
    """
    lines: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            lines.append(line.strip())
    if process.returncode:
        errors = [line for line in lines if _ERROR.match(line) and not any(name in line for name in _LAUNCHERS)]
        said = [*filter(None, lines)][-1:]
        why = (errors or said or ["without a message"])[-1]
        raise NotRun(f"its training failed with status {process.returncode}: {why}")


def _parameters(folder: Path) -> int:
    """Trained parameters of a coach on disk."""
    files = [
        folder / name
        for name in read_manifest(folder)["files"]
        if name.endswith(".safetensors") and not name.startswith("pose_tokenizer/")
    ]
    return sum(sum(tensor_sizes(path)) for path in files)


def run_expertaf(args: argparse.Namespace) -> int:
    """Runs the rows and writes ``table.md`` (.tex, .csv, .html) and ``table.json`` after each of them; exit status 1 if a row is missing."""
    base: dict[str, Any] = yaml.safe_load(args.config.read_text())
    for change in args.set:
        key, _, value = change.partition("=")
        base[key] = yaml.safe_load(value)
    variants = read_variants(args.variants or RECIPES / "configs" / "expertaf" / "table1.yaml")
    if unknown := set(args.rows or []) - {v.row for v in variants}:
        raise ValueError(f"Unknown rows {sorted(unknown)}; choose from {', '.join(v.row for v in variants)}.")
    chosen = [v for v in variants if not args.rows or v.row in args.rows]
    run, rows = TableRun(args, base), []
    text = ""
    for number, variant in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {variant.row}", file=sys.stderr)
        rows.append(run.row(variant))
        table = comparison_table(rows, [v.published for v in chosen if v.published])
        text = to_markdown(table)
        args.out.mkdir(parents=True, exist_ok=True)
        for ending, render in RENDERERS.items():
            write_atomically(args.out / f"table.{ending}", render(table))
        write_atomically(args.out / "table.json", json.dumps([without_statistics(vars(row)) for row in rows], indent=1))
    Console(width=200).print(Markdown(text))
    return int(any(row.result is None for row in rows))
