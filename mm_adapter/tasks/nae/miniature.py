"""A synthetic MTL-NAE: dives with judged scores, in the layout that published code reads.

A dive is a key-posture motion in tuck or pike that is turned about the hips while the body flies. Faults have severities, the
judges see them, and the score is difficulty times three judges' marks, as in competition: it can be learned from the motion.
Texts, codes and scores of every number are made up; nothing is copied from the real data.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from mm_adapter.tasks.nae.files import ANNOTATIONS, POSITIONS, ROTATIONS, dive_actions
from mm_data.ground.files import write_atomically
from mm_data.ground.parallel import parallel_map
from mm_data.miniature.activities import smooth_interpolation
from mm_data.miniature.body import Change, Posture, add_change
from mm_data.miniature.performance import SIZE, Performer, finish, record
from mm_data.miniature.render import Camera, Scene
from mm_data.tasks.numbers import in_words

FRAMES = 78
TAKE_OFF, ENTRY = 0.28, 0.92
"""Shares of the dive at which the feet leave the board and the hands reach the water."""

_TIMES = np.array([0.0, 0.16, TAKE_OFF, 0.45, 0.72, 0.86, 1.0])
_BOARD = 1.6  # metres above the floor of the scene
_STAND = Posture(left_hand_z=-0.9, right_hand_z=-0.9)


@dataclass(frozen=True)
class Fault:
    """A fault of a dive.

    Attributes:
        changes: Phase (``shape`` or ``entry``) to what severity 1 adds to its posture.
        turn: Radians that severity 1 adds to the rotation at the entry.
        bad: What commentators say where it is plain, and ``good`` where it is absent.
    """

    changes: dict[str, Change]
    turn: float
    bad: list[str]
    good: list[str]


_TABLES = yaml.safe_load(Path(__file__).with_name("dives.yaml").read_text(encoding="utf-8"))
_POSTURES = {name: replace(_STAND, **fields) for name, fields in _TABLES["postures"].items()}
FAULTS = {name: Fault(**entry) for name, entry in _TABLES["faults"].items()}


@dataclass(frozen=True)
class Dive:
    """One simulated dive with everything that is known about it."""

    key: tuple[int, int]
    split: str
    codes: dict[str, int]
    difficulty: float
    severities: dict[str, float]
    score: float
    captions: list[str]

    @property
    def name(self) -> str:
        """Name of the dive's files."""
        return f"{self.key[0]}_{self.key[1]}"


def write_dives(
    root: Path,
    count: int,
    seed: int,
    workers: int = 2,
    progress: Callable[[int], None] = lambda done: None,
    videos: bool = True,
) -> dict[str, int]:
    """Writes a data set; the same ``(count, seed)`` gives the same content.

    Args:
        root: Folder to create.
        count: Number of dives; a quarter of the broadcasts is the test split.
        seed: Seed of everything drawn.
        workers: Processes that render.
        progress: Called with the number of finished dives.
        videos: Whether to render mp4s; poses are enough for a coach that sees poses alone.

    Returns:
        Split to its number of dives.
    """
    root.mkdir(parents=True, exist_ok=True)
    dives = [draw_dive(index, seed) for index in range(count)]
    lengths = []
    for length in parallel_map(partial(_film, root, seed, videos), dives, workers):
        lengths.append(length)
        progress(len(lengths))
    annotations = {
        # Python's integers and NumPy's, as in the release.
        (np.int64(dive.key[0]), dive.key[1]): {
            "primary_view": 0, "start_frame": 100, "end_frame": 100 + length, **dive.codes,
            "difficulty": dive.difficulty, "final_score": dive.score,
        }
        for dive, length in zip(dives, lengths, strict=True)
    }  # fmt: skip
    (root / ANNOTATIONS).write_bytes(pickle.dumps(annotations, protocol=2))
    for split in ("train", "test"):
        of_split = [dive for dive in dives if dive.split == split]
        (root / f"{split}_split_0.pkl").write_bytes(pickle.dumps([dive.key for dive in of_split], protocol=2))
        lines = [f"{d.name}\t{json.dumps([{'caption': text} for text in d.captions])}\n" for d in of_split]
        write_atomically(root / f"{split}.caption.tsv", "".join(lines))
    truth = {d.name: {"severities": d.severities, "score": d.score} for d in dives}
    return finish(root, {dive.name: dive.split for dive in dives}, truth)


def draw_dive(index: int, seed: int) -> Dive:
    """Draws a dive: codes, faults, judges, texts. Every broadcast has eight."""
    rng = np.random.default_rng([seed, 21, index])
    broadcast = index // 8 + 1
    codes = {
        "position": int(rng.integers(1, 3)),
        "armstand": 0,
        "rotation_type": int(rng.integers(len(ROTATIONS))),
        "ss_no": int(rng.choice([1, 3, 5])),  # halves; odd ones end head first
        "tw_no": 0,
    }
    # As in competition, turning against the direction of the jump and a pike are worth more.
    turning = {"forward": 0.0, "backward": 0.3, "reverse": 0.5, "inward": 0.5}[ROTATIONS[codes["rotation_type"]]]
    difficulty = round(1.0 + 0.4 * codes["ss_no"] + turning + 0.2 * (POSITIONS[codes["position"]] == "pike"), 1)
    severities = {name: float(rng.uniform(0.5, 1) if rng.random() < 0.45 else rng.uniform(0, 0.06)) for name in FAULTS}
    lost = 2.5 * sum(severities.values())
    marks = sorted(float(np.clip(np.round(2 * (9.0 - lost + rng.normal(0, 0.25))) / 2, 0, 10)) for _ in range(7))
    score = round(difficulty * sum(marks[2:5]), 2)
    split = "test" if broadcast % 4 == 0 else "train"
    captions = _captions(rng, dive_actions(codes), severities, score)
    return Dive((broadcast, index % 8 + 1), split, codes, difficulty, severities, score, captions)


def _captions(rng: np.random.Generator, actions: list[str], severities: dict[str, float], score: float) -> list[str]:
    """Five texts about one dive, with the same actions and score."""
    texts = []
    for version, (opening, ending) in enumerate(zip(_TABLES["openings"], _TABLES["scores"], strict=True)):
        plain = [name for name, severity in severities.items() if severity > 0.3]
        comments = [FAULTS[n].bad[rng.integers(2)] for n in plain] or [
            FAULTS[n].good[rng.integers(2)] for n in rng.permutation(list(FAULTS))[:1]
        ]
        middle = f"The diver {' and '.join(comments)}."
        # One version in five spells the score out.
        number = in_words(score) if version == 4 else f"{score:g}"
        texts.append(f"{opening.format(*actions)} {middle} {ending.format(number)}")
    return texts


def dive_joints(rng: np.random.Generator, performer: Performer, dive: Dive) -> np.ndarray:
    """Computes joints ``[T, 17, 3]`` of a dive: standing, take-off, flight with turns about the hips, entry."""

    def faulty(posture: Posture, phase: str) -> np.ndarray:
        vector = posture.vector()
        for name, severity in dive.severities.items():
            add_change(vector, FAULTS[name].changes.get(phase, {}), severity)
        return vector + rng.normal(0, 0.015, vector.shape)

    shape, reach = _POSTURES[POSITIONS[dive.codes["position"]]], _POSTURES["reach"]
    before = [_STAND.vector(), _POSTURES["crouch"].vector(), reach.vector()]
    flight = [faulty(shape, "shape"), faulty(shape, "shape"), faulty(reach, "entry"), faulty(reach, "entry")]
    frames = round(FRAMES * performer.tempo)
    motion = smooth_interpolation(_TIMES, np.array(before + flight), frames)
    waiting = int(rng.integers(0, 24))  # recordings begin at any moment before a dive
    joints = performer.move(rng, np.concatenate([np.repeat(motion[:1], waiting, axis=0), motion]))
    at = np.concatenate([np.zeros(waiting), np.linspace(0, 1, frames)])
    flown = np.clip((at - TAKE_OFF) / (ENTRY - TAKE_OFF), 0, 1)
    direction = -1.0 if ROTATIONS[dive.codes["rotation_type"]] in ("backward", "reverse") else 1.0
    turn = direction * (np.pi * dive.codes["ss_no"] + dive.severities["over_rotation"] * FAULTS["over_rotation"].turn)
    seconds = frames / 30 * (ENTRY - TAKE_OFF)
    height = _BOARD + 2.4 * flown * seconds * (0.75 * seconds - flown * seconds) - 0.3 * flown
    hips = joints[:, [11, 12]].mean(axis=1, keepdims=True)
    angle = -turn * flown
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    away = joints - hips
    turned = np.stack([away[..., 0], c * away[..., 1] - s * away[..., 2], s * away[..., 1] + c * away[..., 2]], axis=-1)
    out = 0.25 + (0.9 if ROTATIONS[dive.codes["rotation_type"]] in ("forward", "reverse") else -0.9) * flown
    moved = hips + np.stack([np.zeros(len(at)), out, height], axis=-1)[:, None]
    return turned + moved


def _film(root: Path, seed: int, video: bool, dive: Dive) -> int:
    """Writes video and poses; returns the number of frames."""
    rng = np.random.default_rng([seed, 22, *dive.key])
    performer = Performer.draw(rng)
    joints = dive_joints(rng, performer, dive)
    eye = np.array([rng.choice([-1, 1]) * rng.uniform(5.0, 5.8), rng.uniform(-0.6, 0.6), 2.0])
    camera = Camera.looking(eye, np.array([0.0, 0.2, 2.2]), 220.0, SIZE)
    edge = (235, 235, 235)
    board: list = [(np.array([0.0, -1.6, _BOARD]), np.array([0.0, 0.25, _BOARD]), edge, 0.09)]
    scene = Scene(None, (0, 0, 0), 0.0, (190, 130, 60), (200, 190, 175), board, [])
    record(root, dive.name, joints, performer.shirt, camera, scene, [seed, 23, *dive.key], video)
    return len(joints)
