"""Reads what motion capture and its markerless followers write: TRC (Sports2D, Pose2Sim, OpenSim) and C3D."""

import re
from pathlib import Path

import numpy as np

from mm_data.ground.files import read_text
from mm_data.poses.checks import UNITS
from mm_data.poses.joint_maps import NamedMotion


def read_trc(path: Path) -> NamedMotion:
    """Reads a TRC file: tab-separated, five lines of heading, then frame, time and three coordinates of every marker.

    Args:
        path: The file.

    Returns:
        The markers in metres; NaN where a cell is empty.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a TRC file, truncated, without a known unit, or a cell is no number; names the line.
    """
    lines = read_text(path).split("\n")
    if len(lines) < 6 or not lines[0].startswith("PathFileType") or not lines[3].startswith("Frame#"):
        raise ValueError(f"{path}: is no TRC file, whose first line begins with PathFileType and fourth with Frame#.")
    heading = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    names = [cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip()]
    try:
        rate, count = float(heading["DataRate"]), int(heading["NumFrames"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}:3: DataRate or NumFrames is missing or no number; export the file again.") from error
    rows = [_row(path, number, line, len(names)) for number, line in enumerate(lines[5:], start=6) if line.strip()]
    if len(rows) != count:
        raise ValueError(f"{path}: line 3 says {count} frames, and {len(rows)} are there; the file is truncated.")
    positions = np.array(rows).reshape(len(rows), len(names), 3)
    return NamedMotion(names, positions * _metres(heading.get("Units", ""), path), rate)


def read_c3d(path: Path) -> NamedMotion:
    """Reads the points of a C3D file (the ``motion`` extra).

    Args:
        path: The file.

    Returns:
        The points in metres; NaN where the file calls one invalid.

    Raises:
        FileNotFoundError: No such file.
        ModuleNotFoundError: ezc3d is not installed.
        ValueError: Not a C3D file, or without a known unit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        import ezc3d  # type: ignore[import-not-found]
    except ImportError as error:
        raise ModuleNotFoundError("C3D files need ezc3d: pip install 'mm-coach[motion]'.") from error
    try:
        content = ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: is damaged or no C3D file ({error}); export it again.") from error
    about = content["parameters"]["POINT"]
    points = content["data"]["points"]  # [4, M, T]
    names = [name for part in sorted(about) if re.fullmatch(r"LABELS\d*", part) for name in about[part]["value"]]
    if len(names) != points.shape[1]:
        raise ValueError(f"{path}: names {len(names)} points and holds {points.shape[1]}; export it again.")
    invalid = content["data"]["meta_points"]["residuals"][0] < 0  # [M, T]
    positions = np.where(invalid.T[..., None], np.nan, points[:3].transpose(2, 1, 0))
    unit = about["UNITS"]["value"][0] if about["UNITS"]["value"] else ""
    return NamedMotion(names, positions * _metres(unit, path), float(about["RATE"]["value"][0]))


def _row(path: Path, number: int, line: str, markers: int) -> list[float]:
    """Three coordinates of every marker of a line."""
    cells = [cell.strip() for cell in line.split("\t")[2:]]
    further = [cell for cell in cells[3 * markers :] if cell]
    if further:
        raise ValueError(f"{path}:{number}: {further[0]!r} belongs to no marker; line 4 names {markers}.")
    cells = (cells + [""] * 3 * markers)[: 3 * markers]
    try:
        return [float(cell) if cell else np.nan for cell in cells]
    except ValueError as error:
        raise ValueError(f"{path}:{number}: {error}; coordinates are numbers with a point for decimals.") from error


def _metres(unit: str, path: Path) -> float:
    """Metres per unit."""
    if unit.strip().lower() not in ("m", "cm", "mm"):
        raise ValueError(
            f"{path}: its unit is {unit.strip() or 'not said'}; m, cm and mm are known. Export it again in one of them."
        )
    return UNITS[unit.strip().lower()]
