"""A learner's own clip, prepared by the code that prepared training clips, beside the clips of a tuple folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mm_adapter.features.extract import ExtractionOptions, extract_features, output_read
from mm_adapter.features.internvideo2 import InternVideo2
from mm_adapter.model.config import CoachConfig
from mm_adapter.samples.clip_stores import LEARNER
from mm_data.features import FeatureStore
from mm_data.records import FPS, VideoClip
from mm_data.videos.frames import VideoError, check_pixels, read_duration
from mm_tokenizers import PoseTokenizer, canonical_poses, numpy_codec
from mm_tokenizers.canonical import sample_frames

MAX_SECONDS = 60.0
"""Of a stretch."""
_SLACK = 1.0  # seconds that poses may run past a video's end before another frame rate is suspected


@dataclass(frozen=True)
class Stretch:
    """What is looked at: a video per view, from ``start`` to ``stop`` seconds; the shortest is ``duration`` long."""

    videos: Mapping[str, Path]
    start: float
    stop: float
    duration: float

    @classmethod
    def of(cls, videos: Mapping[str, Path], start: float, stop: float | None) -> "Stretch":
        """The stretch, by default up to the end of the shortest video.

        Raises:
            FileNotFoundError: A video does not exist.
            ValueError: The stretch is empty, outside the videos, or longer than `MAX_SECONDS`.
            VideoError: A video cannot be read, or its frames are too large.
        """
        durations = {view: read_duration(path) for view, path in videos.items()}
        shortest = min(durations.values())
        end = shortest if stop is None else stop
        if not 0 <= start < end or end > shortest + 0.05:
            lengths = ", ".join(f"{view} {seconds:.2f} s" for view, seconds in durations.items())
            raise ValueError(f"From {start:.2f} to {end:.2f} s is no part of the videos ({lengths}).")
        if round((end - start) * FPS) < 1:
            raise ValueError(
                f"From {start:.3f} to {end:.3f} s is less than a frame ({1 / FPS:.3f} s at {FPS} fps); choose a longer part."
            )
        if end - start > MAX_SECONDS:
            raise ValueError(
                f"{end - start:.0f} s are more than {MAX_SECONDS:.0f} s; choose one performance with start and stop."
            )
        for path in videos.values():
            check_pixels(path)
        return cls(dict(videos), start, end, shortest)

    def with_views(self, views: Sequence[str]) -> tuple["Stretch", list[str]]:
        """A video for every view, another one standing in where one is lacking, and which are lacking."""
        other = next(iter(self.videos.values()))
        lacking = [view for view in views if view not in self.videos]
        return replace(self, videos={view: self.videos.get(view, other) for view in views}), lacking

    @property
    def filmed_from_outside(self) -> Path:
        """The video in which a person is looked for."""
        return self.videos.get("exo") or next(iter(self.videos.values()))

    def poses_of(self, poses: np.ndarray, name: str) -> np.ndarray:
        """The stretch of poses at 30 fps, of the whole video or exactly as long as the stretch.

        Raises:
            ValueError: There are too few or too many; gives both numbers.
        """
        if len(poses) > (self.duration + _SLACK) * FPS:
            raise ValueError(
                f"{name} has {len(poses)} frames, {len(poses) / FPS:.1f} s at {FPS} fps, but the video is {self.duration:.1f} s long; bring the poses to {FPS} fps."
            )
        wanted = round((self.stop - self.start) * FPS)
        first = round(self.start * FPS) if len(poses) > wanted + 1 else 0
        if len(poses) < first + wanted - 1:
            raise ValueError(
                f"{name} has {len(poses)} frames at {FPS} fps; the clip from {self.start:.2f} to {self.stop:.2f} s needs {first + wanted}."
            )
        return poses[first : first + wanted]


def learner_codes(poses: np.ndarray, tokenizer: PoseTokenizer, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``[T, M]`` and canonical poses ``[T, 17, 4]`` of raw poses ``[n, 17, 4]``, sampled as training clips are.

    Raises:
        ValueError: No pose has both hips.
    """
    sampled = canonical_poses(poses[sample_frames(poses, frames)])
    return numpy_codec(tokenizer)[0](sampled), sampled


def learner_features(
    stretch: Stretch, encoder: InternVideo2, name: str, config: CoachConfig, folder: Path
) -> FeatureStore:
    """Features of the stretch, by the code that fills feature stores.

    Args:
        stretch: What is looked at; a view that is lacking is refused.
        encoder: The coach's.
        name: Of the encoder.
        config: The coach's.
        folder: Empty folder for the store.

    Raises:
        ValueError: Another encoder than the coach's, or a lacking view.
        VideoError: A video cannot be read.
    """
    if lacking := [view for view in config.views if view not in stretch.videos]:
        raise ValueError(f"The coach looks at {' and '.join(config.views)} video; {' and '.join(lacking)} is lacking.")
    read = output_read(config, encoder.config)
    videos = {view: str(path.resolve()) for view, path in stretch.videos.items()}
    clip = VideoClip(LEARNER, videos, stretch.start, stretch.stop)
    options = ExtractionOptions(read["output"], read["grid"], batch_size=1, max_bad_share=1.0)
    rejected = extract_features(encoder, name, [clip], Path("/"), folder, options) or {}
    if rejected:
        raise VideoError(rejected[LEARNER])
    return FeatureStore(folder)
