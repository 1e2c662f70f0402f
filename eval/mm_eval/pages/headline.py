"""What stands first in the report: three numbers beside the strongest rows that need no model, and what was trained and asked."""

import json
from pathlib import Path
from typing import Any, NamedTuple

Rows = dict[str, dict[str, dict[str, Any]]]

_OURS = "ours"
_NOT_BASELINES = ("ceiling", "floor", "raw likelihood")
"""Words in the names of rows that bound a metric or are our own coach again."""


class Tile(NamedTuple):
    """One number of the first line.

    Attributes:
        title: Statement that the number completes.
        value: Number with its unit.
        beside: What it has to be compared with.
    """

    title: str
    value: str
    beside: str


def headline(evaluation: dict[str, Any]) -> list[Tile]:
    """Returns up to three statements, each with the strongest rows that need no model.

    Args:
        evaluation: Content of ``metrics.json``.

    Returns:
        A tile for each function of the coach that was scored.
    """
    summary, tables = evaluation["summary"], evaluation["tables"]
    tiles = []
    if "commentary/error_named" in summary:
        share = f"{summary['commentary/error_named']:.0%}"
        rivals = ", ".join(f"{name} {value:.0%}" for name, value in strongest(tables["commentary"], "error_named")[:2])
        shuffled = f"our own texts shuffled {summary['commentary/error_named_shuffled']:.0%}"
        tiles.append(Tile("Names the learner's error", share, f"of clips. Without a model: {rivals}; {shuffled}"))
    if "retrieval/median_rank" in summary:
        share = f"{summary['retrieval/recall@5_within_activity']:.0%}"
        gallery = f"among {summary['retrieval/gallery_size']:.0f} clips"
        rivals = ", ".join(f"{name} {value:.0%}" for name, value in strongest(tables["retrieval"], "recall@5")[:2])
        chance = f"chance {summary['retrieval/chance@5_within_activity']:.0%}"
        ceiling = summary.get("retrieval/recall@5_pose_nn_ceiling")
        bound = "" if ceiling is None else f"; ceiling (pairs are mined by pose) {ceiling:.0%}"
        beside = f"{gallery}. Without a model: {rivals}, {chance}{bound}"
        tiles.append(Tile("Finds the expert clip in five tries", share, beside))
    if "pose/pa_mpjpe_mm" in summary:
        nearest = strongest(tables["pose"], "pa_mpjpe", higher=False)[:2]
        rivals = ", ".join(f"{name} {value:.0f}" for name, value in nearest)
        floor = summary.get("pose/pa_mpjpe_tokenizer_floor_mm")
        bound = "" if floor is None else f"; tokenizer's floor {millimetres(floor)}"
        error = millimetres(summary["pose/pa_mpjpe_mm"])
        tiles.append(Tile("Corrected pose is off by", error, f"Without a model: {rivals}{bound}"))
    return tiles


def strongest(rows: Rows, metric: str, higher: bool = True) -> list[tuple[str, float]]:
    """Returns the rows that need no model with their values, the best first, without bounds and rows without a value.

    Args:
        rows: Row to metric to record, as in ``metrics.json``.
        metric: Name of the metric that they are compared by.
        higher: Whether more is better.

    Returns:
        Names and values.
    """
    baselines = [
        (name, row[metric]["value"])
        for name, row in rows.items()
        if name != _OURS and not any(word in name for word in _NOT_BASELINES) and metric in row
    ]
    scored = [(name, value) for name, value in baselines if value is not None]
    return sorted(scored, key=lambda entry: entry[1], reverse=higher)


def facts(evaluation: dict[str, Any], training: Path | None) -> dict[str, str]:
    """Returns model, data, duration and the number of different remarks.

    Args:
        evaluation: Content of ``metrics.json``.
        training: Training folder of the coach, or None.

    Returns:
        Term to text.
    """
    terms = _training_facts(training) if training is not None else {}
    terms["data"] = "synthetic (miniature)" if evaluation["synthetic_data"] else "real people"
    terms["video encoder"] = evaluation["video_encoder"] or "none: poses alone"
    if "different_remarks" in evaluation:
        terms["remarks"] = f"{evaluation['different_remarks']} different ones about {evaluation['items']} clips"
    minutes = evaluation["summary"].get("minutes")
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


def millimetres(value: float | None) -> str:
    """Prints a length, or that there is no pose."""
    return "no pose" if value is None else f"{value:.0f} mm"
