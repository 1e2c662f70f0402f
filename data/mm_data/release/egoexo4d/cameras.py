"""Camera calibration of a take, from either published file, always as world to camera."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.safe_load import read_json


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    Attributes:
        intrinsics: ``[3, 3]``.
        extrinsics: ``[3, 4]`` world to camera for a fixed camera; ``[F, 3, 4]`` for a moving one.
        frames: ``[F]`` take frames of a moving camera's extrinsics, ascending; None for a fixed one.
        distortion: ``[4]`` fisheye coefficients k1 to k4; zeros without.
    """

    intrinsics: np.ndarray
    extrinsics: np.ndarray
    frames: np.ndarray | None
    distortion: np.ndarray

    def at(self, frame: int) -> np.ndarray | None:
        """Extrinsics ``[3, 4]`` at a frame; None where a moving camera has none."""
        if self.frames is None:
            return self.extrinsics
        row = int(np.searchsorted(self.frames, frame))
        return self.extrinsics[row] if row < len(self.frames) and self.frames[row] == frame else None


def read_camera_poses(path: Path) -> dict[str, Camera]:
    """Reads ``ego_pose/<split>/camera_pose/<take_uid>.json``; per-frame extrinsics may have gaps.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: A matrix has another shape; names the file and the camera.
    """
    cameras = {}
    content = read_json(path, "camera poses come with `--parts annotations --benchmarks egopose`")
    for name, entry in _by_camera(content).items():
        if "camera_intrinsics" not in entry or "camera_extrinsics" not in entry:
            raise ValueError(f"{path}: camera {name!r} lacks intrinsics or extrinsics; download the file again.")
        extrinsics, frames = entry["camera_extrinsics"], None
        if isinstance(extrinsics, dict):
            frames = np.array(sorted(map(int, extrinsics)), np.int64)
            extrinsics = [extrinsics[str(frame)] for frame in frames]
        camera = Camera(
            np.asarray(entry["camera_intrinsics"], np.float64),
            np.asarray(extrinsics, np.float64).reshape(-1, 3, 4) if frames is not None else np.asarray(extrinsics, np.float64),
            frames,
            np.asarray(entry.get("distortion_coeffs") or np.zeros(4), np.float64),
        )  # fmt: skip
        if camera.intrinsics.shape != (3, 3) or camera.extrinsics.shape[-2:] != (3, 4):
            raise ValueError(
                f"{path}: camera {name!r} has intrinsics {camera.intrinsics.shape} and extrinsics {camera.extrinsics.shape}; "
                "expected (3, 3) and (3, 4)."
            )
        cameras[name] = camera
    return cameras


def _by_camera(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Shipped files are keyed by camera; the documentation nests cameras in frames."""
    entries = {name: entry for name, entry in content.items() if name != "metadata"}
    if not all(name.isdigit() for name in entries):
        return entries
    cameras: dict[str, dict[str, Any]] = {}
    for frame, views in entries.items():
        for name, view in views.items():
            camera = cameras.setdefault(name, {**view, "camera_extrinsics": {}})
            camera["camera_extrinsics"][frame] = view["camera_extrinsics"]
    return cameras


def read_gopro_calibration(path: Path) -> dict[str, Camera]:
    """Reads ``trajectory/gopro_calibs.csv``, which holds **camera to world** and is inverted here.

    Raises:
        FileNotFoundError: The file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: camera trajectories come with `--parts take_trajectory`.")
    cameras = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            x, y, z, w = (float(row[f"q{axis}_world_cam"]) for axis in "xyzw")
            position = np.array([float(row[f"t{axis}_world_cam"]) for axis in "xyz"])
            rotation = np.array(
                [
                    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
                ]
            ) / (x * x + y * y + z * z + w * w or 1.0)  # fmt: skip
            fx, fy, cx, cy, *distortion = (float(row[f"intrinsics_{i}"]) for i in range(8))
            cameras[row["cam_uid"]] = Camera(
                np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
                np.hstack([rotation.T, (-rotation.T @ position)[:, None]]),
                None,
                np.array(distortion),
            )
    return cameras
