"""Builds coaching tuples from a data set: read, choose, label, pair, align, review (ExpertAF §3.2). Every stage resumes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import check_apart
from mm_data.ground.funnel import Funnel
from mm_data.ground.progress import Report
from mm_data.labelling import Labeller, RulesLabeller, label_remarks
from mm_data.poses.window_search import error_curve, prepare_track
from mm_data.records import (
    EXPERT_SKILLS,
    LEARNER_SKILLS,
    POSES,
    SPLITS,
    CoachingTuple,
    LabelledRemark,
    Provenance,
    RunnerUp,
    Source,
    Take,
)
from mm_data.release.pose_cache import cache_poses, pose_signature
from mm_data.release.read import read_source, split_by_participant
from mm_data.tuples.mining import Alignment, align_faults
from mm_data.tuples.pairing import Fault, PairingOptions, clip_of, gallery_clips, locate_faults, sort_by_role
from mm_data.tuples.review.decisions import apply_decisions, read_decisions
from mm_data.tuples.store import LABELS, MANIFEST, claim_tuple_folder, finish_folder


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
) -> dict[str, Any]:
    """Runs all stages and writes a tuple folder (see `tuple_store`).

    A finished folder with the same inputs and options is left as it is. Otherwise whatever is still valid in it is used:
    pose arrays, answers of a language model and aligned faults are stored by what decides them.

    Args:
        root: Ego-Exo4D download, miniature, or a folder of one's own videos.
        out: Folder for the tuples.
        options: See `BuildOptions`.
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
    label = labeller(source)
    request = {"source": str(root.resolve()), "content": _digest(source), "labeller": label.version, **asdict(options)}
    request = json.loads(json.dumps(request))
    reviewed = hashlib.sha256(review.read_bytes()).hexdigest() if review is not None and review.is_file() else None
    if manifest := _finished(out, request, reviewed):
        report.line(f"{out} is up to date: {manifest['tuples']}")
        return manifest
    claim_tuple_folder(out, {"source": request["source"]})
    report.line(f"read {len(source.takes)} takes and {len(source.remarks)} remarks")

    stages = (
        "choose takes",
        "read poses",
        "choose remarks",
        "label remarks",
        "faults of learners",
        "pair",
        "align",
        "gallery",
    )
    funnels = {stage: Funnel(stage, options.max_drop_rate) for stage in stages}
    splits = _choose_takes(source.takes, options, funnels["choose takes"])
    with report.progress("reading poses", len(splits)) as progress:
        signatures = cache_poses(
            source, list(splits), out / POSES, funnels["read poses"], workers, options.pairing.allow_unaligned, progress
        )
    funnels["read poses"].check()
    report.line(f"read the poses of {len(signatures)} takes")
    for what, count in funnels["read poses"].noted.items():
        report.line(f"{count:,} {what} (such as in {funnels['read poses'].examples[what][0]})")
    remarks = []
    for remark in source.remarks:
        if remark.take_uid in signatures:
            funnels["choose remarks"].keep()
            remarks.append(remark)
        else:
            reason = "its take has no poses" if remark.take_uid in splits else "its take was not chosen"
            funnels["choose remarks"].drop(reason, remark.remark_id, expected=True)
    funnels["choose remarks"].check()

    with report.progress(f"labelling with {label.version}", len(remarks)) as progress:
        labelled = label_remarks(label, remarks, out / LABELS, funnels["label remarks"], progress)
    funnels["label remarks"].check()
    report.line(f"labelled {len(labelled)} remarks with {label.version}")

    @lru_cache(maxsize=64)
    def poses(uid: str) -> np.ndarray:
        return np.load(out / POSES / f"{uid}.npy", mmap_mode="r")

    faults, praise = sort_by_role(labelled, source.takes, splits, funnels["faults of learners"])
    funnels["faults of learners"].check()
    located = locate_faults(faults, source.takes, splits, praise, poses, options.pairing, funnels["pair"])
    funnels["pair"].check()
    by_id = {item.remark.remark_id: item for item in labelled}
    tuples: list[CoachingTuple] = []
    with report.progress("aligning faults with experts", len(located)) as progress:
        for fault, found, considered in align_faults(
            located, praise, out / POSES, signatures, options.pairing, out / "alignments", workers, progress
        ):
            if found:
                funnels["align"].keep()
                tuples += make_tuples(fault, found, considered, by_id, source, options.pairing)
            else:
                funnels["align"].drop("no expert window that can be compared", fault.remark_id)
    funnels["align"].check()
    gallery = gallery_clips(labelled, source.takes, splits, poses, options.pairing, "test", funnels["gallery"])

    mined_test = [t for t in tuples if t.split == "test"]
    review_funnel = Funnel("review the test split", options.max_drop_rate)
    test = apply_decisions(
        mined_test,
        read_decisions(review, review_funnel) if review is not None else {},
        lambda item: _realigned(item, poses, options.pairing.stride),
        options.reviewed_only,
        review_funnel,
    )
    chosen = {"train": [t for t in tuples if t.split == "train"], "test": test}
    for split, rows in chosen.items():
        if not rows:
            raise ValueError(
                f"No tuple in the {split} split: no {split} learner has a fault that a {split} expert of the same task is "
                "praised for, or every tuple was rejected in review."
            )
    manifest = finish_folder(
        out, request, chosen, gallery, [*source.funnels, *funnels.values(), review_funnel], source.synthetic, mined_test, reviewed
    )  # fmt: skip
    report.line(
        f"paired and aligned: {len(chosen['train'])} training tuples, {len(test)} test tuples, {len(gallery)} more expert clips for the gallery"
    )
    return manifest


def _digest(source: Source) -> str:
    """Hash of everything that was read, and of which pose files there are."""
    poses = {uid: pose_signature(path) for uid, path in sorted(source.pose_files.items())}
    content = [source.takes, source.remarks, source.demonstrations, source.ratings, poses]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _finished(out: Path, request: dict[str, Any], reviewed: str | None) -> dict[str, Any] | None:
    path = out / MANIFEST
    manifest = json.loads(path.read_text()) if path.is_file() else None
    return manifest if manifest and manifest["request"] == request and manifest["review"] == reviewed else None


def _choose_takes(takes: dict[str, Take], options: BuildOptions, funnel: Funnel) -> dict[str, str]:
    """Take uid to split for takes of the wanted activities that have a skill level.

    Raises:
        ValueError: A split has no learner, or no expert, so that no tuple can come of it.
    """
    wanted = {}
    for uid, take in takes.items():
        if options.activities and take.activity not in options.activities:
            funnel.drop("activity is not wanted", f"{uid} ({take.activity})", expected=True)
        elif take.skill is None:
            funnel.drop("no proficiency label", uid, expected=True)
        elif take.task is None:
            funnel.drop("no task name", uid, expected=True)
        else:
            wanted[uid] = take
    splits = split_by_participant(wanted, funnel)
    funnel.check()
    for split in SPLITS:
        for role, skills in (("learner", LEARNER_SKILLS), ("expert", EXPERT_SKILLS)):
            if not any(splits[uid] == split and takes[uid].skill in skills for uid in splits):
                raise ValueError(
                    f"The {split} split has no {role} ({', '.join(skills)}) among {len(splits)} chosen takes; nobody is on both "
                    "sides, so each split needs learners and experts of its own. Add takes, or assign splits in the table."
                )
    return splits


def make_tuples(
    fault: Fault,
    found: list[Alignment],
    considered: int,
    labelled: dict[str, LabelledRemark],
    source: Source,
    options: PairingOptions,
) -> list[CoachingTuple]:
    """The k best experts of a fault as tuples; the experts after them are remembered as runners-up."""
    split, item = fault.group[0], labelled[fault.remark_id]
    take, remark = source.takes[fault.take_uid], item.remark
    keep = options.experts_train if split == "train" else options.experts_test
    runners_up = [RunnerUp(m.take_uid, m.remark_id, m.start, m.alignment_mm) for m in found[keep:]]
    rating = source.ratings.get((take.take_uid, remark.commentator))
    tuples = []
    for rank, match in enumerate(found[:keep]):
        praise = labelled[match.remark_id]
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
                expert=clip_of(source.takes[match.take_uid], match.start, match.start + fault.stop - fault.start),
                alignment_mm=match.alignment_mm,
                provenance=Provenance(
                    learner_remark=remark.remark_id,
                    expert_remark=match.remark_id,
                    expert_text=praise.remark.text,
                    labeller=item.labeller,
                    comment_time=remark.time,
                    expert_comment_time=praise.remark.time,
                    shared_regions=[r for r in fault.regions if r in praise.regions],
                    experts_considered=considered,
                    runners_up=runners_up,
                    rating=rating.value if rating else None,
                    rating_standardized=rating.standardized if rating else None,
                ),
            )
        )
    return tuples


def _realigned(item: CoachingTuple, poses: Callable[[str], np.ndarray], stride: int) -> float | None:
    """Error of a tuple whose expert clip was moved by a reviewer."""
    learner, expert = poses(item.learner.take_uid), poses(item.expert.take_uid)
    if item.expert.stop > len(expert):
        raise ValueError(
            f"Tuple {item.tuple_id}: the review moved the expert's clip to frames {item.expert.start}-{item.expert.stop}, "
            f"but the take has {len(expert)}. Decide again."
        )
    curve = error_curve(
        prepare_track(learner[item.learner.start : item.learner.stop]),
        prepare_track(expert[item.expert.start : item.expert.stop]),
        np.zeros(1, np.int64),
        stride,
    )
    return round(float(curve[0]), 3) if np.isfinite(curve[0]) else None
