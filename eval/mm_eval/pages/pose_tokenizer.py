"""One self-contained page about a tokenizer: what poses look like before and after, and where the error is."""

from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.poses.skeleton import BONES, JOINTS
from mm_eval.metrics.pose_round_trip import Decode, Encode, Motion
from mm_eval.statistics.intervals import interval_text

_TYPICAL, _WORST = 8, 4
_SIZE, _SCALE = 150, 62.0  # pixels, and pixels per metre: a body of two metres fits
_VIEWS = {"front": 0, "side": 1}
"""Name of a view to the horizontal axis that it shows."""


def write_page(path: Path, result: dict[str, Any], motions: list[Motion], encode: Encode, decode: Decode) -> None:
    """Writes ``index.html``.

    Args:
        path: File of the page.
        result: Numbers of `evaluate_tokenizer`, with ``tokenizer``, ``poses``, ``split``, ``fingerprint`` and ``synthetic_data``.
        motions: Sequences that were measured.
        encode: Encoder of canonical poses ``[N, 17, 4]``.
        decode: Decoder of tokens ``[N, M]``.
    """
    poses = np.concatenate([motion.poses for motion in motions])
    labels = [f"{motion.name} frame {frame}" for motion in motions for frame in motion.frames]
    joints = decode(encode(poses))
    error = np.linalg.norm(joints - poses[..., :3], axis=-1) * 1000
    visible = poses[..., 3] > 0
    mean = (error * visible).sum(1) / np.maximum(visible.sum(1), 1)

    def cards(rows: np.ndarray) -> list[dict[str, Any]]:
        return [{"label": labels[r], "error": mean[r], "views": _views(poses[r], joints[r])} for r in rows]

    page = fill_template(
        "mm_eval",
        "pages/pose_tokenizer.html",
        result=result,
        headline=_headline(result),
        joints=[(name, result["mpjpe_mm_per_joint"][name]) for name in JOINTS],
        typical=cards(np.linspace(0, len(poses) - 1, _TYPICAL).astype(int)),
        worst=cards(np.argsort(mean)[::-1][:_WORST]),
        size=_SIZE,
    )
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


def _views(pose: np.ndarray, joints: np.ndarray) -> list[dict[str, Any]]:
    """A frame before and after the round trip, seen from the front and from the side."""
    visible = pose[:, 3] > 0
    return [
        {"name": name, "truth": _bones(pose[:, :3], axis, visible), "decoded": _bones(joints, axis, visible)}
        for name, axis in _VIEWS.items()
    ]


def _bones(joints: np.ndarray, axis: int, visible: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Ends of the bones between visible joints in pixels, seen along the other horizontal axis."""
    x, y = _SIZE / 2 + _SCALE * joints[:, axis], _SIZE / 2 - _SCALE * joints[:, 2]
    return [(x[a], y[a], x[b], y[b]) for a, b in BONES if visible[a] and visible[b]]
