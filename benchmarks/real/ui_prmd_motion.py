"""UI-PRMD (Vakanski et al. 2018) as motion files of COCO-17 joints, one per repetition.

The markers lie on the skin. A marker at exactly (0, 0, 0) was not seen. Hips are estimated from the four of the pelvis (14 % of the ASIS
distance medial, 19 % back, 30 % down); nothing stands for the face.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_data.poses.skeleton import JOINT_INDEX, absent_poses

EXERCISES = (
    "deep squat", "hurdle step", "inline lunge", "side lunge", "sit to stand", "standing leg raise",
    "shoulder abduction", "shoulder extension", "shoulder rotation", "shoulder scaption",
)  # fmt: skip
_KEY = re.compile(r"(correct|incorrect)/m(\d\d)_s(\d\d)_e(\d\d)")
_AT = {
    "left-shoulder": ("LSHO",), "right-shoulder": ("RSHO",), "left-elbow": ("LELB",), "right-elbow": ("RELB",),
    "left-wrist": ("LWRA", "LWRB"), "right-wrist": ("RWRA", "RWRB"), "left-knee": ("LKNE",),
    "right-knee": ("RKNE",), "left-ankle": ("LANK",), "right-ankle": ("RANK",),
}  # fmt: skip
_MEDIAL, _BACK, _DOWN = 0.14, 0.19, 0.30  # of the distance between the front points of the pelvis


@dataclass(frozen=True)
class Repetition:
    """One repetition of an exercise.

    Attributes:
        name: Such as ``m01_s03_correct_e07``.
        person: Such as ``s03``.
        exercise: Name of the exercise.
        verdict: ``correct`` or ``incorrect``.
        poses: ``[T, 17, 4]`` in millimetres, z up, 30 fps.
    """

    name: str
    person: str
    exercise: str
    verdict: str
    poses: np.ndarray


def read_repetitions(folder: Path) -> Iterator[Repetition]:
    """Reads ``vicon_30hz_mm.npz`` of a folder.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: An array's name does not say exercise, person and repetition.
    """
    with np.load(folder / "vicon_30hz_mm.npz", allow_pickle=False) as arrays:
        names = [str(name) for name in arrays["marker_names"]]
        for key in sorted(set(arrays.files) - {"marker_names"}):
            match = _KEY.fullmatch(key)
            if match is None:
                raise ValueError(f"{folder}: array {key!r} is not named correct|incorrect/mMM_sSS_eEE.")
            verdict, exercise, person, repetition = match.groups()
            name = f"m{exercise}_s{person}_{verdict}_e{repetition}"
            poses = markers_to_coco(arrays[key].astype(float), names)
            yield Repetition(name, f"s{person}", EXERCISES[int(exercise) - 1], verdict, poses)


def markers_to_coco(markers: np.ndarray, names: list[str]) -> np.ndarray:
    """Brings markers ``[T, M, 3]`` to ``[T, 17, 4]`` with flag 0 where a marker that a joint needs was not seen."""
    markers = np.where((markers == 0).all(-1, keepdims=True), np.nan, markers)
    at = {name: markers[:, index] for index, name in enumerate(names)}
    joints = {joint: np.mean([at[name] for name in of], axis=0) for joint, of in _AT.items()}
    joints |= _hips(at)
    poses = absent_poses(len(markers))
    for joint, points in joints.items():
        seen = np.isfinite(points).all(-1)
        poses[seen, JOINT_INDEX[joint], :3] = points[seen]
        poses[seen, JOINT_INDEX[joint], 3] = 1.0
    return poses


def _hips(at: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hip centres from the pelvis' four markers."""
    across = at["RASI"] - at["LASI"]
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    right = across / width
    forward = (at["LASI"] + at["RASI"] - at["LPSI"] - at["RPSI"]) / 2
    forward -= (forward * right).sum(-1, keepdims=True) * right
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    down = np.where(down[..., 2:] > 0, -down, down)
    inside = {"left-hip": at["LASI"] + _MEDIAL * across, "right-hip": at["RASI"] - _MEDIAL * across}
    return {joint: point - _BACK * width * forward + _DOWN * width * down for joint, point in inside.items()}
