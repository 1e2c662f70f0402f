"""A dozen test clips with everything a reader needs to judge them: frames, truth, answer, the expert that was found, and poses."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mm_data.videos.frames import VideoError, middle_times, read_frames
from mm_eval.answers.clips import AnsweredClip
from mm_eval.answers.test_sets import OURS, ClipFile, TestItem
from mm_eval.metrics.pose import sequence_error
from mm_eval.metrics.retrieval import ranks
from mm_eval.suites.suite import Run, Suite

_FRAMES = {"exo": 5, "ego": 3}
_STRIP_HEIGHT, _GAP = 120, 2  # pixels


def cards(run: Run, suite: Suite, clips: Mapping[str, AnsweredClip], count: int = 12) -> list[dict[str, Any]]:
    """Picks test items evenly spaced over distinct recordings; they are not chosen by score.

    Args:
        run: Scored run.
        suite: Its suite.
        clips: Its clips.
        count: Most items.

    Returns:
        What the page shows of each.
    """
    first_of_take = {item.clip_id.partition(":")[0]: index for index, item in reversed(list(enumerate(run.items)))}
    chosen = sorted(first_of_take.values())
    spaced = np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)
    return [_card(run, suite, clips, chosen[place]) for place in spaced]


def _card(run: Run, suite: Suite, clips: Mapping[str, AnsweredClip], index: int) -> dict[str, Any]:
    item = run.items[index]
    truth, answer = item.truth, item.answers[OURS]
    card: dict[str, Any] = {
        "item_id": item.item_id,
        "category": item.category,
        "strips": [_strip(item.clips.get(view), view, "learner") for view in _FRAMES if view in item.clips],
        "truth": truth.text,
        "answer": answer.text,
        "facts": [
            (name, text, answer.stated().get(name, "not said"))
            for name, text in truth.stated().items()
            if truth.label not in clips
        ],
        "hidden": {name.replace("_", " "): _listed(value) for name, value in item.hidden.items()},
        "scores": _scores(run, suite, index),
        "poses": {
            "learner": _poses(clips.get(item.clip_id)),
            "generated": None if answer.poses is None else np.round(answer.poses, 3).tolist(),
            "expert": _poses(clips.get(item.expert_id or "")),
        },
    }
    if truth.label in clips and answer.ranking:
        card |= _retrieved(item, answer.ranking, clips)
    if answer.poses is not None and card["poses"]["expert"] is not None:
        expert, learner = clips[item.expert_id or ""].poses, clips[item.clip_id].poses
        assert expert is not None
        card["pose_error"] = _millimetres(sequence_error(np.array(answer.poses, np.float32), expert))
        card["learner_error"] = None if learner is None else _millimetres(sequence_error(learner, expert))
    return card


def _retrieved(item: TestItem, ranking: Mapping[str, float], clips: Mapping[str, AnsweredClip]) -> dict[str, Any]:
    """The expert clip that is ranked first, and where the one is that answers the item."""
    names = list(ranking)
    scores = np.array([[ranking[name] for name in names]], float)
    best = names[int(np.where(np.isfinite(scores), scores, -np.inf).argmax())]
    place = names.index(item.truth.label) if item.truth.label in names else None
    rank = np.nan if place is None else ranks(scores, np.array([place]), np.ones(scores.shape, bool))[0]
    if not np.isfinite(rank):
        text = "the paired clip has no score"
    elif best == item.truth.label:
        text = "the expert clip it was paired with"
    else:
        text = f"paired clip is at rank {rank:g} of {len(names)}"
    return {"rank_text": text, "retrieved": _strip(clips[best].videos.get("exo"), "exo", best)}


def _scores(run: Run, suite: Suite, index: int) -> list[tuple[str, str]]:
    """What this one answer gets in the table's columns."""
    scores = []
    for column in suite.columns:
        metric = run.metric(column)
        if metric is not None and metric.per_item is not None and metric.per_item[index] == metric.per_item[index]:
            scores.append((column.heading, column.printed(metric.per_item[index])))
    return scores


def _poses(clip: AnsweredClip | None) -> list[Any] | None:
    """Rounds poses for JSON; a joint that is not seen lies at the origin, and its flag says so."""
    return None if clip is None or clip.poses is None else np.round(np.nan_to_num(clip.poses), 3).tolist()


def _millimetres(value: float) -> str:
    return f"{value:.0f} mm" if np.isfinite(value) else "not comparable"


def _listed(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _strip(clip: ClipFile | None, view: str, name: str) -> dict[str, str]:
    """Frames of a clip in one JPEG as ``picture``, with ``text`` that says what it shows or why there is none."""
    if clip is None:
        return {"view": view, "picture": "", "text": f"there is no {view} video"}
    count = _FRAMES[view]
    try:
        frames = read_frames(Path(clip.video), middle_times(clip.start, clip.stop, count))
    except (FileNotFoundError, VideoError) as error:
        return {"view": view, "picture": "", "text": str(error)}
    width = round(frames.shape[2] * _STRIP_HEIGHT / frames.shape[1])
    strip = Image.new("RGB", (width * count + _GAP * (count - 1), _STRIP_HEIGHT), "white")
    for position, frame in enumerate(frames):
        strip.paste(Image.fromarray(frame).resize((width, _STRIP_HEIGHT)), (position * (width + _GAP), 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=80)
    picture = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"view": view, "picture": picture, "text": f"{view} frames of {name}"}
