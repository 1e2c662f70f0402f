"""A dozen test clips with everything a reader needs to judge them: remarks, retrieved clip and three pose sequences."""

from pathlib import Path
from typing import Any

import numpy as np

from mm_data.records import FPS, Clip
from mm_eval.metrics.pose import sequence_error
from mm_eval.metrics.retrieval import ranks
from mm_eval.suites.expertaf.inputs import Inputs


def collect_examples(inputs: Inputs, clips: dict[str, Clip], videos: Path, count: int = 12) -> list[dict[str, Any]]:
    """Picks evenly spaced test items over distinct learner takes; they are not chosen by score.

    A system that ranks nothing or generates no poses has nothing to show beside its commentary, and no examples.

    Args:
        inputs: Test tuples with the system's answers.
        clips: Clips by their ids.
        videos: Root of the videos.
        count: Most examples.

    Returns:
        The examples, JSON-ready.
    """
    if not inputs.ranked or inputs.generated is None:
        return []
    first_of_take = list({t.learner.take_uid: i for i, t in reversed(list(enumerate(inputs.tuples)))}.values())
    first_of_take.sort()
    chosen = [
        first_of_take[i]
        for i in np.linspace(0, len(first_of_take) - 1, min(count, len(first_of_take))).round().astype(int)
    ]
    return [_example(inputs, index, clips, videos) for index in chosen]


def _rounded(poses: np.ndarray) -> list[Any]:
    """Rounds poses for JSON; a joint that is not seen lies at the origin, and its flag says so."""
    return np.round(np.nan_to_num(poses), 3).tolist()


def _known(value: float) -> float | None:
    """Returns a number for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None


def _example(inputs: Inputs, index: int, clips: dict[str, Clip], videos: Path) -> dict[str, Any]:
    t, prediction = inputs.tuples[index], inputs.predictions[index]
    assert inputs.generated is not None
    gallery = list(prediction["pmi"])
    scores = np.array([[prediction["pmi"][clip] for clip in gallery]])
    retrieved = gallery[int(np.where(np.isfinite(scores), scores, -np.inf).argmax())]
    truth, generated = inputs.poses[t.expert.clip_id], inputs.generated[index]
    example: dict[str, Any] = {
        "tuple_id": t.tuple_id,
        "activity": t.activity,
        "task": t.task,
        "expert_remark": t.summary,
        "our_remark": prediction["commentary"],
        "learner": _clip(t.learner, videos),
        "expert": _clip(t.expert, videos),
        "retrieved": _clip(clips[retrieved], videos),
        "retrieved_is_positive": retrieved == prediction["positive"],
        "rank": _known(
            ranks(scores, np.array([gallery.index(prediction["positive"])]), np.ones(scores.shape, bool))[0]
        ),
        "gallery_size": len(gallery),
        "pa_mpjpe_mm": None if generated is None else _known(sequence_error(generated, truth)),
        "learner_pa_mpjpe_mm": _known(sequence_error(inputs.poses[t.learner.clip_id], truth)),
        "poses": {
            "learner": _rounded(inputs.poses[t.learner.clip_id]),
            "generated": None if generated is None else _rounded(generated),
            "expert": _rounded(truth),
        },
    }
    if inputs.truth is not None:
        injected = inputs.truth.errors(t.learner.take_uid, t.learner.start, t.learner.stop)
        example["injected"] = sorted(injected)
        example["named"] = sorted(inputs.truth.named(t.learner.take_uid, prediction["commentary"]))
    return example


def _clip(clip: Clip, videos: Path) -> dict[str, Any]:
    return {
        "clip_id": clip.clip_id,
        "skill": clip.skill,
        "seconds": [clip.start / FPS, clip.stop / FPS],
        "ego": str(videos / clip.ego_video),
        "exo": str(videos / clip.exo_video),
    }
