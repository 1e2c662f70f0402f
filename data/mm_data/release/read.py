"""Opens any data set that tuples can be built from, and the file of one take's poses."""

from collections import Counter
from pathlib import Path

import numpy as np

from mm_data.ground.funnel import Funnel
from mm_data.poses.checks import check_poses, check_upright, mask_lost, trunk
from mm_data.records import FPS, Source, Take
from mm_data.release.egoexo4d import load_poses, read_release
from mm_data.release.own_videos import is_own_data, load_own_poses, read_own_data


def read_source(root: Path, max_drop_rate: float = 0.5) -> Source:
    """Reads an Ego-Exo4D download, a miniature, or a folder of one's own videos.

    Args:
        root: Folder of the data set.
        max_drop_rate: Largest share of takes, and of remarks, that may be unusable.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: A file is malformed, or too much had to be dropped.
    """
    return read_own_data(root, max_drop_rate) if is_own_data(root) else read_release(root, max_drop_rate)


_ACCEPTED = (
    "poses are an .npy or .npz file with one array [T, 17, 3 or 4] in metres, z up, 30 fps, "
    "or an Ego-Exo4D body pose file (.json)."
)
ENDS_EARLY = "takes whose poses end before their video: another frame rate?"
_EARLY, _EARLY_SECONDS = 0.05, 0.2  # share and seconds of a video that poses may lack at its end


def load_pose_file(path: Path, notes: Counter[str] | None = None) -> np.ndarray:
    """Reads poses ``[T, 17, 4]`` of one take from Ego-Exo4D's JSON or a NumPy file, as `mm_data.poses.checks` lets them pass.

    What kind of file it is, is read off its first bytes. The axis that points up is left to `check_upright`, because only
    many sequences, or the one that somebody asks about, can say.

    Args:
        path: The file.
        notes: Receives counts of irregularities that were read without losing the file.

    Returns:
        The poses.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of another kind, malformed, or cannot be a person in metres.
    """
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder; {_ACCEPTED}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the file does not exist; {_ACCEPTED}")
    mine: Counter[str] = Counter()
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise ValueError(f"{path}: the file is empty; {_ACCEPTED}")
    if start.startswith((b"\x93NUMPY", b"PK")):
        poses = load_own_poses(path)
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
        poses = load_poses(path, notes=mine)
    else:
        raise ValueError(f"{path}: this is no pose file; {_ACCEPTED}")
    lost: Counter[str] = Counter()
    poses = check_poses(mask_lost(poses, lost), str(path), lost)
    if notes is not None:
        notes.update(mine + lost)
    return poses


def load_clip_poses(path: Path, notes: Counter[str] | None = None) -> np.ndarray:
    """Reads poses ``[T, 17, 4]`` of a single clip, as `load_pose_file`, standing upright.

    Args:
        path: The file.
        notes: Receives counts of irregularities that were read without losing the file.

    Returns:
        The poses.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As `load_pose_file`, or the person stands along another axis than z.
    """
    poses = load_pose_file(path, notes)
    check_upright([trunk(poses)], str(path))
    return poses


def ends_early(frames: int, duration: float) -> str | None:
    """Says of poses that end well before their video how long both are, and which frame rate would fit."""
    seconds, fitting = frames / FPS, frames / duration
    if frames >= (1 - _EARLY) * duration * FPS or duration - seconds < _EARLY_SECONDS:
        return None
    poses = f"{frames} frames, {seconds:.1f} s at {FPS} fps"
    return f"{poses}; the video is {duration:.1f} s long, as it would be at {fitting:.1f} fps"


def split_by_participant(takes: dict[str, Take], funnel: Funnel) -> dict[str, str]:
    """Returns take uid to ``train`` or ``test``. The release splits by take, so a test participant's training takes are dropped."""
    held_out = {take.participant for take in takes.values() if take.split == "val"}
    splits = {}
    for uid, take in takes.items():
        if take.split == "val":
            splits[uid] = "test"
        elif take.split == "train" and take.participant in held_out:
            funnel.drop("training take of a test participant", uid, expected=True)
            continue
        elif take.split == "train":
            splits[uid] = "train"
        else:
            funnel.drop("test split: annotations are redacted", uid, expected=True)
            continue
        funnel.keep()
    return splits
