"""`mm-coach data build` and `label`: a data set becomes tuples. Their settings come from flags and from a YAML file."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from mm_adapter.cli.endpoints import PriceFlags
from mm_adapter.errors import did_you_mean

if TYPE_CHECKING:
    from mm_data.labelling import Labeller
    from mm_data.records import Source
    from mm_data.tuples.build import BuildOptions


@Parameter(name="*")
@dataclass(frozen=True)
class DataConfig:
    """Every setting of `data build` and `data label`: a key in the YAML file, or a flag, which wins."""

    source: str = ""
    """Ego-Exo4D download, miniature, or a folder of own videos."""

    out: str = ""
    """Folder for the result."""

    _: KW_ONLY

    labeller: Literal["rules", "polarity", "llm"] = "rules"
    """rules (offline), polarity (proficiency_demonstration) or llm (any OpenAI-compatible endpoint)."""

    base_url: str = "http://127.0.0.1:8000/v1"
    """Endpoint of the llm labeller, usually ending in /v1."""

    model: str = ""
    """Name of the served model."""

    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key."""

    answers: str = ""
    """Log of the model's answers, which several folders may share; OUT/llm_answers.jsonl where none is given."""

    concurrency: int = 8
    """Number of requests in flight."""

    timeout: float = 120.0
    """Seconds that a request may take."""

    window: float = 2.0
    """Seconds of evidence before a comment."""

    min_window: float = 1.0
    """Seconds below which evidence is too short."""

    horizon: float = 10.0
    """Seconds around the expert's comment that are searched."""

    experts_train: int = 5
    """Number of experts kept per training remark (k)."""

    experts_test: int = 1
    """Number of experts kept per test remark."""

    runners_up: int = 3
    """Number of further experts remembered for `data why`."""

    stride: int = 3
    """Frames between compared frames."""

    allow_unaligned: Annotated[bool, Parameter(negative="--no-allow-unaligned")] = False
    """Keep pairs without poses."""

    activities: str = ""
    """Activities to use, separated by commas; all where none is given."""

    max_drop_rate: float = 0.5
    """Share of rows that a stage may drop."""

    review: str = ""
    """Decisions of `data review`; OUT/review.jsonl where none is given."""

    reviewed_only: Annotated[bool, Parameter(negative="--no-reviewed-only")] = False
    """Keep only test tuples that somebody accepted or fixed."""

    workers: int = 2
    """Number of processes that read poses and align."""

    def paths(self) -> tuple[Path, Path]:
        """Returns where the data set is and where the result goes.

        Returns:
            The data set and the folder for the result.

        Raises:
            ValueError: One of them is not given.
        """
        if not self.source or not self.out:
            raise ValueError(
                "Give a data set and a folder for the result, as arguments or as `source` and `out` in --config."
            )
        return Path(self.source), Path(self.out)

    def options(self) -> BuildOptions:
        """Builds the settings that decide the tuples."""
        from mm_data.tuples.build import BuildOptions
        from mm_data.tuples.pairing import PairingOptions

        pairing = PairingOptions(**{field.name: getattr(self, field.name) for field in fields(PairingOptions)})
        activities = tuple(name.strip() for name in self.activities.split(",") if name.strip())
        return BuildOptions(pairing, activities, self.max_drop_rate, self.reviewed_only)

    def make_labeller(self, source: Source) -> Labeller:
        """Builds the labeller for a data set that was read."""
        from mm_data.asking.completions import Endpoint
        from mm_data.labelling import make_labeller
        from mm_data.labelling.llm import LOG

        key = os.environ.get(self.api_key_variable, "none")
        endpoint = Endpoint(self.base_url, self.model, key, self.concurrency, self.timeout)
        return make_labeller(self.labeller, source, endpoint, Path(self.answers or Path(self.out) / LOG))


def read_settings(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Gives cyclopts the settings of the YAML file that --config names, for the flags that are not given.

    Args:
        app: The command.
        commands: Its names, from `data` on.
        arguments: The command's flags with the words that were given; settings are added.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no YAML, a key is unknown, or a value has another type than its setting.
    """
    import yaml

    from mm_data.ground.files import read_text

    words = [argument.tokens[0].value for argument in arguments if argument.name == "--config" and argument.tokens]
    if not words:
        return
    path = Path(words[0])
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; recipes/configs/data/ holds examples.")
    try:
        settings: Any = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({error}).") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds a {type(settings).__name__}; lines like `stride: 3` are needed.")
    defaults = {field.name: field.default for field in fields(DataConfig)}
    for name, value in settings.items():
        if name not in defaults:
            known = ", ".join(defaults)
            raise ValueError(f"{path}: unknown key {name!r}; known are {known}.{did_you_mean(str(name), defaults)}")
        kind = type(defaults[name])
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise ValueError(f"{path}: {name} is {value!r}; expected {kind.__name__}.")
    Dict(settings, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


_SETTINGS, _PRICES = DataConfig(), PriceFlags()


def build(settings: DataConfig = _SETTINGS, *, config: Path | None = None) -> None:
    """Read, choose, label, pair, align: all stages, resumable.

    Args:
        settings: What is built.
        config: YAML file with any of these settings; flags win.
    """
    from mm_adapter.cli.console import ConsoleReport, print_table
    from mm_data.tuples.build import build_tuples
    from mm_data.tuples.review.decisions import REVIEW

    source, out = settings.paths()
    review = Path(settings.review or out / REVIEW)
    manifest = build_tuples(
        source, out, settings.options(), ConsoleReport(), settings.make_labeller, review, settings.workers
    )
    rows = []
    for stage in manifest.funnel:
        dropped = "\n".join(f"{count} {reason}" for reason, count in stage["dropped"].items())
        rows.append((stage["stage"], stage["read"], stage["kept"], dropped))
    title = f"{out}{' (synthetic)' if manifest.synthetic else ''}"
    print_table(("stage", "in", "kept", "dropped, and why"), rows, title, numbers=("in", "kept"))
    print(f"{out}/report.html has the histograms, {out}/README.md is the data set card")


def label(
    settings: DataConfig = _SETTINGS,
    *,
    config: Path | None = None,
    estimate: bool = False,
    prices: PriceFlags = _PRICES,
) -> None:
    """Make only the labels, or an estimate of what they would cost.

    Args:
        settings: What is labelled.
        config: YAML file with any of these settings; flags win.
        estimate: Print requests, tokens and cost, and ask nothing.
        prices: What the estimate reckons with.
    """
    import json

    from mm_adapter.cli.console import ConsoleReport
    from mm_data.ground.files import check_apart
    from mm_data.ground.funnel import Funnel
    from mm_data.labelling import LlmLabeller, label_remarks, remarks_to_label
    from mm_data.release.read import read_source
    from mm_data.tuples.store import LABELS, MANIFEST, claim_tuple_folder

    root, out = settings.paths()
    check_apart(out, root)
    source = read_source(root, settings.max_drop_rate)
    labeller = settings.make_labeller(source)
    remarks = remarks_to_label(source, settings.options().activities)
    if estimate:
        if isinstance(labeller, LlmLabeller):
            prices.print_estimate(labeller.estimate(remarks))
        else:
            print(f"{labeller.version} works offline: {len(remarks)} remarks, no requests, no cost")
        return
    if (out / MANIFEST).is_file():
        raise ValueError(
            f"{out} holds finished tuples with their labels; "
            "label into another folder (`--answers` shares a model's answers)."
        )
    claim_tuple_folder(out, {"source": str(source.root.resolve())})
    funnel = Funnel("label remarks", settings.max_drop_rate)
    with ConsoleReport().progress(f"labelling with {labeller.version}", len(remarks)) as progress:
        label_remarks(labeller, remarks, out / LABELS, funnel, progress)
    print(json.dumps(funnel.summary(), indent=2))
    funnel.check()
