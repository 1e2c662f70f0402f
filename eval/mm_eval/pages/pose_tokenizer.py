"""One self-contained page about a tokenizer: what poses look like before and after, and where the error is."""

import html
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.poses.skeleton import BONES, JOINTS
from mm_eval.metrics.pose_round_trip import Decode, Encode, Motion
from mm_eval.statistics.intervals import interval_text

_TYPICAL, _WORST = 8, 4
_SIZE, _SCALE = 150, 62.0  # pixels, and pixels per metre: a body of two metres fits
_VIEWS = (("front", 0), ("side", 1))


def write_page(path: Path, result: dict[str, Any], motions: list[Motion], encode: Encode, decode: Decode) -> None:
    """Writes ``index.html``.

    Args:
        path: The page.
        result: From `evaluate_tokenizer`, with ``tokenizer``, ``poses``, ``split``, ``fingerprint`` and ``synthetic_data``.
        motions: What was measured.
        encode: See `mm_eval.metrics.pose_round_trip.Encode`.
        decode: See `mm_eval.metrics.pose_round_trip.Decode`.
    """
    poses = np.concatenate([motion.poses for motion in motions])
    labels = [f"{motion.name} frame {frame}" for motion in motions for frame in motion.frames]
    joints = decode(encode(poses))
    error = np.linalg.norm(joints - poses[..., :3], axis=-1) * 1000
    visible = poses[..., 3] > 0
    mean = (error * visible).sum(1) / np.maximum(visible.sum(1), 1)
    typical = np.linspace(0, len(poses) - 1, _TYPICAL).astype(int)
    worst = np.argsort(mean)[::-1][:_WORST]

    def cards(rows: np.ndarray) -> str:
        return "".join(_card(labels[row], mean[row], poses[row], joints[row]) for row in rows)

    page = Template(files("mm_eval.pages").joinpath("pose_tokenizer.html").read_text()).substitute(
        tokenizer=html.escape(f"{result['tokenizer']} ({result['fingerprint'][:16]})"),
        source=html.escape(f"{result['poses']}, {result['split']} split: {result['frames']} frames of {result['sequences']} sequences"),
        flag="<p class='flag'>Synthetic data: these numbers say nothing about people.</p>" if result["synthetic_data"] else "",
        headline="".join(_row(cells) for cells in _headline(result)),
        hidden="".join(
            _row([str(row["hidden"]), *(f"{row[key]:.1f}" for key in ("shown_mm", "hidden_mm", "shown_moved_mm"))])
            for row in result["hidden_joints"]
        ),
        joints=_bars({name: result["mpjpe_mm_per_joint"][name] for name in JOINTS}),
        regions=_bars(result["mpjpe_mm_per_region"]),
        typical=cards(typical),
        worst=cards(worst),
    )  # fmt: skip
    write_atomically(path, page)


def _headline(result: dict[str, Any]) -> list[list[str]]:
    rows = []
    for key, name in (("pa_mpjpe_mm", "PA-MPJPE, mm"), ("mpjpe_mm", "MPJPE, mm")):
        value = f"{result[key]['value']:.1f} ({interval_text(result[key]['interval'], 1)})"
        rows.append([name, value, f"{result['mean_pose'][key]:.0f}"])
    return [
        *rows,
        ["velocity error, mm/s", f"{result['velocity_error_mm_s']:.0f}", ""],
        ["codes used (perplexity)", f"{result['codes_used']:.1%} ({result['perplexity']:.0f})", ""],
        ["codes unchanged by encode → decode → encode", f"{result['codes_unchanged']:.1%}", ""],
        ["MPJPE of mirrored poses, mm", f"{result['mirrored_mpjpe_mm']:.1f}", ""],
        ["mirrored input against mirrored output, mm", f"{result['mirror_gap_mm']:.1f}", ""],
    ]


def _row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _bars(values: dict[str, float | None]) -> str:
    top = max((value for value in values.values() if value is not None), default=1.0)
    rows = []
    for index, (name, value) in enumerate(values.items()):
        y, width = index * 18, 0.0 if value is None else value / top * 200
        text = "never visible" if value is None else f"{value:.1f}"
        rows.append(
            f"<text x='112' y='{y + 13}' text-anchor='end'>{html.escape(name)}</text>"
            f"<rect x='118' y='{y + 3}' width='{width:.1f}' height='12'/><text x='{122 + width:.1f}' y='{y + 13}'>{text}</text>"
        )
    return f"<svg class='bars' viewBox='0 0 370 {18 * len(values)}' width='370'>{''.join(rows)}</svg>"


def _card(label: str, error: float, pose: np.ndarray, joints: np.ndarray) -> str:
    visible = pose[:, 3] > 0
    drawings = "".join(
        f"<svg viewBox='0 0 {_SIZE} {_SIZE}' width='{_SIZE}'>"
        f"<g class='truth'>{_skeleton(pose[:, :3], axis, visible)}</g><g class='decoded'>{_skeleton(joints, axis, visible)}</g>"
        f"<text x='4' y='12'>{name}</text></svg>"
        for name, axis in _VIEWS
    )
    return f"<figure>{drawings}<figcaption>{html.escape(label)}: {error:.1f} mm</figcaption></figure>"


def _skeleton(joints: np.ndarray, axis: int, visible: np.ndarray) -> str:
    """Bones between visible joints, seen along the other horizontal axis."""
    x, y = _SIZE / 2 + _SCALE * joints[:, axis], _SIZE / 2 - _SCALE * joints[:, 2]
    return "".join(
        f"<line x1='{x[a]:.1f}' y1='{y[a]:.1f}' x2='{x[b]:.1f}' y2='{y[b]:.1f}'/>"
        for a, b in BONES
        if visible[a] and visible[b]
    )
