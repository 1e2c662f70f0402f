"""One performance in front of one standing camera: what the miniatures of diving and of the gym consist of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.ground.synthetic import mark_synthetic
from mm_data.miniature.body import POSTURE_INDEX, Physique, add_change, mirrored, pose_joints
from mm_data.miniature.render import Camera, Scene, draw_frames, write_video
from mm_data.miniature.simulate import sway
from mm_data.poses.archive import PoseArchive
from mm_data.poses.manifest import PoseManifest, PoseSequence
from mm_data.records import SPLITS

SIZE = (256, 192)
JITTER = 0.004
"""Metres, per coordinate: estimated poses are never clean."""


_STYLE = {
    "lean": 0.05, "tilt": 0.04, "twist": 0.12, "head_down": 0.15, "head_turn": 0.2,
    "right_elbow_swivel": 0.3, "left_elbow_swivel": 0.3, "right_knee_swivel": 0.15, "left_knee_swivel": 0.15,
    "right_hand_x": 0.06, "left_hand_x": 0.06, "right_hand_y": 0.08, "left_hand_y": 0.08,
}  # fmt: skip
"""Spread of habits that nobody judges; with them the nearest motion is not the most alike performance."""


@dataclass(frozen=True)
class Performer:
    """A body with a handedness, a shirt, a tempo and habits."""

    physique: Physique
    left_handed: bool
    shirt: tuple[int, int, int]
    tempo: float
    style: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Performer":
        """Draws a performer."""
        red, green, blue = (int(value) for value in rng.integers(60, 230, 3))
        style = np.zeros(len(POSTURE_INDEX))
        add_change(style, {name: rng.normal(0, spread) for name, spread in _STYLE.items()})
        physique, left_handed = Physique.sample(rng), bool(rng.random() < 0.4)
        return cls(physique, left_handed, (red, green, blue), float(rng.uniform(0.88, 1.12)), style)

    def move(self, rng: np.random.Generator, postures: np.ndarray) -> np.ndarray:
        """Returns joints ``[T, 17, 3]`` in body axes, with small movement of every posture value."""
        joints = pose_joints(postures + self.style + sway(rng, postures.shape), self.physique)
        return mirrored(joints) if self.left_handed else joints


def record(
    root: Path,
    name: str,
    joints: np.ndarray,
    shirt: tuple[int, int, int],
    camera: Camera,
    scene: Scene,
    seed: Sequence[int],
    video: bool = True,
) -> None:
    """Writes a performance's video and its poses, as an estimator would have found them.

    Args:
        root: The data set: ``videos/<name>.mp4`` and, in a pose folder beside the release, ``poses/poses/<name>.npy``.
        name: Name of the clip.
        joints: ``[T, 17, 3]`` in metres, z up.
        shirt: Colour of the shirt.
        camera: Camera that stands.
        scene: Props around the performer.
        seed: Seed of the poses' noise.
        video: Whether to render the video.
    """
    if video:
        frames = draw_frames(joints, shirt, scene, camera, lambda points: points, SIZE)
        write_video(root / "videos" / f"{name}.mp4", SIZE, frames)
    noisy = joints + np.random.default_rng(seed).normal(0, JITTER, joints.shape)
    poses = np.concatenate([noisy, np.ones((*noisy.shape[:2], 1))], axis=-1).astype(np.float32)
    archive = PoseArchive(root / "poses")
    archive.folder.mkdir(parents=True, exist_ok=True)
    np.save(archive.path(name), poses)


def finish(root: Path, splits: dict[str, str], truth: dict[str, Any]) -> dict[str, int]:
    """Makes ``ROOT/poses`` a pose folder and writes the sidecar.

    Args:
        root: The data set.
        splits: Clip to its split.
        truth: Clip to what was made up about it.

    Returns:
        Split to its number of clips.
    """
    sequences = [PoseSequence(name, split) for name, split in splits.items()]
    PoseManifest(synthetic=True, sequences=sequences).write(root / "poses", indent=None)
    write_atomically(root / "truth.json", json.dumps(truth))
    mark_synthetic(root)
    return {split: list(splits.values()).count(split) for split in SPLITS}
