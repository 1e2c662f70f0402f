"""Builds coaching tuples from a data set: read, choose, label, pair, align, review (ExpertAF §3.2). Every stage resumes."""

import hashlib
import json
from collections.abc import Callable, Container, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mm_data.ground.digests import sha256_of
from mm_data.ground.files import check_apart
from mm_data.ground.funnel import Funnel, open_stage
from mm_data.ground.progress import Report
from mm_data.items.manifest import MANIFEST, ItemManifest
from mm_data.labelling import Labeller, RulesLabeller, label_remarks
from mm_data.poses.archive import PoseArchive
from mm_data.poses.window_search import clip_error
from mm_data.records import (
    EXPERT_SKILLS,
    LEARNER_SKILLS,
    SPLITS,
    CoachingTuple,
    ExpertWindow,
    LabelledRemark,
    Provenance,
    Remark,
    Source,
    Take,
)
from mm_data.release.pose_cache import cache_poses, pose_signature
from mm_data.release.read import read_source, split_by_participant
from mm_data.tuples.mining import align_faults
from mm_data.tuples.pairing import Fault, PairingOptions, clip_of, gallery_clips, locate_faults, sort_by_role
from mm_data.tuples.review.decisions import apply_decisions, read_decisions
from mm_data.tuples.store import LABELS, claim_tuple_folder, finish_folder


@dataclass(frozen=True)
class BuildOptions:
    """Everything but the labeller that decides the result.

    Attributes:
        pairing: Windows, horizon and number of experts.
        activities: Activities (parent tasks) to use; all when empty. ExpertAF uses Basketball, Soccer and Rock Climbing.
        max_drop_rate: Share of rows that any stage may drop.
        reviewed_only: Keep only test tuples that a person accepted or fixed.
    """

    pairing: PairingOptions = field(default_factory=PairingOptions)
    activities: tuple[str, ...] = ()
    max_drop_rate: float = 0.5
    reviewed_only: bool = False


def build_tuples(
    root: Path,
    out: Path,
    options: BuildOptions,
    report: Report,
    labeller: Callable[[Source], Labeller] = lambda source: RulesLabeller(),
    review: Path | None = None,
    workers: int = 1,
) -> ItemManifest:
    """Runs all stages and writes a tuple folder (see `mm_data.tuples.store`).

    A finished folder with the same inputs and options is left as it is. Otherwise whatever is still valid in it is used:
    pose arrays, answers of a language model and aligned faults are stored by what decides them.

    Args:
        root: Ego-Exo4D download, miniature, or a folder of one's own videos.
        out: Folder for the tuples.
        options: Everything but the labeller that decides the result.
        report: Receives finished stages and progress.
        labeller: Makes the labeller for a source.
        review: Decisions of reviewers about test tuples.
        workers: Processes that read poses and align.

    Returns:
        The manifest: options, the funnel of every stage, tuple counts.

    Raises:
        FileNotFoundError: A file of the data set is missing.
        ValueError: A file is malformed, a stage dropped too much, or ``out`` was begun from another source,
            is not apart from ``root``, or holds what we did not write.
    """
    check_apart(out, root)
    source = read_source(root, options.max_drop_rate)
    label, pairing, archive = labeller(source), options.pairing, PoseArchive(out)
    request = {"source": str(root.resolve()), "content": _digest(source), "labeller": label.version, **asdict(options)}
    request = json.loads(json.dumps(request))
    reviewed = sha256_of(review) if review is not None and review.is_file() else None
    if manifest := _finished(out, request, reviewed):
        report.line(f"{out} is up to date: {manifest.counts}")
        return manifest
    claim_tuple_folder(out, {"source": request["source"]})
    report.line(f"read {len(source.takes)} takes and {len(source.remarks)} remarks")

    funnels = list(source.funnels)
    stage = partial(open_stage, funnels, options.max_drop_rate)
    with stage("choose takes") as funnel:
        splits = _choose_takes(source.takes, options, funnel)
    _check_roles(source.takes, splits)
    with stage("read poses") as funnel, report.progress("reading poses", len(splits)) as progress:
        signatures = cache_poses(source, list(splits), archive, funnel, workers, pairing.allow_unaligned, progress)
    report.line(f"read the poses of {len(signatures)} takes")
    for what, count in funnel.noted.items():
        report.line(f"{count:,} {what} (such as in {funnel.examples[what][0]})")
    with stage("choose remarks") as funnel:
        remarks = _choose_remarks(source.remarks, splits, signatures, funnel)
    with (
        stage("label remarks") as funnel,
        report.progress(f"labelling with {label.version}", len(remarks)) as progress,
    ):
        labelled = label_remarks(label, remarks, out / LABELS, funnel, progress)
    report.line(f"labelled {len(labelled)} remarks with {label.version}")

    with stage("faults of learners") as funnel:
        faults, praise = sort_by_role(labelled, source.takes, splits, funnel)
    with stage("pair") as funnel:
        located = locate_faults(faults, source.takes, splits, praise, archive, pairing, funnel)
    by_id = {item.remark.remark_id: item for item in labelled}
    tuples: list[CoachingTuple] = []
    with stage("align") as funnel, report.progress("aligning faults with experts", len(located)) as progress:
        shards = out / "alignments"
        for fault, windows, considered in align_faults(
            located, praise, archive, signatures, pairing, shards, workers, progress
        ):
            if windows:
                funnel.keep()
                tuples += make_tuples(fault, windows, considered, by_id, source, pairing)
            else:
                funnel.drop("no expert window that can be compared", fault.remark_id)
    funnels.append(Funnel("gallery", options.max_drop_rate))
    gallery = gallery_clips(labelled, source.takes, splits, archive, pairing, "test", funnels[-1])

    mined_test = [t for t in tuples if t.split == "test"]
    funnels.append(Funnel("review the test split", options.max_drop_rate))
    test = apply_decisions(
        mined_test,
        read_decisions(review, funnels[-1]) if review is not None else {},
        lambda item: _realigned(item, archive, pairing.stride),
        options.reviewed_only,
        funnels[-1],
    )
    by_split = {"train": [t for t in tuples if t.split == "train"], "test": test}
    for split, rows in by_split.items():
        if not rows:
            raise ValueError(
                f"No tuple in the {split} split: "
                f"no {split} learner has a fault that a {split} expert of the same task is praised for, "
                "or every tuple was rejected in review."
            )
    manifest = finish_folder(out, request, by_split, gallery, funnels, source.synthetic, mined_test, reviewed)
    report.line(
        f"paired and aligned: {len(by_split['train'])} training tuples, {len(test)} test tuples, "
        f"{len(gallery)} more expert clips for the gallery"
    )
    return manifest


def _digest(source: Source) -> str:
    """Hash of everything that was read, and of which pose files there are."""
    poses = {uid: pose_signature(path) for uid, path in sorted(source.pose_files.items())}
    content = [source.takes, source.remarks, source.demonstrations, source.ratings, poses]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _finished(out: Path, request: dict[str, Any], reviewed: str | None) -> ItemManifest | None:
    manifest = ItemManifest.read(out) if (out / MANIFEST).is_file() else None
    return manifest if manifest and manifest.request == request and manifest.review == reviewed else None


def _choose_takes(takes: dict[str, Take], options: BuildOptions, funnel: Funnel) -> dict[str, str]:
    """Take uid to split for takes of the wanted activities that have a skill level."""
    usable = {}
    for uid, take in takes.items():
        if options.activities and take.activity not in options.activities:
            funnel.drop("activity is not wanted", f"{uid} ({take.activity})", expected=True)
        elif take.skill is None:
            funnel.drop("no proficiency label", uid, expected=True)
        elif take.task is None:
            funnel.drop("no task name", uid, expected=True)
        else:
            usable[uid] = take
    return split_by_participant(usable, funnel)


def _check_roles(takes: dict[str, Take], splits: dict[str, str]) -> None:
    """Raises ``ValueError`` where a split has no learner, or no expert, so that no tuple can come of it."""
    for split in SPLITS:
        for role, skills in (("learner", LEARNER_SKILLS), ("expert", EXPERT_SKILLS)):
            if not any(splits[uid] == split and takes[uid].skill in skills for uid in splits):
                raise ValueError(
                    f"The {split} split has no {role} ({', '.join(skills)}) among {len(splits)} chosen takes; "
                    "nobody is on both sides, so each split needs learners and experts of its own. "
                    "Add takes, or assign splits in the table."
                )


def _choose_remarks(
    remarks: Iterable[Remark], splits: Container[str], with_poses: Container[str], funnel: Funnel
) -> list[Remark]:
    """The remarks about takes that were chosen and have poses."""
    usable = []
    for remark in remarks:
        if remark.take_uid in with_poses:
            funnel.keep()
            usable.append(remark)
        else:
            reason = "its take has no poses" if remark.take_uid in splits else "its take was not chosen"
            funnel.drop(reason, remark.remark_id, expected=True)
    return usable


def make_tuples(
    fault: Fault,
    windows: list[ExpertWindow],
    considered: int,
    labelled: dict[str, LabelledRemark],
    source: Source,
    options: PairingOptions,
) -> list[CoachingTuple]:
    """Makes tuples of the k best experts of a fault; the experts after them are remembered as runners-up.

    Args:
        fault: The learner's fault.
        windows: Windows of experts, best first.
        considered: Number of experts that were searched.
        labelled: Remark id to labelled remark.
        source: The data set.
        options: How many experts are kept.

    Returns:
        At most k tuples, best first.
    """
    split, item = fault.group[0], labelled[fault.remark_id]
    take, remark = source.takes[fault.take_uid], item.remark
    keep = options.experts_train if split == "train" else options.experts_test
    rating = source.ratings.get((take.take_uid, remark.commentator))
    tuples = []
    for rank, window in enumerate(windows[:keep]):
        praise = labelled[window.remark_id]
        tuples.append(
            CoachingTuple(
                tuple_id=f"{remark.remark_id}~{rank}",
                split=split,
                activity=take.activity,
                task=str(take.task),
                regions=list(fault.regions),
                remark=remark.text,
                summary=item.summary,
                learner=clip_of(take, fault.start, fault.stop),
                expert=clip_of(source.takes[window.take_uid], window.start, window.start + fault.stop - fault.start),
                alignment_mm=window.alignment_mm,
                provenance=Provenance(
                    learner_remark=remark.remark_id,
                    expert_remark=window.remark_id,
                    expert_text=praise.remark.text,
                    labeller=item.labeller,
                    comment_time=remark.time,
                    expert_comment_time=praise.remark.time,
                    shared_regions=[r for r in fault.regions if r in praise.regions],
                    experts_considered=considered,
                    runners_up=windows[keep:],
                    rating=rating.value if rating else None,
                    rating_standardized=rating.standardized if rating else None,
                ),
            )
        )
    return tuples


def _realigned(item: CoachingTuple, poses: PoseArchive, stride: int) -> float | None:
    """Error of a tuple whose expert clip was moved by a reviewer."""
    learner, expert = poses[item.learner.take_uid], poses[item.expert.take_uid]
    if item.expert.stop > len(expert):
        raise ValueError(
            f"Tuple {item.tuple_id}: the review moved the expert's clip to frames "
            f"{item.expert.start}-{item.expert.stop}, but the take has {len(expert)}. Decide again."
        )
    clips = learner[item.learner.start : item.learner.stop], expert[item.expert.start : item.expert.stop]
    return clip_error(*clips, stride)
