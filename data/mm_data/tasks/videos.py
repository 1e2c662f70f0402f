"""Videos of data sets that have one file per item."""

from pathlib import Path

from mm_data.ground.funnel import Funnel
from mm_data.records import VideoClip
from mm_data.videos.frames import VideoError, read_duration

FOLDER = "videos"


def whole_video(root: Path, name: str, otherwise: float, funnel: Funnel) -> VideoClip:
    """Makes the clip of ``ROOT/videos/<name>.mp4`` from its beginning to its end.

    Args:
        root: The data set.
        name: Name of the item.
        otherwise: Seconds that it lasts where there is no video to ask, for published features.
        funnel: Notes items without a video.

    Returns:
        The clip.
    """
    path = root / FOLDER / f"{name}.mp4"
    try:
        seconds = read_duration(path)
    except (FileNotFoundError, VideoError):
        funnel.note("no video: published features are needed", name)
        seconds = otherwise
    return VideoClip(name, {"exo": path.name}, 0.0, seconds)
