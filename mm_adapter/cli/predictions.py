"""`mm-coach generate` and `mm-coach retrieve`: a test split's answers and rankings in one schema, whatever the backend."""

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from mm_adapter.checkpoint.coach import coach_folder
from mm_adapter.checkpoint.run_record import read_run_record
from mm_adapter.checkpoint.seal import identity
from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.distributed import launched_processes
from mm_adapter.evaluation.predictions import Functions, predict
from mm_adapter.evaluation.test_set import (
    GENERATED,
    TRANSFORMERS,
    TestSet,
    begin_predictions,
    open_coach,
)
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.ranking import Ranker, rank_by_demonstration, rank_by_remark
from mm_adapter.inference.sampling import Sampling
from mm_data.ground.digests import sha256_of
from mm_data.ground.files import check_apart
from mm_data.ground.jsonl import read_records
from mm_data.ground.shared_records import SharedRecords
from mm_eval.metrics.retrieval import chance_recall, ranks

if TYPE_CHECKING:
    from mm_adapter.serving.vllm.offline import VllmCoach

VLLM = "vllm"
CUTS = (1, 5, 10, 50)


def run_generate(args: argparse.Namespace) -> None:
    """Comments, demonstrates and ranks, as asked."""
    args.coach, test = coach_folder(args.coach), _open(args)
    if args.backend != VLLM:
        opened, coach = open_coach(test, args.coach, args.base_model)
        shows = coach if opened.can_demonstrate else None
        _generate(args, test, coach, shows, partial(rank_by_demonstration if shows else rank_by_remark, coach))
        return
    from mm_adapter.serving.vllm.offline import VllmCoach

    with VllmCoach(args.coach, test.codes, test.features, shlex.split(args.vllm)) as engine:
        _generate(
            args, test, engine, engine if engine.can_demonstrate else None, engine.rank if engine.can_rank else None
        )


def _generate(
    args: argparse.Namespace, test: TestSet, coach: "Coach | VllmCoach", shows: Answerer | None, rank: Ranker | None
) -> None:
    for function, able in (("demonstration", shows), ("retrieval", rank)):
        if function in args.functions and able is None:
            others = [name for name in args.functions if name != function]
            raise ValueError(f"{args.coach} cannot give {function}; leave it out: --functions {' '.join(others)}.")
    functions = Functions(
        coach if "commentary" in args.functions else None,
        shows if "demonstration" in args.functions else None,
        rank if "retrieval" in args.functions else None,
        _remarks(args),
        sampling=Sampling(args.temperature, args.top_p, args.top_k, args.seed),
    )
    if _predict(args, test, functions, args.functions, args.backend, coach.features is not None):
        print(f"{args.out}: {', '.join(f'{name}.jsonl' for name in args.functions)}; {len(test.tuples)} tuples")


def run_retrieve(args: argparse.Namespace) -> None:
    """Ranks and prints how well."""
    args.coach, test = coach_folder(args.coach), _open(args)
    remarks = _remarks(args)
    opened, coach = open_coach(test, args.coach, args.base_model)
    rank = partial(rank_by_demonstration if opened.can_demonstrate else rank_by_remark, coach)
    functions = Functions(None if remarks else coach, None, rank, remarks)
    asked = ["retrieval"] if remarks else ["commentary", "retrieval"]
    if _predict(args, test, functions, asked, TRANSFORMERS, coach.features is not None):
        records = SharedRecords(args.out, "retrieval").read()
        _print_ranking([records[t.tuple_id] for t in test.tuples])


def _open(args: argparse.Namespace) -> TestSet:
    check_apart(args.out, Path(args.coach), args.tuples, args.codes, args.features)
    test = TestSet.open(args.tuples, args.codes, args.features, args.gallery == "activity", args.max_tuples)
    if test.unusable and launched_processes().is_main_process:
        print(f"{test.unusable} test tuples left out: feature extraction rejected their clips")
    return test


def _remarks(args: argparse.Namespace) -> dict[str, str] | None:
    """``tuple_id`` and ``text`` per line, as `generate` writes commentary."""
    path: Path | None = args.remarks
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(f"Remarks {path} do not exist.")
    records, torn = read_records(path)
    if torn or not records or any(not {"tuple_id", "text"} <= record.keys() for record in records):
        raise ValueError(
            f"{path}: every line has to be a record with tuple_id and text; {torn} of {len(records) + torn} cannot be read."
        )
    return {record["tuple_id"]: record["text"] for record in records}


def _predict(
    args: argparse.Namespace,
    test: TestSet,
    functions: Functions,
    asked: Sequence[str],
    backend: str,
    sees_video: bool,
) -> bool:
    given: Path | None = args.remarks
    if given is not None and given.resolve() == (args.out / "commentary.jsonl").resolve():
        given = None
    common = {"coach": identity(args.coach), "backend": backend}
    made_by = read_run_record(args.out).get("commentary", common)  # as generated before, or now by this coach
    others = {"remarks_of": made_by["coach"]} if made_by["coach"] != common["coach"] else {}
    remarks = {"remarks": sha256_of(given) if given else GENERATED, **({} if given else others)}
    drawn = {"sampling": vars(functions.sampling)}
    settings = {
        "commentary": {**common, **drawn, "privileged": False},
        "demonstration": {**common, **drawn, **remarks},
        "retrieval": {**common, **remarks, "gallery": test.gallery.digest},
    }
    begin_predictions(args.out, inputs=test.inputs_seen(sees_video), **{name: settings[name] for name in asked})
    with stage_progress(quiet=not launched_processes().is_main_process) as progress:
        finished = predict(functions, test.tuples, test.gallery, test.training, args.out, progress)
    if not finished:
        print(f"process {launched_processes().process_index} is done; others still have tuples")
    return finished


def _print_ranking(records: list[dict[str, Any]]) -> None:
    clips = sorted({clip for record in records for clip in record["scores"]})
    column = {clip: index for index, clip in enumerate(clips)}
    positives = np.array([column[record["positive"]] for record in records])
    failed = sum(not np.isfinite(record["scores"][record["positive"]]) for record in records)
    lacking = f", {failed} of them failed: the right clip has no score" if failed else ""
    table = Table(title=f"{len(records)} queries{lacking}", title_justify="left")
    for heading in ("score", *(f"R@{k}" for k in CUTS), "median rank"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, title in (("pmi", "mean log-likelihood − prior"), ("scores", "mean log-likelihood")):
        scores = np.full((len(records), len(clips)), -np.inf)
        candidates = np.zeros(scores.shape, bool)
        for row, record in enumerate(records):
            for clip, value in record[name].items():
                scores[row, column[clip]], candidates[row, column[clip]] = value, True
        found = ranks(scores, positives, candidates)
        found = found[np.isfinite(found)]
        table.add_row(title, *(f"{np.mean(found <= k):.3f}" for k in CUTS), f"{np.median(found):.1f}")
    sizes = candidates.sum(1)
    chance = [f"{chance_recall(sizes, k):.3f}" for k in CUTS]
    table.add_row(f"chance (gallery {np.median(sizes):.0f})", *chance, f"{np.median((sizes + 1) / 2):.1f}")
    plain_console().print(table)
