"""Builds coaching tuples from a data set: read, choose, label, pair, align, review (ExpertAF §3.2). Every stage resumes."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mm_data.alignment import error_curve, prepare_track
from mm_data.files import write_atomically
from mm_data.funnel import Funnel
from mm_data.labelling import Labeller, RulesLabeller, label_remarks
from mm_data.mining import Alignment, align_faults
from mm_data.pairing import (
    Fault,
    PairingOptions,
    clip_of,
    gallery_clips,
    locate_faults,
    sort_by_role,
    split_by_participant,
)
from mm_data.records import CoachingTuple, LabelledRemark, Provenance, RunnerUp, Source, Take
from mm_data.review.decisions import apply_decisions, read_decisions
from mm_data.sources import cache_poses, read_source
from mm_data.tuple_store import LABELS, MANIFEST, POSES, SPLITS, finish_folder


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


class Report(Protocol):
    """Receives what happens."""

    def line(self, text: str) -> None:
        """A stage has finished."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Opens a progress bar; the result is called with the number done."""
        ...


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

    A finished folder with the same inputs and options is left as it is. An unfinished one goes on: pose arrays, answers
    of a language model and aligned faults are not computed again. Decisions of reviewers may change at any time.

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
        ValueError: A file is malformed, a stage dropped too much, or ``out`` was built from something else.
    """
    source = read_source(root, options.max_drop_rate)
    label = labeller(source)
    request = {"source": str(root.resolve()), "labeller": label.version, **asdict(options)}
    request = json.loads(json.dumps(request))
    reviewed = hashlib.sha256(review.read_bytes()).hexdigest() if review is not None and review.is_file() else None
    if manifest := _finished(out, request, reviewed):
        report.line(f"{out} is up to date: {manifest['tuples']}")
        return manifest
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, request)
    report.line(f"read {len(source.takes)} takes and {len(source.remarks)} remarks")

    funnels = [*source.funnels, *(Funnel(name, options.max_drop_rate) for name in ("read poses", "choose takes", "choose remarks", "label remarks"))]  # fmt: skip
    pose_funnel, take_funnel, remark_funnel, label_funnel = funnels[-4:]
    with report.progress("reading poses", len(source.takes)) as progress:
        allow_absent = options.pairing.allow_unaligned
        with_poses = cache_poses(source, out / POSES, pose_funnel, workers, allow_absent, progress)
    pose_funnel.check()
    report.line(f"read the poses of {len(with_poses)} takes")
    splits = _choose_takes({uid: source.takes[uid] for uid in with_poses}, options, take_funnel)
    remarks = []
    for remark in source.remarks:
        if remark.take_uid in splits:
            remark_funnel.keep()
            remarks.append(remark)
        else:
            remark_funnel.drop("its take was not chosen", remark.remark_id)
    remark_funnel.check()

    with report.progress(f"labelling with {label.version}", len(remarks)) as progress:
        labelled = label_remarks(label, remarks, out / LABELS, label_funnel, progress)
    label_funnel.check()
    report.line(f"labelled {len(labelled)} remarks with {label.version}")

    @lru_cache(maxsize=64)
    def poses(uid: str) -> np.ndarray:
        return np.load(out / POSES / f"{uid}.npy", mmap_mode="r")

    # Remarks that play another role than a learner's fault are no loss, so this stage has no threshold.
    role_funnel = Funnel("faults of learners", 1.0)
    faults, praise = sort_by_role(labelled, source.takes, splits, role_funnel)
    role_funnel.check()
    pair_funnel, align_funnel = Funnel("pair", options.max_drop_rate), Funnel("align", options.max_drop_rate)
    located = locate_faults(faults, source.takes, splits, praise, poses, options.pairing, pair_funnel)
    pair_funnel.check()
    by_id = {item.remark.remark_id: item for item in labelled}
    tuples: list[CoachingTuple] = []
    with report.progress("aligning faults with experts", len(located)) as progress:
        shards = out / "alignments"
        for fault, found, considered in align_faults(
            located, praise, out / POSES, options.pairing, shards, workers, progress
        ):
            if found:
                align_funnel.keep()
                tuples += _tuples(fault, found, considered, by_id, source, options.pairing)
            else:
                align_funnel.drop("no expert window that can be compared", fault.remark_id)
    align_funnel.check()

    review_funnel = Funnel("review the test split", 1.0)
    test = apply_decisions(
        [t for t in tuples if t.split == "test"],
        read_decisions(review) if review is not None else {},
        lambda item: _realigned(item, poses, options.pairing.stride),
        options.reviewed_only,
        review_funnel,
    )
    chosen = {"train": [t for t in tuples if t.split == "train"], "test": test}
    for split in SPLITS:
        if not chosen[split]:
            raise ValueError(
                f"No tuple in the {split} split: the data set is too small, has no {split} participants with both skills, "
                "or every tuple was rejected in review."
            )
    gallery = gallery_clips(labelled, source.takes, splits, poses, options.pairing, "test")
    all_funnels = [*funnels, role_funnel, pair_funnel, align_funnel, review_funnel]
    manifest = finish_folder(out, request, chosen, gallery, all_funnels, source.synthetic, reviewed)
    report.line(
        f"paired and aligned: {len(chosen['train'])} training tuples, {len(test)} test tuples, {len(gallery)} more expert clips for the gallery"
    )
    return manifest


def _finished(out: Path, request: dict[str, Any], reviewed: str | None) -> dict[str, Any] | None:
    path = out / MANIFEST
    manifest = json.loads(path.read_text()) if path.is_file() else None
    return manifest if manifest and manifest["request"] == request and manifest["review"] == reviewed else None


def _claim(out: Path, request: dict[str, Any]) -> None:
    """Marks a folder as begun from one source with one set of options.

    Raises:
        ValueError: It was begun from others.
    """
    path = out / "request.json"
    if path.is_file() and (begun := json.loads(path.read_text())) != request:
        before, now = _flat(begun), _flat(request)
        differing = ", ".join(
            f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in now if before.get(key) != now[key]
        )
        raise ValueError(
            f"{out} was built with other inputs or options: {differing}. Give another folder or delete it."
        )
    write_atomically(path, json.dumps(request, indent=2))


def _flat(request: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in request.items() if key != "pairing"}, **request.get("pairing", {})}


def _choose_takes(takes: dict[str, Take], options: BuildOptions, funnel: Funnel) -> dict[str, str]:
    """Take uid to split for takes of the wanted activities that have a skill level."""
    wanted = {}
    for uid, take in takes.items():
        if options.activities and take.activity not in options.activities:
            funnel.drop("activity is not wanted", f"{uid} ({take.activity})")
        elif take.skill is None:
            funnel.drop("no proficiency label", uid)
        else:
            wanted[uid] = take
    splits = split_by_participant(wanted, funnel)
    funnel.check()
    return splits


def _tuples(
    fault: Fault,
    found: list[Alignment],
    considered: int,
    labelled: dict[str, LabelledRemark],
    source: Source,
    options: PairingOptions,
) -> list[CoachingTuple]:
    """The k best experts as tuples; the others as runners-up of the first."""
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
                task=take.task,
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
