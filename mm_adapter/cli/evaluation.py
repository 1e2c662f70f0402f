"""Commands that question a trained coach and report on it."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from mm_adapter.checkpoint.coach import coach_folder
from mm_adapter.checkpoint.run_record import differences
from mm_adapter.checkpoint.seal import identity
from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.cli.old_flags import bert_model
from mm_adapter.evaluation.matcher import CONFIG as MATCHER_CONFIG
from mm_adapter.evaluation.test_set import (
    NEAREST_NEIGHBOUR,
    Evaluation,
    TestSet,
    coach_predictions,
    neighbour_predictions,
    score,
    zero_shot_predictions,
)
from mm_data.ground.digests import hash_of, sha256_of
from mm_data.ground.files import check_apart, write_atomically
from mm_data.ground.safe_load import read_json
from mm_eval.answers.test_sets import FILE as ANSWERS
from mm_eval.answers.test_sets import write_answers
from mm_eval.answers.zero_shot import RECORD as ZERO_SHOT
from mm_eval.pages.report import write_report
from mm_eval.statistics.storage import read_metrics, write_metrics

MADE_OF, REPORT_OF = "made_of", "report_of"
"""Entries of ``metrics.json`` that tell whether it is what would be made again."""


def run_evaluate(args: argparse.Namespace) -> None:
    """Predicts (resuming) and scores; an evaluation of the same things is left as it is.

    Raises:
        ValueError: ``OUT`` holds the evaluation of something else; says what differs.
    """
    check_apart(args.out, Path(args.coach), args.tuples, args.codes, args.features, args.demonstrator)
    coach = args.coach if str(args.coach) == NEAREST_NEIGHBOUR else coach_folder(args.coach)
    demonstrator = None if args.demonstrator is None else coach_folder(args.demonstrator)
    test = TestSet.open(args.tuples, args.codes, args.features, args.gallery == "activity", args.max_tuples)
    bert = bert_model(args)
    made_of = {
        "coach": _system_hash(coach),
        "demonstrator": demonstrator and identity(demonstrator),
        "privileged": args.privileged,
        "gallery": args.gallery,
        "number of tuples": len(test.tuples),
        "bert": bert and [str(bert.folder.resolve()), bert.layer, str(bert.baseline)],
        **test.inputs,
    }
    if (earlier := _finished(args.out / "metrics.json", made_of)) is not None:
        print(f"{args.out / 'metrics.json'} is there already; delete {args.out} to evaluate again")
        return _print_summary(earlier)
    if test.unusable:
        print(f"{test.unusable} test tuples left out: feature extraction rejected their clips")
    with stage_progress() as progress:
        if str(coach) == NEAREST_NEIGHBOUR or (coach / MATCHER_CONFIG).is_file():
            predicted = neighbour_predictions(test, coach, args.base_model)
        elif (coach / ZERO_SHOT).is_file():
            predicted = zero_shot_predictions(test, coach)
        else:
            predicted = coach_predictions(
                test, coach, demonstrator, args.privileged, args.out, progress, args.base_model
            )
    if predicted is None:
        print("this process is done; others still have tuples")
        return None
    about = {"coach": str(args.coach), "tuples": str(args.tuples), MADE_OF: made_of}
    write_evaluation(args.out, score(test, predicted, bert), **about)
    return None


def _system_hash(coach: Path) -> str:
    """What tells one evaluated system from another."""
    if str(coach) == NEAREST_NEIGHBOUR:
        return NEAREST_NEIGHBOUR
    return sha256_of(coach / ANSWERS) if (coach / ZERO_SHOT).is_file() else identity(coach)


def _finished(path: Path, made_of: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics that were made of the same things, or None where there are none.

    Raises:
        ValueError: They were made of other things; lists them.
    """
    if not path.is_file():
        return None
    earlier = read_metrics(path.parent)
    if changed := differences(earlier.get(MADE_OF, {}), made_of):
        raise ValueError(
            f"{path} is of another evaluation: {'; '.join(changed)}. Give another folder, or delete {path.parent} to evaluate again."
        )
    return earlier


def write_evaluation(out: Path, evaluation: Evaluation, **about: Any) -> None:
    """Answers, examples and, last, metrics; prints the summary."""
    out.mkdir(parents=True, exist_ok=True)
    write_answers(out, evaluation.items)
    write_atomically(out / "examples.json", json.dumps(evaluation.examples))
    result = evaluation.result | about
    write_metrics(out, result)
    _print_summary(result)


def _print_summary(result: dict[str, Any]) -> None:
    table = Table(title="Synthetic data" if result["synthetic_data"] else "Results", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in result["summary"].items():
        table.add_row(name, "not computed" if value is None else f"{value:.3f}")
    plain_console().print(table)


def run_report(args: argparse.Namespace) -> None:
    """Writes the page; an existing one of the same evaluation and trainings is kept.

    Raises:
        ValueError: The page is about something else; says what differs.
    """
    check_apart(args.out, args.evaluation, args.training, args.tokenizer_training)
    hint = "`mm-coach evaluate` writes it when it has scored everything."
    evaluation = read_metrics(args.evaluation, hint=hint)
    page, numbers = args.out / "index.html", args.out / "metrics.json"
    made_of = _report_of(args, evaluation)
    if page.is_file():
        before = read_json(numbers, f"{page} was not finished; delete it.").get(REPORT_OF, {})
        if changed := differences(before, made_of):
            raise ValueError(
                f"{page} is the report of something else: {'; '.join(changed)}. Give another folder, or delete the page to write it again."
            )
        print(f"{page} is up to date")
        return
    minutes = (time.time() - args.started) / 60 if args.started else None
    evaluation["summary"]["minutes"] = minutes
    args.out.mkdir(parents=True, exist_ok=True)
    write_metrics(args.out, {**evaluation, REPORT_OF: made_of})
    write_report(
        args.out, args.evaluation, evaluation, args.training, args.tokenizer_training
    )  # last: it marks the end
    print(f"{page}")


def _report_of(args: argparse.Namespace, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Hashes of all that a page shows but for the minutes."""
    shown = {key: value for key, value in evaluation.items() if key != REPORT_OF}
    shown["summary"] = {key: value for key, value in evaluation["summary"].items() if key != "minutes"}
    folders = {"training": args.training, "tokenizer training": args.tokenizer_training}
    return {
        "evaluation": hash_of(shown),
        "examples": sha256_of(args.evaluation / "examples.json"),
        **{name: folder and sha256_of(folder / "trainer_state.json") for name, folder in folders.items()},
    }
