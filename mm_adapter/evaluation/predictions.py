"""Runs the three functions over a test split and keeps what was done, item by item.

A folder of predictions::

    commentary.jsonl      tuple_id, text
    demonstration.jsonl   tuple_id, remark, pose_codes [T, M] (or pose_joints [T, 17, 3] in metres, null where malformed)
    retrieval.jsonl       tuple_id, remark, positive, scores (clip id to mean log-likelihood), pmi (minus its prior)
    run_config.json       what decides each file (`PredictionIdentity`), versions, commit
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

from mm_adapter.checkpoint.run_record import check_same_run, read_run_record, run_record, write_run_record
from mm_adapter.checkpoint.seal import identity
from mm_adapter.distributed import launch_name, launched_processes
from mm_adapter.evaluation.test_set import TestSet
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.ranking import Gallery, Ranker, candidate_priors
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.ground.digests import sha256_of
from mm_data.ground.jsonl import read_records
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.records import CoachingTuple
from mm_data.tasks.expertaf import ask_commentary, ask_demonstration

Function = Literal["commentary", "demonstration", "retrieval"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)
Engine = Literal["transformers", "vllm"]
"""What runs a coach."""
RemarkSource = Literal["generated", "expert"]
"""Whose remarks are demonstrated and ranked: the coach's own, or the expert's; a file of remarks is named by its hash."""
Progress = Callable[[str, int, int], None]
"""Is called with (what is done, number done, number in all)."""


@dataclass(frozen=True)
class Backends:
    """Which coach comments, which demonstrates and what ranks; None skips that function.

    Attributes:
        comment: Coach that comments, or None where remarks are given.
        demonstrate: Coach that generates poses: the same one, another one (ExpertAF trains them apart), or None.
        rank: Likelihoods of candidates, or None.
        remarks: Remarks by tuple id to demonstrate and rank instead of generated ones, or None.
        privileged: Commentary sees the expert's clip too ("full-sup" of ExpertAF's Table 1).
        sampling: How tokens are drawn.
    """

    comment: Answerer | None
    demonstrate: Answerer | None
    rank: Ranker | None
    remarks: Mapping[str, str] | None = None
    privileged: bool = False
    sampling: Sampling = GREEDY

    def only(self, functions: Collection[Function], coach: Path) -> "Backends":
        """Keeps these functions alone; one that the coach cannot give is an error."""
        for function, backend in (("demonstration", self.demonstrate), ("retrieval", self.rank)):
            if function in functions and backend is None:
                others = " ".join(name for name in functions if name != function)
                raise ValueError(f"{coach} cannot give {function}; leave it out: --functions {others}.")
        return replace(
            self,
            comment=self.comment if "commentary" in functions else None,
            demonstrate=self.demonstrate if "demonstration" in functions else None,
            rank=self.rank if "retrieval" in functions else None,
        )


@dataclass(frozen=True)
class PredictionIdentity:
    """Everything that decides the records of a folder of predictions, which goes on with the same alone.

    Attributes:
        inputs: Hashes of the inputs that the coaches see.
        commentator: Identity of the coach that comments.
        demonstrator: Identity of the coach that demonstrates and ranks.
        gallery: Digest of what is ranked.
        engine: What runs the coaches.
        remarks: What is demonstrated and ranked: a `RemarkSource`, or the hash of a file of remarks.
        remarks_of: Identity of the coach whose generated remarks lie in the folder, where it is another one; else None.
        privileged: Whether commentary sees the expert's clip too.
        sampling: How tokens are drawn.
    """

    inputs: Mapping[str, str | None]
    commentator: str
    demonstrator: str
    gallery: str
    engine: Engine = "transformers"
    remarks: RemarkSource | str = "generated"
    remarks_of: str | None = None
    privileged: bool = False
    sampling: Sampling = GREEDY

    @classmethod
    def of_coach(
        cls,
        coach: Path,
        test: TestSet,
        sees_video: bool,
        out: Path,
        engine: Engine = "transformers",
        remarks: Path | None = None,
        sampling: Sampling = GREEDY,
    ) -> "PredictionIdentity":
        """Says what one coach fills a folder with.

        Args:
            coach: Folder of the coach.
            test: Test set.
            sees_video: Whether the coach sees video.
            out: The folder. Remarks that lie in it count as generated, by whichever coach wrote them.
            engine: What runs the coach.
            remarks: File of remarks to demonstrate and rank, or None for generated ones.
            sampling: How tokens are drawn.

        Returns:
            The identity.
        """
        this = identity(coach)
        if remarks is not None and remarks.resolve() == (out / "commentary.jsonl").resolve():
            remarks = None
        author = read_run_record(out).get("commentary", {"coach": this})["coach"]
        return cls(
            inputs=test.inputs_seen(sees_video),
            commentator=this,
            demonstrator=this,
            gallery=test.gallery.digest,
            engine=engine,
            remarks="generated" if remarks is None else sha256_of(remarks),
            remarks_of=author if remarks is None and author != this else None,
            sampling=sampling,
        )

    def of_function(self, function: Function) -> dict[str, Any]:
        """Returns what decides one function's records, JSON-ready."""
        coach = {"coach": self.commentator if function == "commentary" else self.demonstrator, "backend": self.engine}
        sampling = {"sampling": vars(self.sampling)}
        remarks = {"remarks": self.remarks} | ({} if self.remarks_of is None else {"remarks_of": self.remarks_of})
        if function == "commentary":
            return {**coach, **sampling, "privileged": self.privileged}
        if function == "demonstration":
            return {**coach, **sampling, **remarks}
        return {**coach, **remarks, "gallery": self.gallery}

    def begin(self, out: Path, functions: Collection[Function] = FUNCTIONS) -> None:
        """Notes in a folder what decides the records of these functions; where that was something else, it is an error."""
        record = run_record(inputs=dict(self.inputs), **{name: self.of_function(name) for name in functions})
        begun = read_run_record(out)
        check_same_run(out, record, [name for name in ("inputs", *functions) if name in begun])
        if launched_processes().is_main_process:
            write_run_record(out, read_run_record(out) | record)


def predict(
    backends: Backends,
    tuples: Sequence[CoachingTuple],
    gallery: Gallery,
    training: list[CoachingTuple],
    out: Path,
    progress: Progress = lambda function, done, total: None,
) -> bool:
    """Fills a folder of predictions; goes on from what it already holds, and shares the work among launched processes.

    No process waits for another: whichever finds every record there joins the parts.

    Args:
        backends: Which coach comments, demonstrates and ranks.
        tuples: Test tuples.
        gallery: Clips that are ranked.
        training: Training tuples, whose prompts estimate how likely a candidate is for anybody (`candidate_priors`).
        out: The folder.
        progress: Is called with (function, done, total) of this process.

    Returns:
        Whether everything is there and this process joined it.

    Raises:
        ValueError: Poses or ranks are asked for after remarks that are neither given nor generated.
    """
    state = launched_processes()
    share = (state.process_index, state.num_processes, launch_name())
    files = {name: SharedRecords(out, name, *share) for name in FUNCTIONS}
    by_id = {t.tuple_id: t for t in tuples}
    ids, functions = [*by_id], []

    def fill(
        function: Function, answer: Callable[[list[CoachingTuple]], Iterable[dict[str, Any]]], at_once: int = 1
    ) -> None:
        functions.append(function)
        records = files[function]
        pending = [by_id[name] for name in records.pending(ids)]
        for start in range(0, len(pending), at_once):
            batch = pending[start : start + at_once]
            for t, record in zip(batch, answer(batch), strict=True):
                records.append(t.tuple_id, record)
            progress(function, start + len(batch), len(pending))

    if backends.comment:
        fill("commentary", partial(_comment, backends), backends.comment.at_once)
    remarks = backends.remarks or {name: record["text"] for name, record in files["commentary"].read().items()}
    mine = files["commentary"].mine(ids)
    if (backends.demonstrate or backends.rank) and (missing := [name for name in mine if name not in remarks]):
        lacking = f"{len(missing)} of {len(mine)} tuples have no remark to demonstrate, such as {missing[0]}"
        raise ValueError(f"{lacking}; generate commentary too, or give remarks.")
    if backends.demonstrate:
        fill("demonstration", partial(_demonstrate, backends, remarks), backends.demonstrate.at_once)
    if backends.rank:
        priors = cache(partial(candidate_priors, backends.rank, training, gallery))  # only where something is ranked
        fill("retrieval", partial(_rank, backends.rank, remarks, gallery, priors))
    return join_all([files[name] for name in functions], ids)


def _comment(backends: Backends, tuples: list[CoachingTuple]) -> list[dict[str, Any]]:
    assert backends.comment is not None
    questions = [ask_commentary(t.learner.clip_id, t.expert.clip_id if backends.privileged else None) for t in tuples]
    return [{"text": text} for text in backends.comment.answer_words(questions, backends.sampling)]


def _demonstrate(backends: Backends, remarks: Mapping[str, str], tuples: list[CoachingTuple]) -> list[dict[str, Any]]:
    """Codes or, of a coach that writes poses as text, joints."""
    assert backends.demonstrate is not None
    questions = [ask_demonstration(t.learner.clip_id, remarks[t.tuple_id]) for t in tuples]
    records = []
    for t, poses in zip(tuples, backends.demonstrate.answer_poses(questions, backends.sampling), strict=True):
        kind = "pose_joints" if poses is None or poses.ndim == 3 else "pose_codes"
        records.append({"remark": remarks[t.tuple_id], kind: None if poses is None else poses.tolist()})
    return records


def _rank(
    rank: Ranker,
    remarks: Mapping[str, str],
    gallery: Gallery,
    priors: Callable[[], dict[str, float]],
    tuples: list[CoachingTuple],
) -> Iterator[dict[str, Any]]:
    prior = priors()
    for t in tuples:
        pool, remark = gallery.pool(t), remarks[t.tuple_id]
        scores = dict(zip(pool, rank(t.learner.clip_id, remark, pool).tolist(), strict=True))
        pmi = {clip: score - prior[clip] for clip, score in scores.items()}
        yield {"remark": remark, "positive": gallery.positive(t), "scores": scores, "pmi": pmi}


def read_remarks(path: Path) -> dict[str, str]:
    """Reads remarks by tuple id from a ``.jsonl`` with ``tuple_id`` and ``text`` in every line, such as ``commentary.jsonl``."""
    if not path.is_file():
        raise FileNotFoundError(f"Remarks {path} do not exist.")
    records, torn = read_records(path)
    if torn or not records or any(not {"tuple_id", "text"} <= record.keys() for record in records):
        unreadable = f"{torn} of {len(records) + torn} cannot be read"
        raise ValueError(f"{path}: every line has to be a record with tuple_id and text; {unreadable}.")
    return {record["tuple_id"]: record["text"] for record in records}


def read_predictions(out: Path, tuples: Sequence[CoachingTuple]) -> list[dict[str, Any]]:
    """Reads one record per tuple with what its functions gave: ``commentary``, which has to be there, and the other files' entries."""
    records = {name: SharedRecords(out, name).read() for name in FUNCTIONS}
    if missing := [t.tuple_id for t in tuples if t.tuple_id not in records["commentary"]]:
        raise ValueError(f"{out}: {len(missing)} of {len(tuples)} tuples have no remark, such as {missing[0]}.")
    return [
        {
            **records["demonstration"].get(t.tuple_id, {}),
            **records["retrieval"].get(t.tuple_id, {}),
            "tuple_id": t.tuple_id,
            "commentary": records["commentary"][t.tuple_id]["text"],
        }
        for t in tuples
    ]
