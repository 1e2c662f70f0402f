"""Body poses of a video by MediaPipe, for people who bring a video alone (the ``pose`` extra)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mm_data.poses.joint_maps import FORMATS, array_to_coco, to_z_up
from mm_data.records import FPS
from mm_data.videos.frames import VideoError, iterate_frames, middle_times, read_duration

MIN_FOUND = 0.5
"""Share of the frames in which a person has to be found."""


def estimate_poses(
    video: Path,
    model: Path,
    start: float = 0.0,
    stop: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Finds poses in a video.

    MediaPipe's world landmarks are metric by its own scale and hip-centred; what it calls visible with a probability above
    0.5 is visible here.

    Args:
        video: Video file.
        model: Pose landmarker bundle (``pose_landmarker_*.task``).
        start: First second.
        stop: End, exclusive; None is the video's end.
        progress: Called with (frames done, frames).

    Returns:
        Poses ``[T, 17, 4]`` at 30 fps in metres, hips at the origin, z up, with flag 0 where nobody was found.

    Raises:
        FileNotFoundError: No such video or model.
        ModuleNotFoundError: MediaPipe is not installed.
        ValueError: Nobody was found in half of the frames; gives both numbers.
        VideoError: The video cannot be read.
    """
    if not model.is_file():
        raise FileNotFoundError(f"Pose model {model} does not exist; give a pose_landmarker_*.task file.")
    try:
        import mediapipe as mp  # type: ignore[import-not-found]
    except ImportError as error:
        raise ModuleNotFoundError(
            "Finding poses needs MediaPipe: pip install 'mm-coach[pose]', or give --pose."
        ) from error
    end = read_duration(video) if stop is None else stop
    frames = round((end - start) * FPS)
    if frames < 1:
        raise VideoError(f"{video}: {end - start:.2f} s from {start:.2f} s are less than a frame.")
    times = middle_times(start, start + frames / FPS, frames)
    vision = mp.tasks.vision
    options = vision.PoseLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO
    )
    form = FORMATS["mediapipe"]
    landmarks = np.full((frames, form.joints, 4), np.nan)
    landmarks[..., 3] = 0.0
    with vision.PoseLandmarker.create_from_options(options) as landmarker:
        for index, image in enumerate(iterate_frames(video, times)):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            people = landmarker.detect_for_video(picture, round(1000 * index / FPS)).pose_world_landmarks
            if people:
                landmarks[index] = [(p.x, p.y, p.z, p.visibility) for p in people[0]]
            progress(index + 1, frames)
    seen = int((landmarks[..., 3] > 0).any(1).sum())
    if seen < MIN_FOUND * frames:
        raise ValueError(
            f"{video}: a person was found in {seen} of {frames} frames; at least {MIN_FOUND:.0%} are needed. Choose another stretch with start and stop, or give poses."
        )
    poses = array_to_coco(landmarks, form, str(video))
    poses[..., :3] = to_z_up(poses[..., :3], form.up)
    return poses
