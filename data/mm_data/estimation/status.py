"""What came of looking for poses in a video."""

from dataclasses import dataclass, field

from mm_data.records import SearchedVideo


@dataclass(frozen=True)
class VideoStatus:
    """What was found in a video.

    Attributes:
        name: Name of its poses.
        video: The file.
        bytes: Its size.
        modified: When it was last changed, in nanoseconds.
        stretches: What was looked at.
        frames: Number of frames that were looked at.
        seen: Number of frames with the followed person.
        crowded: Number of frames with somebody else in them.
        lost: What the checks of poses took as absent.
        problems: Why stretches have no poses, by the second at which they begin.
    """

    name: str
    video: str
    bytes: int
    modified: int
    stretches: list[list[float]]
    frames: int = 0
    seen: int = 0
    crowded: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, video: SearchedVideo) -> "VideoStatus":
        """The status of a video at which nobody has looked yet; a file that is missing has no size."""
        state = video.path.stat() if video.path.is_file() else None
        size, modified = (state.st_size, state.st_mtime_ns) if state else (-1, -1)
        return cls(video.name, str(video.path), size, modified, [list(stretch) for stretch in video.stretches])

    def is_about(self, other: "VideoStatus") -> bool:
        """Whether this is what came of looking at the same file's same stretches."""
        return all(getattr(self, name) == getattr(other, name) for name in ("video", "bytes", "modified", "stretches"))
