"""Fills the page of a run: curves, tables and examples, with pictures and data inside the file."""

import json
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.poses.skeleton import BONES
from mm_eval.answers.clips import read_clips
from mm_eval.answers.test_sets import About
from mm_eval.pages.cards import cards
from mm_eval.suites.suite import Run, Suite
from mm_eval.tables.rendering import printed


def write_report(
    out: Path,
    folder: Path,
    run: Run,
    suite: Suite,
    training: Path | None,
    tokenizer_training: Path | None,
    minutes: float | None,
) -> None:
    """Writes ``index.html``.

    Args:
        out: Folder of the page.
        folder: Folder of the run.
        run: The scored run.
        suite: Suite that scored it.
        training: Training folder of the coach with ``trainer_state.json``, or None.
        tokenizer_training: Training folder of the pose tokenizer, or None.
        minutes: Minutes from the first step to this page, or None.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainings = {"Coach: training loss per token": training, "Pose tokenizer: training loss": tokenizer_training}
    tables, shown = suite.details(run), cards(run, suite, read_clips(folder))
    page = fill_template(
        "mm_eval",
        "pages/report.html",
        title=tables[0].title if len(tables) == 1 else "Video action coach",
        lead=tables[0].lead,
        facts=_facts(run, About.read(folder), training, minutes),
        warnings=_warnings(run, About.read(folder)),
        tiles=suite.tiles(run),
        curves={title: _losses(trained) for title, trained in trainings.items() if trained is not None},
        tables=[printed(table) for table in tables],
        notes=run.notes,
        cards=shown,
        drawings={"bones": BONES, "poses": [card["poses"] for card in shown]},
    )
    write_atomically(out / "index.html", page)


def _warnings(run: Run, about: About) -> list[str]:
    warnings = []
    if any(item.synthetic for item in run.items):
        warnings.append(
            "Synthetic data: the clips, remarks and errors are simulated. "
            "These numbers say that the path works, not how well real coaching works."
        )
    if "random" in (encoder := about.facts.get("video encoder", "")):
        warnings.append(f"Video encoder: {encoder}. What is learned here is learned from pose.")
    return warnings


def _facts(run: Run, about: About, training: Path | None, minutes: float | None) -> dict[str, str]:
    """Returns model, data, duration and the number of different texts: term to text."""
    terms = _training_facts(training) if training is not None else {}
    terms["data"] = "synthetic" if any(item.synthetic for item in run.items) else "real people"
    different = len({item.answers["ours"].text for item in run.items})
    terms |= {**about.facts, "answers": f"{different} different texts about {len(run.items)} clips"}
    if minutes is not None:
        terms["duration"] = f"{minutes:.0f} minutes from the first step to this page"
    return terms


def _training_facts(training: Path) -> dict[str, str]:
    record = training / "run_config.json"
    if not record.is_file():
        return {}
    config = json.loads(record.read_text())
    coach, settings = config.get("coach", {}), config.get("training", {})
    terms = {}
    if coach.get("language_model"):
        terms["model"] = f"{Path(coach['language_model']).name}, {coach.get('mode', 'trained')}"
    state = training / "trainer_state.json"
    if state.is_file():
        steps = json.loads(state.read_text())["global_step"]
        rate = settings.get("learning_rate")
        terms["training"] = f"{steps} steps" + ("" if rate is None else f", learning rate {rate:g}")
    return terms


def _losses(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of each line of a training's log."""
    state = folder / "trainer_state.json"
    if not state.is_file():
        raise FileNotFoundError(
            f"{state} is not there: training has not finished. Run the recipe again to go on, or leave this folder out."
        )
    history: list[dict[str, Any]] = json.loads(state.read_text())["log_history"]
    return [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]
