"""`mm-coach data`: from a data set to reviewed coaching tuples."""

import argparse
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from mm_adapter.cli import data_exchange, data_inspection
from mm_adapter.cli.console import ConsoleReport, print_unbroken
from mm_adapter.cli.old_endpoints import add_prices, print_estimate
from mm_data.asking.completions import Endpoint
from mm_data.ground.files import check_apart
from mm_data.ground.funnel import Funnel
from mm_data.labelling import Labeller, LlmLabeller, PolarityLabeller, RulesLabeller, label_remarks
from mm_data.labelling.llm import LOG
from mm_data.records import Remark, Source
from mm_data.release.read import read_source
from mm_data.tuples.build import BuildOptions, build_tuples
from mm_data.tuples.pairing import PairingOptions
from mm_data.tuples.review.decisions import REVIEW
from mm_data.tuples.store import LABELS, MANIFEST, claim_tuple_folder

LABELLERS = ("rules", "polarity", "llm")


@dataclass
class DataConfig:
    """Every setting of `data label` and `data build`: a key in the YAML file, or a flag, which wins.

    Attributes:
        source: Ego-Exo4D download, miniature, or a folder of own videos.
        out: Folder for the tuples.
        labeller: rules (offline), polarity (proficiency_demonstration) or llm (any OpenAI-compatible endpoint).
        base_url: Endpoint of the llm labeller, usually ending in /v1.
        model: Name of the served model.
        api_key_variable: Environment variable that holds the endpoint's key.
        answers: Log of the model's answers, which several folders may share; OUT/llm_answers.jsonl where none is given.
        concurrency: Requests in flight.
        timeout: Seconds per request.
        window: Seconds of evidence before a comment.
        min_window: Seconds below which evidence is too short.
        horizon: Seconds around the expert's comment that are searched.
        experts_train: Experts kept per training remark (k).
        experts_test: Experts kept per test remark.
        runners_up: Further experts remembered for `data why`.
        stride: Frames between compared frames.
        allow_unaligned: Keep pairs without poses.
        activities: Activities to use, separated by commas; all when empty.
        max_drop_rate: Share of rows that a stage may drop.
        review: Decisions of `data review`; OUT/review.jsonl where none is given.
        reviewed_only: Keep only test tuples that somebody accepted or fixed.
        workers: Processes that read poses and align.
    """

    source: str = ""
    out: str = ""
    labeller: str = "rules"
    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    api_key_variable: str = "OPENAI_API_KEY"
    answers: str = ""
    concurrency: int = 8
    timeout: float = 120.0
    window: float = PairingOptions.window
    min_window: float = PairingOptions.min_window
    horizon: float = PairingOptions.horizon
    experts_train: int = PairingOptions.experts_train
    experts_test: int = PairingOptions.experts_test
    runners_up: int = PairingOptions.runners_up
    stride: int = PairingOptions.stride
    allow_unaligned: bool = PairingOptions.allow_unaligned
    activities: str = ""
    max_drop_rate: float = 0.5
    review: str = ""
    reviewed_only: bool = False
    workers: int = 2

    def options(self) -> BuildOptions:
        """The settings that decide the tuples."""
        pairing = PairingOptions(**{field.name: getattr(self, field.name) for field in fields(PairingOptions)})
        activities = tuple(name.strip() for name in self.activities.split(",") if name.strip())
        return BuildOptions(pairing, activities, self.max_drop_rate, self.reviewed_only)


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds the commands."""
    data = commands.add_parser("data", help="from a data set to reviewed coaching tuples")
    steps = data.add_subparsers(metavar="STEP", required=True)
    build = steps.add_parser("build", help="read, choose, label, pair, align: all stages, resumable")
    _add_settings(build)
    build.set_defaults(run=run_build)
    label = steps.add_parser("label", help="only the labels, or an estimate of what they would cost")
    _add_settings(label)
    label.add_argument("--estimate", action="store_true", help="print requests, tokens and cost, and ask nothing")
    add_prices(label)
    label.set_defaults(run=run_label)
    data_inspection.add_steps(steps)
    data_exchange.add_steps(steps)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """One flag per setting. Flags that are not given stay out of the namespace, so that the file can speak."""
    parser.add_argument("source", nargs="?", default=argparse.SUPPRESS, help="data set")
    parser.add_argument("out", nargs="?", default=argparse.SUPPRESS, help="folder for the result")
    parser.add_argument("--config", type=Path, help="YAML file with any of these settings; flags win")
    help_of = dict(
        line.strip().split(": ", 1)
        for line in (DataConfig.__doc__ or "").split("Attributes:")[1].strip().splitlines()
    )  # fmt: skip
    for field in fields(DataConfig):
        if field.name in ("source", "out"):
            continue
        flag = f"--{field.name.replace('_', '-')}"
        text = f"{help_of[field.name]} (default: {field.default!r})".replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
        else:
            choices = LABELLERS if field.name == "labeller" else None
            kind: Any = type(field.default)
            parser.add_argument(flag, type=kind, default=argparse.SUPPRESS, choices=choices, help=text)


def read_config(args: argparse.Namespace) -> DataConfig:
    """Defaults, then the YAML file, then flags.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: Unknown keys, values of the wrong type, or no source or folder.
    """
    known = {field.name: field.default for field in fields(DataConfig)}
    settings: dict[str, Any] = {}
    if args.config is not None:
        if not args.config.is_file():
            raise FileNotFoundError(f"{args.config} does not exist; recipes/configs/data/ holds examples.")
        settings = yaml.safe_load(args.config.read_text()) or {}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{args.config}: unknown key {name!r}; known are {', '.join(known)}.")
        wanted = type(known[name])
        if not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise ValueError(f"{args.config}: {name} is {value!r}; expected {wanted.__name__}.")
    settings |= {name: value for name, value in vars(args).items() if name in known}
    config = DataConfig(**settings)
    if not config.source or not config.out:
        raise ValueError(
            "Give a data set and a folder for the result, as arguments or as `source` and `out` in --config."
        )
    if config.labeller not in LABELLERS:
        raise ValueError(f"labeller is {config.labeller!r}; choose from {', '.join(LABELLERS)}.")
    return config


def make_labeller(config: DataConfig, source: Source) -> Labeller:
    """The labeller that was asked for.

    Raises:
        ValueError: The model is not named, or the source has no polarity.
    """
    if config.labeller == "rules":
        return RulesLabeller()
    if config.labeller == "polarity":
        return PolarityLabeller(source.demonstrations)
    if not config.model:
        raise ValueError(
            "The llm labeller needs --model, the name of the served model (`curl BASE_URL/models` lists them)."
        )
    endpoint = Endpoint(
        config.base_url, config.model, os.environ.get(config.api_key_variable, "none"), config.concurrency, config.timeout
    )  # fmt: skip
    tasks = {uid: take.task or take.activity for uid, take in source.takes.items()}
    return LlmLabeller(endpoint, tasks, Path(config.answers) if config.answers else Path(config.out) / LOG)


def run_build(args: argparse.Namespace) -> None:
    """Builds tuples and prints the funnel."""
    config = read_config(args)
    out = Path(config.out)
    review = Path(config.review) if config.review else out / REVIEW
    manifest = build_tuples(
        Path(config.source),
        out,
        config.options(),
        ConsoleReport(),
        lambda source: make_labeller(config, source),
        review,
        config.workers,
    )
    table = Table(title=f"{out}{' (synthetic)' if manifest.synthetic else ''}", title_justify="left")
    for heading in ("stage", "in", "kept", "dropped, and why"):
        table.add_column(heading, justify="right" if heading in ("in", "kept") else "left")
    for stage in manifest.funnel:
        dropped = "\n".join(f"{count} {reason}" for reason, count in stage["dropped"].items())
        table.add_row(stage["stage"], str(stage["read"]), str(stage["kept"]), dropped)
    print_unbroken(table)
    print(f"{out}/report.html has the histograms, {out}/README.md is the data set card")


def run_label(args: argparse.Namespace) -> None:
    """Labels the remarks on takes with a skill level, or says what that would cost."""
    config = read_config(args)
    out = Path(config.out)
    check_apart(out, Path(config.source))
    source = read_source(Path(config.source), config.max_drop_rate)
    labeller = make_labeller(config, source)
    wanted = config.options().activities
    usable = {uid for uid, t in source.takes.items() if t.skill and (not wanted or t.activity in wanted)}
    remarks = [remark for remark in source.remarks if remark.take_uid in usable]
    if args.estimate:
        _print_estimate(args, labeller, remarks)
        return
    if (out / MANIFEST).is_file():
        raise ValueError(
            f"{out} holds finished tuples with their labels; label into another folder (`--answers` shares a model's answers)."
        )
    claim_tuple_folder(out, {"source": str(source.root.resolve())})
    funnel = Funnel("label remarks", config.max_drop_rate)
    with ConsoleReport().progress(f"labelling with {labeller.version}", len(remarks)) as progress:
        label_remarks(labeller, remarks, out / LABELS, funnel, progress)
    print(json.dumps(funnel.summary(), indent=2))
    funnel.check()


def _print_estimate(args: argparse.Namespace, labeller: Labeller, remarks: list[Remark]) -> None:
    if not isinstance(labeller, LlmLabeller):
        print(f"{labeller.version} works offline: {len(remarks)} remarks, no requests, no cost")
        return
    print_estimate(args, labeller.estimate(remarks))
