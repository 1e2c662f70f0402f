"""What the decoding processes do with an uploaded clip."""

import io
import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from mm_adapter.features.extract import load_clip
from mm_adapter.inference.own_clip import Stretch, find_poses, learner_codes
from mm_adapter.samples.clip_stores import LEARNER
from mm_adapter.serving.http.exported_coach import Export
from mm_data.records import VideoClip

MEMORY_GIB = 4
"""Address space of a decoding process beyond what its models take."""


@dataclass(frozen=True)
class PreparedClip:
    """What is kept of a clip.

    Attributes:
        seconds: Length.
        frames: View to the PNG files of the frames that the encoder sees, in the coach's order of views.
        codes: Pose codes ``[T, M]``, or None where the coach sees no poses and none were given.
        joints: Canonical poses ``[T, 17, 4]`` behind the codes, or None.
        notes: What the learner should know.
    """

    seconds: float
    frames: dict[str, list[bytes]]
    codes: np.ndarray | None
    joints: np.ndarray | None
    notes: list[str]


_opened: tuple[Export, Path | None] | None = None


def open_worker(folder: Path, pose_model: Path | None) -> None:
    """Prepares a process: opens what it needs and limits what it may take beyond."""
    global _opened
    torch.set_num_threads(1)
    _opened = Export.open(folder), pose_model
    limit = psutil.Process().memory_info().vms + MEMORY_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def prepare_clip(folder: Path, views: list[str], start: float, stop: float | None) -> PreparedClip:
    """Prepares videos and poses of a folder as training clips were, in a worker.

    Args:
        folder: Holds a file per view, and ``pose.npy`` or ``pose.json`` where poses were given.
        views: Names of the files.
        start: First second.
        stop: End; None is the shortest video's.

    Returns:
        The clip.

    Raises:
        ValueError: Something is wrong with the videos or poses; the message names no path.
    """
    assert _opened is not None
    coach, pose_model = _opened
    try:
        return _prepare(coach, pose_model, folder, views, start, stop)
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
        for name in (*views, "pose.npy", "pose.json"):
            what = "The poses" if name.startswith("pose") else f"The {name} video"
            message = message.replace(str(folder / name), what)
        raise ValueError(message) from None


def _prepare(
    coach: Export, pose_model: Path | None, folder: Path, views: list[str], start: float, stop: float | None
) -> PreparedClip:
    stretch, notes = Stretch.of({view: folder / view for view in views}, start, stop), []
    frames = {}
    if coach.encoder is not None:
        needed, encoder = coach.config.views, coach.encoder
        complete, lacking = stretch.with_views(needed)
        if lacking:
            notes.append(f"No {' and '.join(lacking)} video: the {views[0]} video stands in for it.")
        clip = VideoClip(
            LEARNER, {view: str(path) for view, path in complete.videos.items()}, stretch.start, stretch.stop
        )
        loaded = load_clip(clip, needed, Path("/"), encoder, "pyav")
        if isinstance(loaded, str):
            raise ValueError(loaded)
        images = {view: video.permute(1, 2, 3, 0).numpy() for view, video in zip(needed, loaded, strict=True)}
        frames = {view: [_png(image) for image in video] for view, video in images.items()}
    codes = joints = None
    file = next(iter(sorted(folder.glob("pose.*"))), None)
    finder = None if coach.config.pose_form == "none" else pose_model
    poses, left_out = find_poses(stretch, file, "The pose file", finder)
    notes += left_out
    if poses is None and coach.config.pose_form != "none":
        raise ValueError(
            "This coach needs poses and the server finds none by itself: send them too, as .npy [T, 17, 4] at 30 fps "
            "or an Ego-Exo4D pose file."
        )
    if poses is not None:
        codes, joints = learner_codes(poses, coach.pose_tokenizer, coach.config.pose_frames)
    return PreparedClip(stretch.stop - stretch.start, frames, codes, joints, notes)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
    return file.getvalue()
