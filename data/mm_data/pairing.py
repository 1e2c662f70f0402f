"""Pairs a learner's fault with experts who do the same thing right (ExpertAF §3.2, pairing and filtering)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mm_data.alignment import Match, best_window
from mm_data.funnel import Funnel
from mm_data.records import CORRECT, EXPERT_SKILLS, IMPROVE, LEARNER_SKILLS, Clip, CoachingTuple, LabelledRemark, Take

FPS = 30


@dataclass(frozen=True)
class PairingOptions:
    """How tuples are mined.

    Attributes:
        window: Length of the evidence window in seconds; it ends at the comment's time, because comments look back.
        min_window: Windows that the take's beginning clips below this many seconds are dropped.
        horizon: Seconds around the expert's comment in which the matching window may lie.
        experts_train: Experts kept per learner remark (k) in the training split.
        experts_test: Experts kept per learner remark in the test split.
        stride: Frames between compared frames and between window starts.
    """

    window: float = 2.0
    min_window: float = 1.0
    horizon: float = 10.0
    experts_train: int = 5
    experts_test: int = 1
    stride: int = 3


def split_by_participant(takes: dict[str, Take], funnel: Funnel) -> dict[str, str]:
    """Take uid to ``train`` or ``test``. The release splits by take, so a test participant's training takes are dropped."""
    held_out = {take.participant for take in takes.values() if take.split == "val"}
    splits = {}
    for uid, take in takes.items():
        if take.split == "val":
            splits[uid] = "test"
        elif take.split == "train" and take.participant in held_out:
            funnel.drop("training take of a test participant", uid)
            continue
        elif take.split == "train":
            splits[uid] = "train"
        else:
            funnel.drop("test split: annotations are redacted", uid)
            continue
        funnel.keep()
    return splits


def evidence_window(time: float, poses: np.ndarray, options: PairingOptions) -> tuple[int, int] | str:
    """Frames ``[start, stop)`` before a comment, or the reason why there are none."""
    stop = min(round(time * FPS), len(poses))
    start = max(0, stop - round(options.window * FPS))
    present = np.flatnonzero((poses[start:stop, :, 3] > 0).sum(1) >= 10)
    if len(present) == 0:
        return "no pose in the evidence window"
    start = start + int(present[0])
    if stop - start < options.min_window * FPS:
        return "evidence window too short"
    if len(present) < 0.8 * (stop - start):
        return "pose gaps in the evidence window"
    return start, stop


def mine_tuples(
    remarks: Sequence[LabelledRemark],
    takes: dict[str, Take],
    splits: dict[str, str],
    poses: Callable[[str], np.ndarray],
    options: PairingOptions,
    funnel: Funnel,
    progress: Callable[[int], None] = lambda done: None,
) -> list[CoachingTuple]:
    """Mines tuples of (learner clip, remark, expert clip).

    A learner (Novice, Early Expert) with a remark that a region needs improvement is paired with experts (Intermediate,
    Late) of the same task and split, but another participant, whose remark calls the same region correct. Each expert
    take is aligned by `best_window`; the k takes with the smallest error are kept.

    Args:
        remarks: Labelled remarks of any take.
        takes: Takes by uid.
        splits: Take uid to split; takes that are missing are not used.
        poses: Take uid to its dense pose array ``[T, 17, 4]``.
        options: See `PairingOptions`.
        funnel: Counts learner remarks, kept and dropped.
        progress: Called with the number of learner remarks done.
    """
    praised: dict[tuple[str, str, str], list[LabelledRemark]] = defaultdict(list)
    learners = []
    for labelled in remarks:
        uid = labelled.remark.take_uid
        skill = takes[uid].skill
        if uid not in splits:
            continue
        if skill in EXPERT_SKILLS:
            for region in (r for r, side in labelled.regions.items() if side == CORRECT):
                praised[splits[uid], takes[uid].task, region].append(labelled)
        elif skill in LEARNER_SKILLS and IMPROVE in labelled.regions.values():
            learners.append(labelled)

    tuples = []
    for done, labelled in enumerate(learners, start=1):
        found = _tuples_of(labelled, takes, splits[labelled.remark.take_uid], praised, poses, options)
        if isinstance(found, str):
            funnel.drop(found, labelled.remark.remark_id)
        else:
            funnel.keep()
            tuples.extend(found)
        progress(done)
    return tuples


def gallery_clips(
    remarks: Sequence[LabelledRemark],
    takes: dict[str, Take],
    splits: dict[str, str],
    poses: Callable[[str], np.ndarray],
    options: PairingOptions,
    split: str,
) -> list[tuple[Clip, str]]:
    """The expert demonstrations that retrieval searches: evidence windows of praise for experts of one split.

    Returns:
        (clip, activity), without windows that repeat a clip exactly.
    """
    found: dict[str, tuple[Clip, str]] = {}
    for labelled in remarks:
        take = takes[labelled.remark.take_uid]
        praised = CORRECT in labelled.regions.values() and IMPROVE not in labelled.regions.values()
        if splits.get(take.take_uid) != split or take.skill not in EXPERT_SKILLS or not praised:
            continue
        window = evidence_window(labelled.remark.time, poses(take.take_uid), options)
        if not isinstance(window, str):
            clip = _clip(take, *window)
            found.setdefault(clip.clip_id, (clip, take.activity))
    return list(found.values())


def _tuples_of(
    labelled: LabelledRemark,
    takes: dict[str, Take],
    split: str,
    praised: dict[tuple[str, str, str], list[LabelledRemark]],
    poses: Callable[[str], np.ndarray],
    options: PairingOptions,
) -> list[CoachingTuple] | str:
    remark, take = labelled.remark, takes[labelled.remark.take_uid]
    learner_poses = poses(take.take_uid)
    window = evidence_window(remark.time, learner_poses, options)
    if isinstance(window, str):
        return window
    start, stop = window
    regions = [r for r, side in labelled.regions.items() if side == IMPROVE]
    candidates = {
        expert.remark.remark_id: expert
        for region in regions
        for expert in praised[split, take.task, region]
        if takes[expert.remark.take_uid].participant != take.participant
    }
    if not candidates:
        return "no expert with praise for the region"
    best: dict[str, tuple[float, int, LabelledRemark]] = {}
    length, reach = stop - start, round(options.horizon * FPS)
    searched: dict[tuple[str, int, int], Match | None] = {}  # comments on one take often share their search range
    for expert in candidates.values():
        uid, comment = expert.remark.take_uid, round(expert.remark.time * FPS)
        span = (uid, max(0, comment - reach), min(comment + reach, len(poses(uid))) - length)
        if span not in searched:
            searched[span] = best_window(learner_poses[start:stop], poses(uid), span[1], span[2], options.stride)
        match = searched[span]
        if match is not None and (uid not in best or match.error_mm < best[uid][0]):
            best[uid] = (match.error_mm, match.start, expert)
    if not best:
        return "no expert window of this length"
    keep = options.experts_train if split == "train" else options.experts_test
    ranked = sorted(best.items(), key=lambda item: item[1][0])[:keep]
    return [
        CoachingTuple(
            tuple_id=f"{remark.remark_id}~{rank}",
            split=split,
            activity=take.activity,
            task=take.task,
            regions=regions,
            remark=remark.text,
            summary=labelled.summary,
            learner=_clip(take, start, stop),
            expert=_clip(takes[uid], expert_start, expert_start + stop - start),
            alignment_mm=round(error, 3),
            provenance={
                "learner_remark": remark.remark_id,
                "expert_remark": expert.remark.remark_id,
                "expert_text": expert.remark.text,
                "labeller": labelled.labeller,
                "comment_time": remark.time,
                "experts_considered": len(best),
            },
        )
        for rank, (uid, (error, expert_start, expert)) in enumerate(ranked)
    ]


def _clip(take: Take, start: int, stop: int) -> Clip:
    return Clip(take.take_uid, take.participant, str(take.skill), start, stop, take.ego_video, take.exo_video)
