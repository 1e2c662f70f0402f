"""Six tuples made by hand, and what a system answers to them.

Bodies are six joints on the axes: hips at ±1 on x, shoulders at ±1 on y, nose and an ankle at ±u on z, and a wrist in the middle.
Moving one of height u onto one of height v turns nothing and scales by (2 + u v) / (2 + u²), so errors are known exactly.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import mm_adapter.tasks.expertaf.commentary as commentary
from mm_adapter.tasks.expertaf.inputs import NO_POSES, Inputs
from mm_data.tasks import Answer
from mm_eval.answers.baselines import CONSTANT, RANDOM, SHUFFLED, SHUFFLED_WITHIN
from mm_eval.answers.clips import AnsweredClip
from mm_eval.answers.test_sets import TestItem
from mm_eval.metrics.text.corpus import TextScores
from mm_eval.statistics.metric import item_metric

FRAMES = 2
LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER, NOSE, ANKLE, WRIST = 11, 12, 5, 6, 0, 15, 9
NAN = float("nan")


def joints(*heights: float) -> np.ndarray:
    """Bodies ``[T, 17, 3]`` of one height, or one height a frame; joints that a body does not have lie in the middle."""
    found = np.zeros((FRAMES, 17, 3))
    found[:, [LEFT_HIP, RIGHT_HIP], 0] = 1.0, -1.0
    found[:, [LEFT_SHOULDER, RIGHT_SHOULDER], 1] = 1.0, -1.0
    for frame, height in enumerate(heights * (FRAMES // len(heights))):
        found[frame, [NOSE, ANKLE], 2] = height, -height
    return found


def body(*heights: float, missing: Sequence[int] = ()) -> np.ndarray:
    """The same with flags ``[T, 17, 4]``; what is not there has coordinates that must not count."""
    there = {LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER, NOSE, ANKLE, WRIST} - set(missing)
    flags = np.array([float(joint in there) for joint in range(17)])
    xyz = np.where(flags[:, None] > 0, joints(*heights), 7.0)
    return np.concatenate([xyz, np.broadcast_to(flags[:, None], (FRAMES, 17, 1))], axis=-1)


def similar(u: float, v: float, count: int = 7) -> float:
    """PA-MPJPE in millimetres of a body of height u moved onto one of height v, over so many joints."""
    scale = (2 + u * v) / (2 + u * u)
    return 2000 * (2 * abs(scale - 1) + abs(scale * u - v)) / count


def rigid(u: float, v: float, count: int = 7) -> float:
    return 2000 * abs(u - v) / count


SOCCER, BASKETBALL, CLIMBING = "Soccer", "Basketball", "Rock Climbing"
# Learner's take and window, activity, expert's clip, its remark, ours.
ROWS = [
    ("s1", 0, SOCCER, "x0", "The plant foot is behind the ball.", "The plant foot lands too far behind."),
    ("s1", 100, SOCCER, "x1", "You are leaning back.", "The plant foot lands behind."),
    ("b1", 0, BASKETBALL, "y0", "Bend the knees.", "Straight knees, and the elbow is out."),
    ("b2", 15, BASKETBALL, "y1", "Tuck the elbow.", "The elbow flares and the stance is narrow."),
    ("c1", 0, CLIMBING, "z0", "Straighten the arms.", ""),
    ("c2", 0, CLIMBING, "z5", "Keep moving.", "Climb on."),
]
TRAINING = [
    ("ts0", SOCCER, "te0", "Keep the arms free."),
    ("ts1", SOCCER, "te1", "Lean over the ball."),
    ("ts2", SOCCER, "te1", "Keep the arms free."),
    ("tb0", BASKETBALL, "te2", "Tuck the elbow."),
    ("tc0", CLIMBING, "te3", "Straighten the arms."),
    ("tc1", CLIMBING, "te4", "Straighten the arms."),
]
ERRORS = {
    "s1": ("soccer", [([0, 60], {"plant_foot_behind": 1.0}), ([100, 160], {"leaning_back": 0.5})]),
    "b1": ("basketball", [([0, 60], {"elbow_flare": 1.0, "straight_knees": 0.4})]),
    "b2": ("basketball", [([0, 60], {"elbow_flare": 1.0})]),
    "c1": ("bouldering", [([0, 60], {"bent_arms": 1.0})]),
    "c2": ("bouldering", [([0, 60], {})]),
}
SAME_PERSON = {"c2": "c1", "tc1": "tc0"}
"""Takes of somebody who has an earlier one: six tuples of five takes by four people."""
HEIGHTS = {"x0": 2.0, "x1": 1.2, "x2": 3.0, "x3": 4.0, "y0": 1.1, "y1": 1.5} | {
    f"z{i}": 1.1 + 0.1 * i for i in range(6)
}
# Minus a candidate's prior, and as the language model says it.
PMI = [
    {"x0": 3.0, "x1": 2.0, "x2": 1.0, "x3": -9.0},
    {"x0": 2.0, "x1": 2.0, "x2": 1.0, "x3": -9.0},
    {"y0": 0.0, "y1": 1.0},
    {"y0": 5.0, "y1": 5.0},
    {f"z{i}": float(i) for i in range(6)},
    {"z0": 1.0, "z1": 1.0, "z2": 1.0, "z3": 2.0, "z4": 3.0, "z5": 9.0},
]
LIKELIHOOD = [
    {"x0": 1.0, "x1": 2.0, "x2": 3.0, "x3": -9.0},
    {"x0": 1.0, "x1": 2.0, "x2": -3.0, "x3": -9.0},
    {"y0": 1.0, "y1": 0.0},
    {"y0": 1.0, "y1": 0.0},
    {"z0": 1.0, "z1": 0.0, "z2": 0.0, "z3": 0.0, "z4": 0.0, "z5": 0.0},
    {"z0": 1.0, "z1": 1.0, "z2": -1.0, "z3": -1.0, "z4": -1.0, "z5": 0.0},
]
VIDEO = {
    "s1:0-60": (1, 0), "s1:100-160": (0, 2), "b1:0-60": (1, 1), "b2:15-75": (1, 1), "c1:0-60": (1, 0), "c2:0-60": (1, 0),
    "x0:0-60": (10, 10), "x1:0-60": (1, 0.1), "x2:0-60": (0, 1), "x3:0-60": (-1, -1), "y0:0-60": (1, 1), "y1:0-60": (1, 0),
    "z0:0-60": (1, 0), "z1:0-60": (2, 0), **{f"z{i}:0-60": (1, i) for i in range(2, 6)},
    "ts0:0-60": (1, 0.1), "ts1:0-60": (0, 1.5), "ts2:0-60": (9, 9), "tb0:0-60": (1, 0.9), "tc0:0-60": (-1, 0), "tc1:0-60": (-2, 0),
}  # fmt: skip


def person(take: str) -> str:
    return f"person {SAME_PERSON.get(take, take)}"


def clip_id(take: str, start: int = 0) -> str:
    return f"{take}:{start}-{start + 60}"


NEAREST = ["train 0", "train 1", "train 3", "train 3", "train 0", "train 0"]
"""Training items whose learners' video is nearest; every learner is of height 1, and the nearest training learner of height 1.2."""


def six_tuples() -> Inputs:
    """What is scored."""
    poses = {clip_id(name): body(height) for name, height in HEIGHTS.items()}
    poses |= {clip_id(take, start): body(1.0) for take, start, *_ in ROWS}
    poses[clip_id("b1")] = body(1.0, missing=[WRIST])
    poses[clip_id("y1")] = body(1.5, missing=[WRIST])
    poses |= {clip_id(f"te{i}"): body(height) for i, height in enumerate((1.0, 3.0, 1.1, 1.1, 1.3))}
    poses[clip_id("te0")] = body(1.0, missing=[WRIST])
    turned = joints(1.1)[..., [1, 0, 2]] * [-1, 1, 1]  # a quarter turn about the vertical axis
    generated = [joints(1.0, 2.0), None, np.ones((FRAMES, 17, 3)), 2 * joints(1.5) + 5, turned, joints(1.6)]
    reconstructed = [joints(2.3), joints(1.2), joints(1.1), joints(1.6), joints(1.1), joints(1.6)]
    decoded = {clip_id(row[3]): shown for row, shown in zip(ROWS, reconstructed, strict=True)}
    clips = {
        name: AnsweredClip({}, shown, decoded.get(name), np.array(VIDEO[name], float) if name in VIDEO else None)
        for name, shown in poses.items()
    }
    items = []
    for i, (take, start, activity, expert, remark, said) in enumerate(ROWS):
        slug, repetitions = ERRORS[take]
        shown = {
            error for (first, last), errors in repetitions for error in errors if first < start + 60 and last > start
        }
        drawn = generated[i]
        ranking, likelihood = ({clip_id(name): v for name, v in scores[i].items()} for scores in (PMI, LIKELIHOOD))
        ours = Answer(
            said,
            ranking=ranking,
            poses=None if drawn is None else drawn.tolist(),
            unread=[NO_POSES] if drawn is None else None,
        )
        items.append(
            TestItem(
                item_id=f"test {i}",
                cluster=person(take),
                category=activity,
                truth=Answer(remark, label=clip_id(expert)),
                answers={"ours": ours, "ours, raw likelihood": Answer(said, ranking=likelihood)},
                nearest={"pose": "train 1", "video": NEAREST[i]},
                synthetic=True,
                clip_id=clip_id(take, start),
                expert_id=clip_id(expert),
                hidden={commentary.ACTIVITY: slug, commentary.ERRORS: sorted(shown)},
            )
        )
    training = [
        TestItem(f"train {i}", person(take), activity, Answer(remark), clip_id=clip_id(take), expert_id=clip_id(expert))
        for i, (take, activity, expert, remark) in enumerate(TRAINING)
    ]
    return Inputs(items, training, clips)


def with_poses(inputs: Inputs, poses: dict[str, np.ndarray]) -> Inputs:
    """The same with other poses of some clips."""
    return replace(inputs, clips={n: replace(c, poses=poses.get(n, c.poses)) for n, c in inputs.clips.items()})


def without_video(inputs: Inputs) -> Inputs:
    """The same as a coach that sees no video leaves it."""
    items = [replace(item, nearest={"pose": item.nearest["pose"]}) for item in inputs.items]
    return replace(inputs, items=items, clips={n: replace(c, vector=None) for n, c in inputs.clips.items()})


def with_answers(inputs: Inputs, **fields: Any) -> Inputs:
    """The same with other fields of our answers."""
    return replace(
        inputs,
        items=[replace(i, answers=i.answers | {"ours": replace(i.answers["ours"], **fields)}) for i in inputs.items],
    )


def of_people(inputs: Inputs) -> Inputs:
    """The same as if nobody had simulated it."""
    return replace(inputs, items=[replace(item, hidden={}, synthetic=False) for item in inputs.items])


NAMED_ROWS = [
    "ours", SHUFFLED, SHUFFLED_WITHIN, CONSTANT, RANDOM, "pose nearest neighbour", "video nearest neighbour", commentary.CEILING
]  # fmt: skip
NAMED = {
    "ours": [1, 0, 1, 0, 0, 0],  # wrong moment of the take; one error too many; nothing said; nothing named
    SHUFFLED_WITHIN: [1, 0, 0, 0, 0, 0],
    CONSTANT: [0, 0, 1, 1, 1, 0],
    "video nearest neighbour": [0, 1, 1, 1, 1, 0],
    "pose nearest neighbour": [0, 1, 0, 0, 0, 0],
    commentary.CEILING: [1, 1, 1, 1, 1, 0],
}


RANKS = {
    "ours": [1, 1.5, 2, 1.5, 6, 1],
    "ours without the prior (raw likelihood)": [3, 1, 1, 2, 1, 3],
    "shuffled within activity": [1.5, 2, 1.5, 1, 5, 1],
    "constant (mean score of each clip)": [1, 2, 2, 1, 6, 1],
    "pose nearest neighbour (ceiling)": [2, 1, 1, 2, 1, 6],
    "video nearest neighbour": [2, 3, 1, 2, 1.5, 6],
}


def rows_of_poses() -> dict[str, list[float]]:
    """PA-MPJPE of every item against the expert's raw joints; the fourth expert's wrist is missing."""
    ours = [similar(1, 2) / 2, NAN, NAN, 0, 0, 0]
    return {
        "ours": ours,
        "shuffled within activity": [NAN, (similar(1, 1.2) + similar(2, 1.2)) / 2, similar(1.5, 1.1), NAN, similar(1.6, 1.1), similar(1.1, 1.6)],
        "mean pose of the activity": [similar(7 / 3, 2), similar(7 / 3, 1.2), 0, similar(1.1, 1.5, 6), similar(1.2, 1.1), similar(1.2, 1.6)],
        "learner's own pose": [similar(1, 2), similar(1, 1.2), similar(1, 1.1, 6), similar(1, 1.5, 6), similar(1, 1.1), similar(1, 1.6)],
        "video nearest neighbour": [similar(1, 2, 6), similar(3, 1.2), 0, similar(1.1, 1.5, 6), similar(1, 1.1, 6), similar(1, 1.6, 6)],
        "tokenizer round trip (floor)": [similar(2.3, 2), 0, 0, similar(1.6, 1.5, 6), 0, 0],
    }  # fmt: skip


def alike(systems: dict[str, list[str]], references: list[str], clusters: list[str], *more: Any) -> TextScores:
    """Stands for the text metrics: whether a text is the true one, under the names of all suites."""
    rows = {}
    for name, texts in systems.items():
        same = [float(text == true) for text, true in zip(texts, references, strict=True)]
        rows[name] = {metric: item_metric(same, clusters, "0-1", metric) for metric in ("bleu4", "meteor")}
    return TextScores(rows, ["the same note", "empty commentary (floor): not computed"])
