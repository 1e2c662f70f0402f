"""The records that every data source is read into (one shape, whatever the source)."""

from dataclasses import dataclass, field
from pathlib import Path

from mm_data.ground.funnel import Funnel

SPLITS = ("train", "test")
POSES = "poses"
"""Folder of the pose arrays, one ``.npy`` per take, inside a folder of tuples, of items or of motion."""
FPS = 30
"""Frames per second of videos and poses; all frame numbers count at this rate."""

IMPROVE, CORRECT = "needs improvement", "correct"
"""Region labels c = 0 and c = 1 of ExpertAF §3.2; a region that is not mentioned has no entry."""

LEARNER_SKILLS = ("Novice", "Early Expert")
EXPERT_SKILLS = ("Intermediate Expert", "Late Expert")


@dataclass(frozen=True)
class Take:
    """One recorded performance.

    Attributes:
        take_uid: Ego-Exo4D's identifier of the take.
        take_name: Its folder name under ``takes/``.
        participant: Identifier of the performer, unique over universities.
        activity: Parent task, such as ``Basketball``.
        task: Task, such as ``Mid-Range Jumpshot``; only takes of the same task are paired. None where the release has none.
        skill: One of the four proficiency labels, or None where the release has none.
        split: The release's own split.
        duration: Seconds.
        ego_video: Path of the ego video relative to the data set's root.
        exo_video: Path of the best exo video relative to the data set's root.
    """

    take_uid: str
    take_name: str
    participant: str
    activity: str
    task: str | None
    skill: str | None
    split: str
    duration: float
    ego_video: str
    exo_video: str


@dataclass(frozen=True)
class Remark:
    """One spoken comment of one commentator about one take.

    Attributes:
        remark_id: ``<take_uid>/<commentator>/<recording index>``.
        take_uid: The take it is about.
        commentator: Six-character identifier of the expert who speaks.
        time: Seconds into the take at which the commentator paused; the comment is about what came before.
        text: Whisper transcription, stripped.
    """

    remark_id: str
    take_uid: str
    commentator: str
    time: float
    text: str


@dataclass(frozen=True)
class Rating:
    """A commentator's overall rating of a take.

    Attributes:
        value: 1 to 10 on the commentator's own scale.
        why: Their reason.
        standardized: In standard deviations from the commentator's mean; None where they have no spread.
    """

    value: float
    why: str
    standardized: float | None


@dataclass(frozen=True)
class Demonstration:
    """Moment of a take that a commentator found good, or in need of work (Ego-Exo4D's proficiency demonstration)."""

    take_uid: str
    commentator: str
    time: float
    good: bool
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A data set as read: what the later stages need, and what was dropped on the way.

    Attributes:
        root: Its folder; videos are relative to it.
        takes: Usable takes by uid.
        remarks: Usable remarks.
        funnels: What reading kept and dropped.
        pose_files: Take uid to its pose file, for takes that have one.
        demonstrations: Polarity of moments, where the source has it.
        ratings: (take uid, commentator) to rating, where the source has them.
        synthetic: Whether the data is made up.
    """

    root: Path
    takes: dict[str, Take]
    remarks: list[Remark]
    funnels: list[Funnel]
    pose_files: dict[str, Path]
    demonstrations: list[Demonstration] = field(default_factory=list)
    ratings: dict[tuple[str, str], Rating] = field(default_factory=dict)
    synthetic: bool = False


@dataclass(frozen=True)
class LabelledRemark:
    """A remark with a one-sentence summary and a label per mentioned body region (ExpertAF §3.2)."""

    remark: Remark
    summary: str
    regions: dict[str, str]
    labeller: str


@dataclass(frozen=True)
class VideoClip:
    """A stretch of time in one video per view.

    Attributes:
        clip_id: Name in the feature store.
        videos: View to the path of its video, below the root.
        start: First second.
        stop: End, exclusive.
    """

    clip_id: str
    videos: dict[str, str]
    start: float
    stop: float


@dataclass(frozen=True)
class SearchedVideo:
    """A video in which poses are looked for.

    Attributes:
        name: Name of its poses.
        path: The file.
        person: Who moves in it.
        known_by: How that is known, as `mm_data.poses.people.person_of` says it.
        stretches: Seconds ``(start, stop)`` that are looked at, in order and apart; none is the whole video.
    """

    name: str
    path: Path
    person: str
    known_by: str
    stretches: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Clip:
    """A window of a take: frames ``[start, stop)`` of its frame-aligned 30 fps videos and poses."""

    take_uid: str
    participant: str
    skill: str
    start: int
    stop: int
    ego_video: str
    exo_video: str

    @property
    def clip_id(self) -> str:
        """Identifier shared by the feature store, the pose cache and the retrieval gallery."""
        return f"{self.take_uid}:{self.start}-{self.stop}"

    @property
    def stretch(self) -> VideoClip:
        """The window as a stretch of time in its videos."""
        videos = {"ego": self.ego_video, "exo": self.exo_video}
        return VideoClip(self.clip_id, videos, self.start / FPS, self.stop / FPS)


@dataclass(frozen=True)
class ExpertWindow:
    """A window of an expert's take that was found for a learner's fault.

    Attributes:
        take_uid: The expert's take.
        remark_id: Praise that the window demonstrates.
        start: First frame; the window is as long as the learner's clip.
        alignment_mm: PA-MPJPE between the two windows in millimetres; None where poses are lacking.
    """

    take_uid: str
    remark_id: str
    start: int
    alignment_mm: float | None


@dataclass(frozen=True)
class Provenance:
    """Where a tuple comes from.

    Attributes:
        learner_remark: Id of the remark about the learner.
        expert_remark: Id of the praise that the expert clip lies near.
        expert_text: That praise.
        labeller: Version of the labeller.
        comment_time: Seconds into the learner's take at which the commentator paused.
        expert_comment_time: Likewise for the praise.
        shared_regions: Regions that the learner should improve and the praise calls correct.
        experts_considered: Expert takes that were searched.
        runners_up: The next best of them.
        rating: The commentator's rating of the learner's take, 1 to 10, where the source has it.
        rating_standardized: The same in standard deviations from that commentator's mean.
        review: ``accept`` or ``fix`` where a person has looked at the tuple.
        reviewer: That person.
    """

    learner_remark: str
    expert_remark: str
    expert_text: str
    labeller: str
    comment_time: float
    expert_comment_time: float
    shared_regions: list[str]
    experts_considered: int
    runners_up: list[ExpertWindow]
    rating: float | None = None
    rating_standardized: float | None = None
    review: str | None = None
    reviewer: str | None = None


@dataclass(frozen=True)
class CoachingTuple:
    """A learner clip, an expert's remark about it, and an expert clip that shows the correction.

    Attributes:
        tuple_id: ``<learner remark id>~<rank of the expert among the k kept>``.
        split: ``train`` or ``test``; participant-disjoint.
        regions: Body regions that the learner should improve.
        remark: The raw transcription.
        summary: The one-sentence remark, which is the commentary target.
        alignment_mm: PA-MPJPE between the two pose windows, in millimetres; None where poses are lacking and the
            expert clip is simply the one before the praise.
        provenance: See `Provenance`.
    """

    tuple_id: str
    split: str
    activity: str
    task: str
    regions: list[str]
    remark: str
    summary: str
    learner: Clip
    expert: Clip
    alignment_mm: float | None
    provenance: Provenance

    @property
    def clips(self) -> list[Clip]:
        """Learner's and expert's clip."""
        return [self.learner, self.expert]
