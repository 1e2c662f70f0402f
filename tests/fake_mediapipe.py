"""A landmarker in MediaPipe's place: it is told who stands where, so that tests need neither the package nor a model."""

import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

_BODY = {
    0: (0.0, -0.7), 11: (0.18, -0.5), 12: (-0.18, -0.5), 13: (0.2, -0.22), 14: (-0.2, -0.22), 15: (0.22, 0.03), 16: (-0.22, 0.03),
    23: (0.1, 0.0), 24: (-0.1, 0.0), 25: (0.1, 0.42), 26: (-0.1, 0.42), 27: (0.1, 0.84), 28: (-0.1, 0.84),
}  # fmt: skip
"""Landmark to metres right of and below the hips; all others are not visible."""


class StandIn:
    """Somebody who faces the camera.

    Args:
        x: Where the hips are, as a share of the picture's width.
        height: Height, as a share of the picture's.
        hidden: Landmarks that are not visible.
        raised: Metres by which the left wrist is raised.
    """

    def __init__(self, x: float = 0.5, height: float = 0.8, hidden: Sequence[int] = (), raised: float = 0.0) -> None:
        self.x, self.height, self.hidden, self.raised = x, height, hidden, raised

    def landmarks(self) -> tuple[list[SimpleNamespace], list[SimpleNamespace]]:
        """In the world and in the picture."""
        world, picture = [], []
        for index in range(33):
            x, y = _BODY.get(index, (0.0, 0.0))
            y -= self.raised if index == 15 else 0.0
            visibility = 0.9 if index in _BODY and index not in self.hidden else 0.1
            world.append(SimpleNamespace(x=x, y=y, z=0.02 * index / 33, visibility=visibility))
            scale = self.height / 1.54
            picture.append(SimpleNamespace(x=self.x + scale * x, y=0.5 + scale * y, z=0.0, visibility=visibility))
        return world, picture


def install(monkeypatch: pytest.MonkeyPatch, seen: Callable[[np.ndarray, int], Sequence[StandIn]]) -> list[np.ndarray]:
    """Puts the fake in MediaPipe's place.

    Args:
        monkeypatch: Takes it away again.
        seen: Called with a picture and how many were looked at since the landmarker was opened; says who is in it.

    Returns:
        A list that every picture is appended to.
    """
    pictures: list[np.ndarray] = []

    class Landmarker:
        def __init__(self) -> None:
            self.looked = 0

        def __enter__(self) -> "Landmarker":
            return self

        def __exit__(self, *_: object) -> None: ...

        def detect(self, image: np.ndarray) -> SimpleNamespace:
            pictures.append(image)
            people = [person.landmarks() for person in seen(image, self.looked)]
            self.looked += 1
            return SimpleNamespace(
                pose_world_landmarks=[world for world, _ in people], pose_landmarks=[picture for _, picture in people]
            )

    fake: Any = ModuleType("mediapipe")
    fake.Image, fake.ImageFormat = lambda data, **_: data, SimpleNamespace(SRGB=1)
    fake.tasks = SimpleNamespace(
        vision=SimpleNamespace(
            PoseLandmarkerOptions=lambda **_: None,
            RunningMode=SimpleNamespace(IMAGE=1),
            PoseLandmarker=SimpleNamespace(create_from_options=lambda _: Landmarker()),
        ),
        BaseOptions=lambda **_: None,
    )
    monkeypatch.setitem(sys.modules, "mediapipe", fake)
    return pictures
