"""Body poses of a stretch of video: one person followed, gaps kept."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mm_data.estimation.follow import NOBODY, follow
from mm_data.estimation.landmarker import FORM, SeenPerson, find_people
from mm_data.poses.checks import check_poses, mask_lost
from mm_data.poses.joint_maps import array_to_coco, to_z_up
from mm_data.records import FPS
from mm_data.videos.frames import VideoError, iterate_frames, middle_times, read_duration

MIN_FOUND = 0.5
"""Share of the frames in which a person has to be found."""


@dataclass(frozen=True)
class FoundPoses:
    """What was found in a stretch of video.

    Attributes:
        poses: ``[T, 17, 4]`` at 30 fps in metres, hips at the origin, z up; flag 0 and NaN where nobody was found or a joint was
            not visible.
        crowded: Number of frames with somebody else in them.
        lost: What the checks of poses took as absent.
        samples: Frame to its picture, with the landmarks ``[33, 3]`` of everybody in it (shares of width and height, visibility), and
            the place of the one who is followed; for the frames that were asked for.
    """

    poses: np.ndarray
    crowded: int
    lost: Counter[str]
    samples: dict[int, tuple[np.ndarray, list[np.ndarray], int]] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Number of frames with a person."""
        return int((self.poses[..., 3] > 0).any(1).sum())

    @property
    def sentences(self) -> list[str]:
        """What a person should know about it."""
        told = [f"Found a person in {self.seen} of {len(self.poses)} frames."]
        if self.crowded:
            told.append(f"In {self.crowded} of them are others too; whoever fills most of the picture is followed.")
        return told + [f"{count:,} {what}." for what, count in self.lost.items() if count]


def find_poses(
    video: Path,
    model: Path,
    start: float = 0.0,
    stop: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    sampled: Collection[int] = (),
) -> FoundPoses:
    """Finds the poses of the person who fills most of the picture.

    MediaPipe's world landmarks are metric by its own scale and hip-centred; what it calls visible with a probability above
    0.5 is visible here. Nothing is smoothed and no gap is filled. What comes out passes the checks of foreign poses.

    Args:
        video: Video file.
        model: Pose landmarker bundle (``pose_landmarker_*.task``).
        start: First second.
        stop: End, exclusive; None is the video's end.
        progress: Called with (frames done, frames).
        sampled: Frames whose pictures are kept, counted from the start.

    Returns:
        The poses.

    Raises:
        FileNotFoundError: No such video or model.
        ModuleNotFoundError: MediaPipe is not installed.
        ValueError: Nobody was found in half of the frames (gives both numbers), or what was found is no person.
        VideoError: The video cannot be read.
    """
    end = read_duration(video) if stop is None else stop
    frames = round((end - start) * FPS)
    if frames < 1:
        raise VideoError(f"{video}: {end - start:.2f} s from {start:.2f} s are less than a frame.")
    pictures: dict[int, np.ndarray] = {}

    def looked_at() -> Iterator[np.ndarray]:
        for index, image in enumerate(iterate_frames(video, middle_times(start, start + frames / FPS, frames))):
            if index in sampled:
                pictures[index] = image
            yield image

    people: list[list[SeenPerson]] = []
    for seen in find_people(looked_at(), model):
        people.append(seen)
        progress(len(people), frames)
    followed = follow([[person.box for person in seen] for seen in people])
    landmarks = np.full((frames, FORM.joints, 4), np.nan)
    landmarks[..., 3] = 0.0
    for index in np.flatnonzero(followed != NOBODY):
        landmarks[index] = people[index][followed[index]].world
    samples = {
        index: (image, [np.c_[person.picture, person.world[:, 3]] for person in people[index]], int(followed[index]))
        for index, image in pictures.items()
    }
    poses, lost = _checked(landmarks, video)
    found = FoundPoses(poses, sum(len(seen) > 1 for seen in people), lost, samples)
    if found.seen < MIN_FOUND * frames:
        raise ValueError(
            f"{video}: a person was found in {found.seen} of {frames} frames; at least {MIN_FOUND:.0%} are needed. "
            "Choose another stretch with start and stop, or give poses."
        )
    return found


def _checked(landmarks: np.ndarray, video: Path) -> tuple[np.ndarray, Counter[str]]:
    """Landmarks ``[T, 33, 4]`` as poses, with what `mm_data.poses.checks` takes as absent."""
    lost: Counter[str] = Counter()
    poses = array_to_coco(landmarks, FORM, str(video))
    poses[..., :3] = to_z_up(poses[..., :3], FORM.up)
    if (poses[..., 3] > 0).any():
        poses = check_poses(mask_lost(poses, lost), str(video), lost)
    return poses, +lost
