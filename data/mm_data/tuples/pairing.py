"""Decides which learner faults go with which expert takes (ExpertAF §3.2, pairing); `mining` then aligns them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mm_data.ground.funnel import Funnel
from mm_data.poses.archive import PoseArchive
from mm_data.poses.window_search import MIN_COMMON_JOINTS, MIN_FRAME_SHARE
from mm_data.records import CORRECT, EXPERT_SKILLS, FPS, IMPROVE, LEARNER_SKILLS, Clip, LabelledRemark, Take


@dataclass(frozen=True)
class PairingOptions:
    """How tuples are mined.

    Attributes:
        window: Length of the evidence window in seconds; it ends at the comment's time, because comments look back.
        min_window: Windows that the take's beginning clips below this many seconds are dropped.
        horizon: Seconds around the expert's comment in which the matching window may lie.
        experts_train: Experts kept per learner remark (k) in the training split.
        experts_test: Experts kept per learner remark in the test split.
        runners_up: Further experts that are remembered for `mm-coach data why`.
        stride: Frames between compared frames and between window starts.
        allow_unaligned: Keep pairs whose poses are lacking, with the clip before the expert's comment.
    """

    window: float = 2.0
    min_window: float = 1.0
    horizon: float = 10.0
    experts_train: int = 5
    experts_test: int = 1
    runners_up: int = 3
    stride: int = 3
    allow_unaligned: bool = False

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for settings that mean nothing."""
        lowest = {"experts_train": 1, "experts_test": 1, "runners_up": 0, "stride": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be at least {least}.")
        if not 0 < self.min_window <= self.window or self.horizon <= 0:
            raise ValueError(
                f"min_window {self.min_window} s, window {self.window} s, horizon {self.horizon} s: "
                "they have to be above 0, and min_window at most window."
            )


@dataclass(frozen=True)
class Fault:
    """A learner remark with its evidence window ``[start, stop)``, ready to be aligned.

    Attributes:
        remark_id: The remark.
        take_uid: The learner's take.
        group: (split, activity, task): experts are looked for inside it.
        regions: Body regions to improve.
        start: First frame.
        stop: One past the last frame, which is the comment's.
    """

    remark_id: str
    take_uid: str
    group: tuple[str, str, str]
    regions: tuple[str, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Praise:
    """What experts are praised for.

    Attributes:
        participants: Take uid to performer: nobody is paired with themselves.
        comments: (split, activity, task) to region to take uid to comments, each as (frame, remark id).
    """

    participants: dict[str, str]
    comments: dict[tuple[str, str, str], dict[str, dict[str, list[tuple[int, str]]]]] = field(default_factory=dict)

    def candidates(self, fault: Fault) -> dict[str, dict[str, int]]:
        """Returns expert takes for a fault, each with its comments on the fault's regions: remark id to frame."""
        experts: dict[str, dict[str, int]] = {}
        learner = self.participants[fault.take_uid]
        regions = self.comments.get(fault.group, {})
        for region in fault.regions:
            for uid, comments in regions.get(region, {}).items():
                if self.participants[uid] != learner:
                    experts.setdefault(uid, {}).update((remark_id, frame) for frame, remark_id in comments)
        return experts


def evidence_window(time: float, poses: np.ndarray, options: PairingOptions) -> tuple[int, int] | str:
    """Returns frames ``[start, stop)`` before a comment, or the reason why there are none."""
    stop = min(round(time * FPS), len(poses))
    start = max(0, stop - round(options.window * FPS))
    visible = poses[start:stop, :, 3] > 0
    if options.allow_unaligned and not visible.any():
        return (start, stop) if stop - start >= options.min_window * FPS else "evidence window too short"
    present = np.flatnonzero(visible.sum(1) >= MIN_COMMON_JOINTS)
    if len(present) == 0:
        return "no pose in the evidence window"
    start = start + int(present[0])
    if stop - start < options.min_window * FPS:
        return "evidence window too short"
    if len(present) < MIN_FRAME_SHARE * (stop - start):
        return "pose gaps in the evidence window"
    return start, stop


def sort_by_role(
    labelled: Sequence[LabelledRemark], takes: dict[str, Take], splits: dict[str, str], funnel: Funnel
) -> tuple[list[LabelledRemark], Praise]:
    """Separates learners' faults from experts' praise.

    Args:
        labelled: Labelled remarks of takes that have a split.
        takes: Takes by uid.
        splits: Take uid to split.
        funnel: Keeps faults of learners; everything else is counted by what it is.

    Returns:
        The faults, and an index of the praise.
    """
    faults, praise = [], Praise({uid: take.participant for uid, take in takes.items()})
    for item in labelled:
        uid, remark_id = item.remark.take_uid, item.remark.remark_id
        skill = takes[uid].skill
        improve = IMPROVE in item.regions.values()
        praised = [region for region, side in item.regions.items() if side == CORRECT]
        if skill in LEARNER_SKILLS and improve:
            faults.append(item)
            funnel.keep()
        elif skill in LEARNER_SKILLS:
            funnel.drop("praise of a learner", remark_id, expected=True)
        elif praised:
            by_region = praise.comments.setdefault(_group(takes[uid], splits), {})
            for region in praised:
                by_region.setdefault(region, {}).setdefault(uid, []).append((round(item.remark.time * FPS), remark_id))
            funnel.drop("praise of an expert: serves as demonstration", remark_id, expected=True)
        else:
            funnel.drop("fault of an expert", remark_id, expected=True)
    return faults, praise


def _group(take: Take, splits: dict[str, str]) -> tuple[str, str, str]:
    return splits[take.take_uid], take.activity, str(take.task)


def locate_faults(
    faults: Sequence[LabelledRemark],
    takes: dict[str, Take],
    splits: dict[str, str],
    praise: Praise,
    poses: PoseArchive,
    options: PairingOptions,
    funnel: Funnel,
) -> list[Fault]:
    """Gives every fault its evidence window, and drops those that no expert can answer.

    Args:
        faults: Remarks that find fault with a learner.
        takes: Takes by uid.
        splits: Take uid to split.
        praise: Index of what experts are praised for.
        poses: Pose arrays of the learners.
        options: Lengths of the evidence window.
        funnel: Counts faults.

    Returns:
        Faults with windows, one take after the other, so that poses are read once.
    """
    located = []
    for item in sorted(faults, key=lambda item: item.remark.take_uid):
        uid, remark = item.remark.take_uid, item.remark
        window = evidence_window(remark.time, poses[uid], options)
        if isinstance(window, str):
            funnel.drop(window, remark.remark_id)
            continue
        regions = tuple(region for region, side in item.regions.items() if side == IMPROVE)
        fault = Fault(remark.remark_id, uid, _group(takes[uid], splits), regions, *window)
        if not praise.candidates(fault):
            funnel.drop("no expert is praised for these regions", remark.remark_id)
            continue
        funnel.keep()
        located.append(fault)
    return located


def gallery_clips(
    labelled: Sequence[LabelledRemark],
    takes: dict[str, Take],
    splits: dict[str, str],
    poses: PoseArchive,
    options: PairingOptions,
    split: str,
    funnel: Funnel,
) -> list[tuple[Clip, str]]:
    """Chooses the expert demonstrations that retrieval searches: evidence windows of praise for experts of one split.

    Args:
        labelled: Labelled remarks.
        takes: Takes by uid.
        splits: Take uid to split.
        poses: Pose arrays of the experts.
        options: Lengths of the evidence window.
        split: Split whose experts are taken.
        funnel: Counts remarks of praise.

    Returns:
        (clip, activity), without windows that repeat a clip exactly.
    """
    clips: dict[str, tuple[Clip, str]] = {}
    for item in labelled:
        take = takes[item.remark.take_uid]
        praised = CORRECT in item.regions.values() and IMPROVE not in item.regions.values()
        if splits.get(take.take_uid) != split or take.skill not in EXPERT_SKILLS or not praised:
            continue
        window = evidence_window(item.remark.time, poses[take.take_uid], options)
        if isinstance(window, str):
            funnel.drop(window, item.remark.remark_id)
            continue
        clip = clip_of(take, *window)
        if clip.clip_id in clips:
            funnel.drop("same clip as another remark's", item.remark.remark_id, expected=True)
            continue
        clips[clip.clip_id] = clip, take.activity
        funnel.keep()
    return list(clips.values())


def clip_of(take: Take, start: int, stop: int) -> Clip:
    """Makes the clip of frames ``[start, stop)`` of a take."""
    return Clip(take.take_uid, take.participant, str(take.skill), start, stop, take.ego_video, take.exo_video)
