"""A learner's own clip, prepared by the code that prepared training clips, beside the clips of a tuple folder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mm_adapter.features.encoder import VideoEncoder
from mm_adapter.features.extract import ExtractionOptions, extract_features, output_read
from mm_adapter.inference.chat import ChatSession
from mm_adapter.model.config import CoachConfig
from mm_adapter.samples.clip_stores import LEARNER
from mm_data.estimation import find
from mm_data.features import FeatureStore
from mm_data.poses.checks import describe
from mm_data.records import FPS, VideoClip
from mm_data.release.read import load_clip_poses
from mm_data.videos.frames import VideoError, check_pixels, read_duration
from mm_tokenizers import PoseTokenizer, canonical_poses, numpy_codec
from mm_tokenizers.canonical import sample_frames

MAX_SECONDS = 60.0
"""Longest stretch that is looked at."""
_SLACK = 1.0  # seconds that poses may run past a video's end before another frame rate is suspected


@dataclass(frozen=True)
class Stretch:
    """The part of some videos that is looked at.

    Attributes:
        videos: View to its video.
        start: First second.
        stop: End in seconds, exclusive.
        duration: Length of the shortest video in seconds.
    """

    videos: Mapping[str, Path]
    start: float
    stop: float
    duration: float

    @classmethod
    def of(cls, videos: Mapping[str, Path], start: float, stop: float | None) -> "Stretch":
        """Reads the videos' lengths and checks the stretch.

        Args:
            videos: View to its video.
            start: First second.
            stop: End in seconds; None is the end of the shortest video.

        Returns:
            The stretch.

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
                f"From {start:.3f} to {end:.3f} s is less than a frame ({1 / FPS:.3f} s at {FPS} fps); "
                "choose a longer part."
            )
        if end - start > MAX_SECONDS:
            raise ValueError(
                f"{end - start:.0f} s are more than {MAX_SECONDS:.0f} s; choose one performance with start and stop."
            )
        for path in videos.values():
            check_pixels(path)
        return cls(dict(videos), start, end, shortest)

    def with_views(self, views: Sequence[str]) -> tuple["Stretch", list[str]]:
        """Returns the stretch with a video for every view, the first one standing in where one is lacking, and the lacking views."""
        first = next(iter(self.videos.values()))
        lacking = [view for view in views if view not in self.videos]
        return replace(self, videos={view: self.videos.get(view, first) for view in views}), lacking

    @property
    def filmed_from_outside(self) -> Path:
        """The video in which a person is looked for: the exo view where there is one."""
        return self.videos.get("exo") or next(iter(self.videos.values()))

    def poses_of(self, poses: np.ndarray, name: str) -> np.ndarray:
        """Cuts the stretch out of poses.

        Args:
            poses: Poses ``[n, 17, 4]`` at 30 fps, of the whole video or exactly as long as the stretch.
            name: What errors call them, such as their file.

        Returns:
            Poses of the stretch.

        Raises:
            ValueError: There are too few or too many; gives both numbers.
        """
        if len(poses) > (self.duration + _SLACK) * FPS:
            raise ValueError(
                f"{name} has {len(poses)} frames, {len(poses) / FPS:.1f} s at {FPS} fps, "
                f"but the video is {self.duration:.1f} s long; bring the poses to {FPS} fps."
            )
        count = round((self.stop - self.start) * FPS)
        first = round(self.start * FPS) if len(poses) > count + 1 else 0
        if len(poses) < first + count - 1:
            raise ValueError(
                f"{name} has {len(poses)} frames at {FPS} fps; "
                f"the clip from {self.start:.2f} to {self.stop:.2f} s needs {first + count}."
            )
        return poses[first : first + count]


@dataclass(frozen=True)
class ClipInputs:
    """A clip of one's own as a coach sees it.

    Attributes:
        codes: Pose codes ``[T, M]``, or None where there are no poses.
        joints: Canonical poses ``[T, 17, 4]`` in metres behind the codes, or None.
        features: View to video features ``[V, C]``; empty for a coach that sees no video.
        notes: Sentences about what was lacking and what stood in for it.
    """

    codes: np.ndarray | None
    joints: np.ndarray | None
    features: dict[str, np.ndarray]
    notes: list[str]


@dataclass(frozen=True)
class OwnClip:
    """A clip of one's own and the conversation about it.

    Attributes:
        inputs: What a coach sees of the clip.
        session: The conversation.
    """

    inputs: ClipInputs
    session: ChatSession


def prepare(
    videos: Mapping[str, Path],
    start: float,
    stop: float | None,
    poses: Path | None,
    pose_model: Path | None,
    config: CoachConfig,
    tokenizer: PoseTokenizer,
    encoder: tuple[VideoEncoder, str] | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ClipInputs:
    """Prepares a clip of one's own by the code that prepared training clips.

    Args:
        videos: View to its video.
        start: First second that is looked at.
        stop: End in seconds, exclusive; None is the end of the shortest video.
        poses: Poses at 30 fps: ``.npy`` ``[n, 17, 4]`` in metres, or Ego-Exo4D's JSON; or None.
        pose_model: MediaPipe's landmarker, which finds poses where none are given, or None.
        config: Configuration of the coach.
        tokenizer: Pose tokenizer of the coach.
        encoder: Video encoder of the coach and its name, or None for one that sees no video.
        progress: Called with (frames done, frames) while poses are found.

    Returns:
        The clip.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: There is no video, the stretch is none of it, or poses or the encoder are lacking.
        VideoError: A video cannot be read.
    """
    if config.pose_form == "text":
        raise ValueError("This coach writes poses as text; clips of one's own need a coach with pose tokens.")
    if not videos:
        raise ValueError("Give the learner's video: --exo FILE, --ego FILE or both (exo= and ego= in Python).")
    stretch, notes, features = Stretch.of(videos, start, stop), [], {}
    if config.video_tokens:
        stretch, lacking = stretch.with_views(config.views)
        notes += [f"No {' and '.join(lacking)} video: the other one stands in for it."] if lacking else []
    raw, left_out = find_poses(stretch, poses, str(poses), pose_model, progress)
    if raw is None and config.pose_form != "none":
        raise ValueError(
            "Give the learner's poses (--pose FILE), or a model that finds them "
            "(--pose-model pose_landmarker_full.task); in Python poses= or pose_model=."
        )
    codes, joints = (None, None) if raw is None else learner_codes(raw, tokenizer, config.pose_frames)
    if config.video_tokens:
        if encoder is None:
            raise ValueError("This coach sees video: open it with the encoder that it was trained on (encoder=).")
        features = learner_features(stretch, *encoder, config)
    return ClipInputs(codes, joints, features, notes + left_out)


def find_poses(
    stretch: Stretch,
    file: Path | None,
    name: str,
    pose_model: Path | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray | None, list[str]]:
    """Reads the poses of a stretch from a file, or finds them in its video.

    Args:
        stretch: The part of the videos that is looked at.
        file: Poses as ``.npy`` ``[n, 17, 4]`` at 30 fps or as Ego-Exo4D's JSON, or None.
        name: What errors call the file.
        pose_model: MediaPipe's landmarker, which is asked where there is no file, or None.
        progress: Called with (frames done, frames) while poses are found.

    Returns:
        Poses ``[n, 17, 4]``, None without file and model, and sentences about what was left out of them.

    Raises:
        FileNotFoundError: The file or the model does not exist.
        ValueError: The poses do not fit the stretch, or nobody was found in the video.
        VideoError: The video cannot be read.
    """
    if file is not None:
        lost: Counter[str] = Counter()
        poses = stretch.poses_of(load_clip_poses(file, lost), name)
        return poses, [f"{sentence}." for sentence in describe(lost)]
    if pose_model is None:
        return None, []
    found = find.find_poses(stretch.filmed_from_outside, pose_model, stretch.start, stretch.stop, progress)
    return found.poses, found.sentences


def learner_codes(poses: np.ndarray, tokenizer: PoseTokenizer, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Encodes poses, sampled as training clips are.

    Args:
        poses: Raw poses ``[n, 17, 4]`` in metres at 30 fps.
        tokenizer: Pose tokenizer of the coach.
        frames: Number of frames that are sampled (T).

    Returns:
        Codes ``[T, M]`` and canonical poses ``[T, 17, 4]``.

    Raises:
        ValueError: No pose has both hips.
    """
    sampled = canonical_poses(poses[sample_frames(poses, frames)])
    return numpy_codec(tokenizer)[0](sampled), sampled


def decode_codes(tokenizer: PoseTokenizer, codes: np.ndarray) -> np.ndarray:
    """Decodes codes ``[T, M]`` to joints ``[T, 17, 3]`` in metres."""
    return numpy_codec(tokenizer)[1](codes)


def learner_features(stretch: Stretch, encoder: VideoEncoder, name: str, config: CoachConfig) -> dict[str, np.ndarray]:
    """Encodes a stretch by the code that fills feature stores.

    Args:
        stretch: The part of the videos that is looked at, with a video for every view of the coach.
        encoder: Video encoder of the coach.
        name: Name of the encoder.
        config: Configuration of the coach.

    Returns:
        View to features ``[V, C]`` in float16.

    Raises:
        ValueError: A view is lacking, or the encoder gives features of another shape.
        VideoError: A video cannot be read.
    """
    if lacking := [view for view in config.views if view not in stretch.videos]:
        raise ValueError(f"The coach looks at {' and '.join(config.views)} video; {' and '.join(lacking)} is lacking.")
    output = output_read(config.video_tokens, config.video_width, encoder.config)
    videos = {view: str(path.resolve()) for view, path in stretch.videos.items()}
    clip = VideoClip(LEARNER, videos, stretch.start, stretch.stop)
    options = ExtractionOptions(output["output"], output["grid"], batch_size=1, max_bad_share=1.0)
    with TemporaryDirectory() as folder:
        rejected = extract_features(encoder, name, [clip], Path("/"), Path(folder), options) or {}
        if rejected:
            raise VideoError(rejected[LEARNER])
        store = FeatureStore(Path(folder))
        return {view: np.array(store.get(LEARNER, view)) for view in config.views}
