"""Commands that question a trained coach and report on it."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mm_adapter.cli.console import stage_progress
from mm_adapter.cli.flags import bert_model
from mm_adapter.cli.test_set import (
    NEAREST_NEIGHBOUR,
    Evaluation,
    TestSet,
    coach_predictions,
    neighbour_predictions,
    score,
    zero_shot_predictions,
)
from mm_adapter.contrastive import CONFIG as MATCHER_CONFIG
from mm_data.files import check_apart, write_atomically
from mm_eval.answers import write_answers
from mm_eval.report import write_report
from mm_eval.zero_shot import RECORD as ZERO_SHOT


def run_evaluate(args: argparse.Namespace) -> None:
    """Predicts (resuming) and scores."""
    check_apart(args.out, Path(args.coach), args.tuples, args.codes, args.features, args.demonstrator)
    result_path = args.out / "metrics.json"
    if result_path.is_file():
        print(f"{result_path} is there already; delete {args.out} to evaluate again")
        return _print_summary(json.loads(result_path.read_text()))
    test = TestSet.open(args.tuples, args.codes, args.features, args.gallery == "activity", args.max_tuples)
    if test.unusable:
        print(f"{test.unusable} test tuples left out: feature extraction rejected their clips")
    with stage_progress() as progress:
        if str(args.coach) == NEAREST_NEIGHBOUR or (args.coach / MATCHER_CONFIG).is_file():
            predicted = neighbour_predictions(test, args.coach)
        elif (args.coach / ZERO_SHOT).is_file():
            predicted = zero_shot_predictions(test, args.coach)
        else:
            predicted = coach_predictions(test, args.coach, args.demonstrator, args.privileged, args.out, progress)
    if predicted is None:
        print("this process is done; others still have tuples")
        return None
    write_evaluation(args.out, score(test, predicted, bert_model(args)), coach=str(args.coach), tuples=str(args.tuples))
    return None


def write_evaluation(out: Path, evaluation: Evaluation, **about: str) -> None:
    """Answers, examples and, last, metrics; prints the summary."""
    out.mkdir(parents=True, exist_ok=True)
    write_answers(out, evaluation.items)
    write_atomically(out / "examples.json", json.dumps(evaluation.examples))
    result = evaluation.result | about
    write_atomically(out / "metrics.json", json.dumps(result, indent=1))
    _print_summary(result)


def _print_summary(result: dict[str, Any]) -> None:
    table = Table(title="Synthetic data" if result["synthetic_data"] else "Results", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in result["summary"].items():
        table.add_row(name, "not computed" if value is None else f"{value:.3f}")
    Console().print(table)


def run_report(args: argparse.Namespace) -> None:
    """Writes the page; an existing one for the same evaluation is kept."""
    check_apart(args.out, args.evaluation, args.training, args.tokenizer_training)
    evaluation = json.loads((args.evaluation / "metrics.json").read_text())
    page = args.out / "index.html"
    if page.is_file() and page.stat().st_mtime > (args.evaluation / "metrics.json").stat().st_mtime:
        print(f"{page} is up to date")
        return
    minutes = (time.time() - args.started) / 60 if args.started else None
    evaluation["summary"]["minutes"] = minutes
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "metrics.json", json.dumps(evaluation, indent=1))
    write_report(
        args.out, args.evaluation, evaluation, args.training, args.tokenizer_training
    )  # last: it marks the end
    print(f"{page}")
