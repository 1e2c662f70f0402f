"""`mm-coach generate` and `mm-coach retrieve`: a test split's answers and rankings in one schema, whatever runs the coach."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from mm_adapter.cli.flags import EngineFlags, SamplingFlags, TestSetFlags

if TYPE_CHECKING:
    from mm_adapter.evaluation.predictions import Backends, Function, PredictionIdentity
    from mm_adapter.evaluation.test_set import TestSet

_WHOLE, _GREEDY = TestSetFlags(), SamplingFlags()


def generate(
    coach: Path,
    tuples: Path,
    codes: Path,
    out: Path,
    *,
    test_set: TestSetFlags = _WHOLE,
    remarks: Path | None = None,
    functions: Annotated[
        tuple[Literal["commentary", "demonstration", "retrieval"], ...], Parameter(consume_multiple=1)
    ] = ("commentary", "demonstration", "retrieval"),
    backend: Literal["transformers", "vllm"] = "transformers",
    vllm: EngineFlags = "",
    sampling: SamplingFlags = _GREEDY,
) -> None:
    """Write a coach's answers on the test split, item by item; resumes; several processes: accelerate launch -m mm_adapter.cli.

    Args:
        coach: A run's coach/ or checkpoint-N folder, or a name on the Hub; an export for --backend vllm.
        tuples: Tuple folder.
        codes: Pose codes of the tuples.
        out: Folder with one .jsonl per function.
        test_set: Which tuples are asked about.
        remarks: File (.jsonl of tuple_id and text) of remarks to ask about, instead of generated ones.
        functions: What the coach does.
        backend: What runs the coach.
        vllm: Flags for vLLM: --vllm='--max-model-len 4096 --tensor-parallel-size 2'.
        sampling: How tokens are drawn.
    """
    from mm_adapter.evaluation.predictions import Backends, PredictionIdentity, read_remarks
    from mm_adapter.evaluation.test_set import open_coach, ranker_of

    folder, test = _open(coach, tuples, codes, out, test_set)
    with ExitStack() as stack:
        if backend == "vllm":
            from mm_adapter.inference.ranking import rank_by_demonstration
            from mm_adapter.serving.vllm.offline import VllmCoach

            answerer = stack.enter_context(VllmCoach(folder, test.codes, test.features, shlex.split(vllm)))
            demonstrates = answerer.can_demonstrate
            rank = partial(rank_by_demonstration, answerer) if demonstrates and answerer.can_choose else None
        else:
            saved, answerer = open_coach(test, folder, test_set.base_model)
            demonstrates, rank = saved.can_demonstrate, ranker_of(saved, answerer)
        texts, draws, sees_video = remarks and read_remarks(remarks), sampling.sampling(), answerer.features is not None
        backends = Backends(answerer, answerer if demonstrates else None, rank, texts, sampling=draws)
        identity = PredictionIdentity.of_coach(folder, test, sees_video, out, backend, remarks, draws)
        if _predict(backends.only(functions, folder), test, out, identity, functions):
            print(f"{out}: {', '.join(f'{name}.jsonl' for name in functions)}; {len(test.tuples)} tuples")


def retrieve(
    coach: Path,
    tuples: Path,
    codes: Path,
    out: Path,
    *,
    test_set: TestSetFlags = _WHOLE,
    remarks: Path | None = None,
) -> None:
    """Rank the gallery by likelihood for every test tuple; as `generate`.

    Args:
        coach: A run's coach/ or checkpoint-N folder, or a name on the Hub.
        tuples: Tuple folder.
        codes: Pose codes of the tuples.
        out: Folder with one .jsonl per function.
        test_set: Which tuples are asked about.
        remarks: File (.jsonl of tuple_id and text) of remarks to ask about, instead of generated ones.
    """
    from mm_adapter.cli.console import print_table
    from mm_adapter.evaluation.predictions import Backends, PredictionIdentity, read_remarks
    from mm_adapter.evaluation.scores import CUTS, ranking_rows
    from mm_adapter.evaluation.test_set import open_coach, ranker_of
    from mm_data.ground.shared_records import SharedRecords

    folder, test = _open(coach, tuples, codes, out, test_set)
    texts = remarks and read_remarks(remarks)
    saved, answerer = open_coach(test, folder, test_set.base_model)
    backends = Backends(None if texts else answerer, None, ranker_of(saved, answerer), texts)
    sees_video = answerer.features is not None
    identity = PredictionIdentity.of_coach(folder, test, sees_video, out, remarks=remarks)
    if _predict(backends, test, out, identity, ("retrieval",) if texts else ("commentary", "retrieval")):
        rankings = SharedRecords(out, "retrieval").read()
        records = [rankings[t.tuple_id] for t in test.tuples]
        failed = sum(not math.isfinite(record["scores"][record["positive"]]) for record in records)
        lacking = f", {failed} of them failed: the right clip has no score" if failed else ""
        headings = (*(f"R@{cut}" for cut in CUTS), "median rank")
        print_table(("score", *headings), ranking_rows(records), f"{len(records)} queries{lacking}", headings)


def _open(coach: Path, tuples: Path, codes: Path, out: Path, test_set: TestSetFlags) -> tuple[Path, TestSet]:
    from mm_adapter.checkpoint.coach import coach_folder
    from mm_adapter.distributed import launched_processes
    from mm_data.ground.files import check_apart

    folder = coach_folder(coach)
    check_apart(out, folder, tuples, codes, test_set.features)
    test = test_set.open(tuples, codes)
    if test.unusable and launched_processes().is_main_process:
        print(f"{test.unusable} test tuples left out: feature extraction rejected their clips")
    return folder, test


def _predict(
    backends: Backends, test: TestSet, out: Path, identity: PredictionIdentity, functions: Sequence[Function]
) -> bool:
    from mm_adapter.cli.console import stage_progress
    from mm_adapter.distributed import launched_processes
    from mm_adapter.evaluation.predictions import predict

    state = launched_processes()
    identity.begin(out, functions)
    with stage_progress(quiet=not state.is_main_process) as progress:
        finished = predict(backends, test.tuples, test.gallery, test.training, out, progress)
    if not finished:
        print(f"process {state.process_index} is done; others still have tuples")
    return finished
