"""MediaPipe's pose landmarker (the ``pose`` extra): everybody whom it sees in a frame."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_data.poses.joint_maps import FORMATS

FORM = FORMATS["mediapipe"]
MOST_PEOPLE = 4
"""People who are looked for in a frame."""


@dataclass(frozen=True)
class SeenPerson:
    """Somebody in one frame.

    Attributes:
        world: Landmarks ``[33, 4]`` in metres by the model's own scale, hips at the origin, y down; and how visible each is.
        picture: The same landmarks ``[33, 2]`` in the picture, as shares of its width and height.
    """

    world: np.ndarray
    picture: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """Left, top, right and bottom of the visible landmarks, as shares of the picture."""
        visible = self.picture[self.world[:, 3] > FORM.min_visibility]
        points = visible if len(visible) else self.picture
        return np.concatenate([points.min(0), points.max(0)])


def find_people(frames: Iterable[np.ndarray], model: Path) -> Iterator[list[SeenPerson]]:
    """Finds people frame by frame.

    Every frame is looked at by itself: in MediaPipe's mode for videos with one person, landmarks are smoothed over time without a
    word, which takes nine tenths of a quiet movement's changes away.

    Args:
        frames: RGB pictures ``[H, W, 3]`` uint8.
        model: Pose landmarker bundle (``pose_landmarker_*.task``).

    Yields:
        The people of a frame, surest first; at most `MOST_PEOPLE`.

    Raises:
        FileNotFoundError: No such model.
        ModuleNotFoundError: MediaPipe is not installed.
        ValueError: The model cannot be opened.
    """
    if not model.is_file():
        raise FileNotFoundError(f"Pose model {model} does not exist; give a pose_landmarker_*.task file.")
    try:
        import mediapipe as mp  # type: ignore[import-not-found]
    except ImportError as error:
        raise ModuleNotFoundError(
            "Finding poses needs MediaPipe: pip install 'mm-coach[pose]', or give poses of your own."
        ) from error
    vision = mp.tasks.vision
    options = vision.PoseLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.IMAGE,
        num_poses=MOST_PEOPLE,
    )
    try:
        landmarker = vision.PoseLandmarker.create_from_options(options)
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{model} is no pose landmarker that MediaPipe opens ({reason}); download it again."
        ) from error
    with landmarker:
        for frame in frames:
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            found = landmarker.detect(picture)
            yield [
                SeenPerson(
                    np.array([(p.x, p.y, p.z, p.visibility) for p in world]), np.array([(p.x, p.y) for p in places])
                )
                for world, places in zip(found.pose_world_landmarks, found.pose_landmarks, strict=True)
            ]
