"""Who is followed where several people are in the picture: whoever fills most of it over the clip."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

NOBODY = -1
_SAME = 0.2  # overlap of boxes, over their union, above which they are one person's
_FORGOTTEN = 15  # frames after which a box is no longer gone on from
_SIZES = 2.0  # somebody who comes back is not this much taller or smaller


@dataclass
class _Track:
    """One person's boxes.

    Attributes:
        boxes: Frame to box.
        places: Frame to the place in the frame's list.
    """

    boxes: dict[int, np.ndarray] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last frame."""
        return max(self.boxes)

    @property
    def size(self) -> float:
        """The sum of the boxes' areas: large people who are there for long."""
        return float(sum(_area(box) for box in self.boxes.values()))

    @property
    def height(self) -> float:
        """The median height of the boxes."""
        return float(np.median([box[3] - box[1] for box in self.boxes.values()]))


def follow(boxes: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Follows the person who fills most of the picture.

    Boxes that overlap from frame to frame are one person's. Where that person is lost, whoever is there instead is taken for them,
    unless more than twice or less than half as tall: a bystander in the background stays one.

    Args:
        boxes: For every frame, left, top, right and bottom of everybody in it.

    Returns:
        For every frame the place of the followed person in its list, or `NOBODY`, ``[T]``.
    """
    tracks = _tracks(boxes)
    followed = np.full(len(boxes), NOBODY)
    if not tracks:
        return followed
    ranked = sorted(tracks, key=lambda track: (-track.size, min(track.boxes)))
    height = ranked[0].height
    for track in ranked:
        frames = list(track.places)
        same_size = height / _SIZES <= track.height <= height * _SIZES
        if same_size and (followed[frames] == NOBODY).all():
            followed[frames] = [track.places[frame] for frame in frames]
    return followed


def _tracks(boxes: Sequence[Sequence[np.ndarray]]) -> list[_Track]:
    """Joins boxes that overlap, the best match first."""
    tracks: list[_Track] = []
    for frame, seen in enumerate(boxes):
        recent = [track for track in tracks if frame - track.last <= _FORGOTTEN]
        pairs = [
            (_overlap(track.boxes[track.last], box), t, p)
            for t, track in enumerate(recent)
            for p, box in enumerate(seen)
        ]
        free_tracks, free_places = set(range(len(recent))), set(range(len(seen)))
        for overlap, t, p in sorted(pairs, key=lambda pair: -pair[0]):
            if overlap > _SAME and t in free_tracks and p in free_places:
                recent[t].boxes[frame], recent[t].places[frame] = seen[p], p
                free_tracks.remove(t)
                free_places.remove(p)
        tracks += [_Track({frame: seen[p]}, {frame: p}) for p in sorted(free_places)]
    return tracks


def _area(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    common = _area(np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])]))
    return common / max(_area(one) + _area(other) - common, 1e-9)
