"""What stands first in the report: three numbers beside the strongest rows that need no model, and what was trained and asked."""

import html
import json
from pathlib import Path
from typing import Any

Rows = dict[str, dict[str, dict[str, Any]]]

_OURS = "ours"
_NOT_BASELINES = ("ceiling", "floor", "raw likelihood")
"""In the names of rows that bound a metric or are our own coach again."""


def headline(evaluation: dict[str, Any]) -> str:
    """Three statements, each with the strongest rows that need no model."""
    summary, tables = evaluation["summary"], evaluation["tables"]
    tiles = []
    if "commentary/error_named" in summary:
        beside = strongest(tables["commentary"], "error_named", higher=True)
        against = ", ".join(f"{name} {value:.0%}" for name, value in beside[:2])
        shuffled = f"{summary['commentary/error_named_shuffled']:.0%}"
        tiles.append(("Names the learner's error", f"{summary['commentary/error_named']:.0%}", f"of clips. Without a model: {against}; our own texts shuffled {shuffled}"))  # fmt: skip
    if "retrieval/median_rank" in summary:
        beside = strongest(tables["retrieval"], "recall@5", higher=True)
        against = ", ".join(f"{name} {value:.0%}" for name, value in beside[:2])
        ceiling = summary.get("retrieval/recall@5_pose_nn_ceiling")
        bound = "" if ceiling is None else f"; ceiling (pairs are mined by pose) {ceiling:.0%}"
        tiles.append(
            (
                "Finds the expert clip in five tries",
                f"{summary['retrieval/recall@5_within_activity']:.0%}",
                f"among {summary['retrieval/gallery_size']:.0f} clips. Without a model: {against}, chance {summary['retrieval/chance@5_within_activity']:.0%}{bound}",
            )
        )
    if "pose/pa_mpjpe_mm" in summary:
        beside = strongest(tables["pose"], "pa_mpjpe", higher=False)
        against = ", ".join(f"{name} {value:.0f}" for name, value in beside[:2])
        floor = summary.get("pose/pa_mpjpe_tokenizer_floor_mm")
        bound = "" if floor is None else f"; tokenizer's floor {millimetres(floor)}"
        tiles.append(("Corrected pose is off by", millimetres(summary["pose/pa_mpjpe_mm"]), f"Without a model: {against}{bound}"))  # fmt: skip
    return "".join(
        f"<div class='tile'><h3>{html.escape(title)}</h3><div class='big'>{html.escape(value)}</div><div class='against'>{html.escape(against)}</div></div>"
        for title, value, against in tiles
    )


def strongest(rows: Rows, metric: str, higher: bool) -> list[tuple[str, float]]:
    """Rows that need no model with their values, the best first; bounds and rows without a value are left out.

    Args:
        rows: Row to metric to record, as in ``metrics.json``.
        metric: What they are compared by.
        higher: Whether more is better.
    """
    baselines = [
        (name, row[metric]["value"])
        for name, row in rows.items()
        if name != _OURS and not any(word in name for word in _NOT_BASELINES) and metric in row
    ]
    scored = [(name, value) for name, value in baselines if value is not None]
    return sorted(scored, key=lambda entry: entry[1], reverse=higher)


def facts(evaluation: dict[str, Any], training: Path | None) -> str:
    """Model, data, duration and how many different remarks there are, as a list of terms.

    Args:
        evaluation: Content of ``metrics.json``.
        training: The coach's training folder, or None.
    """
    told = _training_facts(training) if training is not None else {}
    told["data"] = "synthetic (miniature)" if evaluation["synthetic_data"] else "real people"
    told["video encoder"] = evaluation["video_encoder"] or "none: poses alone"
    if "different_remarks" in evaluation:
        told["remarks"] = f"{evaluation['different_remarks']} different ones about {evaluation['items']} clips"
    minutes = evaluation["summary"].get("minutes")
    if minutes is not None:
        told["duration"] = f"{minutes:.0f} minutes from the first step to this page"
    return "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in told.items())


def _training_facts(training: Path) -> dict[str, str]:
    record = training / "run_config.json"
    if not record.is_file():
        return {}
    config = json.loads(record.read_text())
    coach, settings = config.get("coach", {}), config.get("training", {})
    told = {}
    if coach.get("language_model"):
        told["model"] = f"{Path(coach['language_model']).name}, {coach.get('mode', 'trained')}"
    state = training / "trainer_state.json"
    if state.is_file():
        steps = json.loads(state.read_text())["global_step"]
        rate = settings.get("learning_rate")
        told["training"] = f"{steps} steps" + ("" if rate is None else f", learning rate {rate:g}")
    return told


def millimetres(value: float | None) -> str:
    """A length, or that there is no pose."""
    return "no pose" if value is None else f"{value:.0f} mm"
