"""Runs the three functions over a test split and keeps what was done, item by item.

A folder of predictions::

    commentary.jsonl      tuple_id, text
    demonstration.jsonl   tuple_id, remark, pose_codes [T, M] (or pose_joints [T, 17, 3] in metres, null where malformed)
    retrieval.jsonl       tuple_id, remark, positive, scores (clip id to mean log-likelihood), pmi (minus its prior)
    run_config.json       coach, settings, versions, commit
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_adapter.distributed import launch_name, launched_processes
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.ranking import Gallery, Ranker, candidate_priors
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.records import CoachingTuple

FUNCTIONS = ("commentary", "demonstration", "retrieval")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Functions:
    """Who does what.

    Attributes:
        comment: Comments, or None where remarks are given.
        demonstrate: Generates poses: the same coach, another one (ExpertAF trains them apart), or None.
        rank: Ranks candidates, or None.
        remarks: By tuple id, asked about instead of generated ones.
        privileged: Commentary sees the expert's clip too ("full-sup" of ExpertAF's Table 1).
        sampling: How tokens are drawn.
    """

    comment: Answerer | None
    demonstrate: Answerer | None
    rank: Ranker | None
    remarks: Mapping[str, str] | None = None
    privileged: bool = False
    sampling: Sampling = GREEDY


def predict(
    functions: Functions,
    tuples: Sequence[CoachingTuple],
    gallery: Gallery,
    training: list[CoachingTuple],
    out: Path,
    progress: Progress = lambda function, done, total: None,
) -> bool:
    """Fills a folder of predictions; goes on from what it already holds, and shares the work among launched processes.

    No process waits for another: whichever finds every record there joins the parts.

    Args:
        functions: Who does what.
        tuples: Test tuples.
        gallery: What is ranked.
        training: See `retrieve`.
        out: The folder.
        progress: Called with (function, done, total) of this process.

    Returns:
        Whether everything is there and this process joined it.

    Raises:
        ValueError: Poses or ranks are asked for after remarks that are neither given nor generated.
    """
    state = launched_processes()
    share = (state.process_index, state.num_processes, launch_name())
    files = {name: SharedRecords(out, name, *share) for name in FUNCTIONS}
    done = []
    if functions.comment:
        done.append("commentary")
        comment(functions.comment, tuples, files["commentary"], progress, functions.sampling, functions.privileged)
    remarks = functions.remarks or {name: record["text"] for name, record in files["commentary"].read().items()}
    mine = files["commentary"].mine([t.tuple_id for t in tuples])
    if (functions.demonstrate or functions.rank) and (missing := [name for name in mine if name not in remarks]):
        raise ValueError(
            f"{len(missing)} of {len(mine)} tuples have no remark to demonstrate, such as {missing[0]}; generate commentary too, or give remarks."
        )
    if functions.demonstrate:
        done.append("demonstration")
        demonstrate(functions.demonstrate, tuples, remarks, files["demonstration"], progress, functions.sampling)
    if functions.rank:
        done.append("retrieval")
        retrieve(functions.rank, tuples, remarks, gallery, training, files["retrieval"], progress)
    return join_all([files[name] for name in done], [t.tuple_id for t in tuples])


def comment(
    coach: Answerer,
    tuples: Sequence[CoachingTuple],
    records: SharedRecords,
    progress: Progress,
    sampling: Sampling = GREEDY,
    privileged: bool = False,
) -> None:
    """Remarks on learners' clips.

    Args:
        coach: What comments.
        tuples: All of them; those of this process that are not yet there are done.
        records: Where remarks are kept.
        progress: Called with (function, done, total).
        sampling: How tokens are drawn.
        privileged: Also show the expert's clip ("full-sup" of ExpertAF's Table 1).
    """
    pending = _pending(tuples, records)
    experts = [t.expert.clip_id for t in pending] if privileged else None
    texts = coach.comments([t.learner.clip_id for t in pending], experts, sampling)
    for done, (t, text) in enumerate(zip(pending, texts, strict=True), start=1):
        records.append(t.tuple_id, {"text": text})
        progress("commentary", done, len(pending))


def demonstrate(
    coach: Answerer,
    tuples: Sequence[CoachingTuple],
    remarks: Mapping[str, str],
    records: SharedRecords,
    progress: Progress,
    sampling: Sampling = GREEDY,
) -> None:
    """Corrected poses after remarks; see `comment`.

    Args:
        coach: Answerer, with codes or, where it writes poses as text, with joints.
        tuples: See `comment`.
        remarks: By tuple id.
        records: Where poses are kept.
        progress: See `comment`.
        sampling: See `comment`.
    """
    pending = _pending(tuples, records)
    asked = [remarks[t.tuple_id] for t in pending]
    shown = coach.demonstrations([t.learner.clip_id for t in pending], asked, sampling)
    for done, (t, remark, poses) in enumerate(zip(pending, asked, shown, strict=True), start=1):
        written = poses is None or poses.ndim == 3
        record = {
            "remark": remark,
            "pose_joints" if written else "pose_codes": None if poses is None else poses.tolist(),
        }
        records.append(t.tuple_id, record)
        progress("demonstration", done, len(pending))


def retrieve(
    rank: Ranker,
    tuples: Sequence[CoachingTuple],
    remarks: Mapping[str, str],
    gallery: Gallery,
    training: list[CoachingTuple],
    records: SharedRecords,
    progress: Progress,
) -> None:
    """Likelihoods of every candidate after remarks; see `comment`.

    Args:
        rank: How likely candidates are.
        tuples: See `comment`.
        remarks: By tuple id.
        gallery: What is ranked.
        training: Training tuples, whose prompts estimate how likely a candidate is for anybody (`candidate_priors`).
        records: Where scores are kept.
        progress: See `comment`.
    """
    pending = _pending(tuples, records)
    prior = candidate_priors(rank, training, gallery) if pending else {}
    for done, t in enumerate(pending, start=1):
        pool, remark = gallery.pool(t), remarks[t.tuple_id]
        scores = dict(zip(pool, rank(t.learner.clip_id, remark, pool).tolist(), strict=True))
        record = {
            "remark": remark,
            "positive": gallery.positive(t),
            "scores": scores,
            "pmi": {clip: score - prior[clip] for clip, score in scores.items()},
        }
        records.append(t.tuple_id, record)
        progress("retrieval", done, len(pending))


def read_predictions(out: Path, tuples: Sequence[CoachingTuple]) -> list[dict[str, Any]]:
    """One record per tuple with what its functions gave: ``commentary`` and the other files' entries.

    Raises:
        ValueError: A tuple has no remark.
    """
    found = {name: SharedRecords(out, name).read() for name in FUNCTIONS}
    if missing := [t.tuple_id for t in tuples if t.tuple_id not in found["commentary"]]:
        raise ValueError(f"{out}: {len(missing)} of {len(tuples)} tuples have no remark, such as {missing[0]}.")
    return [
        {
            **found["demonstration"].get(t.tuple_id, {}),
            **found["retrieval"].get(t.tuple_id, {}),
            "tuple_id": t.tuple_id,
            "commentary": found["commentary"][t.tuple_id]["text"],
        }
        for t in tuples
    ]


def _pending(tuples: Sequence[CoachingTuple], records: SharedRecords) -> list[CoachingTuple]:
    there = records.read()
    mine = set(records.mine([t.tuple_id for t in tuples]))
    return [t for t in tuples if t.tuple_id in mine and t.tuple_id not in there]
