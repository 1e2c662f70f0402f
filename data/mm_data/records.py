"""The records that every data source is read into (one shape, whatever the source)."""

from dataclasses import asdict, dataclass, field
from typing import Any

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
        task: Task, such as ``Mid-Range Jumpshot``; only takes of the same task are paired.
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
    task: str
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
class LabelledRemark:
    """A remark with a one-sentence summary and a label per mentioned body region (ExpertAF §3.2)."""

    remark: Remark
    summary: str
    regions: dict[str, str]
    labeller: str


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


@dataclass(frozen=True)
class CoachingTuple:
    """A learner clip, an expert's remark about it, and an expert clip that shows the correction.

    Attributes:
        tuple_id: ``<learner remark id>~<rank of the expert among the k kept>``.
        split: ``train`` or ``test``; participant-disjoint.
        regions: Body regions that the learner should improve and the expert does correctly.
        remark: The raw transcription.
        summary: The one-sentence remark, which is the commentary target.
        alignment_mm: PA-MPJPE between the two pose windows, in millimetres.
        provenance: Identifiers of both remarks, the labeller, and how the window was found.
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
    alignment_mm: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """A plain nested dictionary, one Parquet row."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "CoachingTuple":
        """Inverse of `to_row`."""
        return cls(**{**row, "learner": Clip(**row["learner"]), "expert": Clip(**row["expert"])})
