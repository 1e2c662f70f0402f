"""`mm-coach judge`: language models as judges."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.cli.old_endpoints import checked_budget, endpoint_of, print_estimate
from mm_data.ground.files import check_apart, write_atomically
from mm_eval.answers.test_sets import TRUTH, TestItem, evenly_spaced, read_answers
from mm_eval.judge.audit import audit_page
from mm_eval.judge.calibration import ENOUGH_ITEMS, calibrate, labelling_sheet
from mm_eval.judge.judging import Plan, estimate_judging, judge, read_judgements
from mm_eval.judge.protocols import PREFERENCE
from mm_eval.judge.scoring import MOST_FAILED, score_judgements
from mm_eval.statistics.intervals import interval_text
from mm_eval.statistics.metric import Metric
from mm_eval.statistics.storage import write_metrics

_ANSWER_TOKENS = 1500
PAGE, SHEET, CALIBRATION = "audit.html", "labels.csv", "calibration.json"


def run_judge(args: argparse.Namespace) -> int:
    """Estimates, asks, scores; exit status 1 where a headline is withheld."""
    check_apart(args.out, args.run_folder, inside=True)
    if (args.protocol == PREFERENCE) != (args.against is not None):
        raise ValueError("--against SYSTEM belongs to --protocol preference, and that needs it.")
    items = evenly_spaced(read_answers(args.run_folder), args.max_items)
    for system in [*args.systems, *([args.against] if args.against else [])]:
        if system != TRUTH and system not in items[0].answers:
            raise ValueError(f"{args.run_folder} has no system {system!r}; it has {', '.join(items[0].answers)}.")
    plan = Plan(items, args.systems, args.protocol, args.repeats, args.against, not args.no_precision)
    endpoint = endpoint_of(args, _ANSWER_TOKENS)
    expected = estimate_judging(plan, endpoint, args.out)
    print_estimate(args, expected)
    if args.estimate:
        return 0
    budget = checked_budget(args, expected)
    with stage_progress() as progress:
        judge(plan, endpoint, args.out, progress, budget)
    return _report(items, args.out)


def run_report(args: argparse.Namespace) -> int:
    """Scores what is there."""
    return _report(read_answers(args.run_folder), args.out)


def run_audit(args: argparse.Namespace) -> None:
    """Writes the page and the sheet."""
    judgements, settings = read_judgements(args.out)
    items = read_answers(args.run_folder)
    write_atomically(args.out / PAGE, audit_page(judgements, items, settings))
    texts = {(item.item_id, name): answer.text for item in items for name, answer in item.answers.items()}
    texts |= {(item.item_id, TRUTH): item.truth.text for item in items}
    sheet = labelling_sheet(judgements, texts)
    if (args.out / SHEET).is_file() and (args.out / SHEET).read_bytes() != sheet.encode():
        raise ValueError(f"{args.out / SHEET} is filled in, or of other judgements; move it, and it is written anew.")
    write_atomically(args.out / SHEET, sheet)
    print(f"{args.out / PAGE}\n{args.out / SHEET}: fill in `verdict` (and `rater`), then `mm-coach judge calibrate`")


def run_calibrate(args: argparse.Namespace) -> None:
    """Compares the judge with people."""
    check_apart(args.out / CALIBRATION, args.sheet)
    found = calibrate(read_judgements(args.out)[0], args.sheet)
    record = asdict(found) | {"confusion": [[*pair, count] for pair, count in sorted(found.confusion.items())]}
    write_atomically(args.out / CALIBRATION, json.dumps(record, indent=1))
    print(
        f"{found.verdicts} verdicts on {found.items} texts by {found.raters} raters; {found.skipped} on what the judge did not answer are left out"
    )

    def shown(value: float | None) -> str:
        return "not defined" if value is None else f"{value:.3f}"

    print(f"Cohen's kappa        {shown(found.kappa)}  ({', '.join(f'{v} {shown(k)}' for v, k in found.kappa_per_verdict.items())})")  # fmt: skip
    print(f"Krippendorff's alpha {shown(found.alpha)}  (people alone: {shown(found.human_alpha)})")
    print(f"Spearman of GPT-M    {shown(found.spearman)}")
    if found.items < ENOUGH_ITEMS:
        print(f"Fewer than {ENOUGH_ITEMS} items are labelled: too few to trust this judge with a headline.")


def _report(items: list[TestItem], out: Path) -> int:
    judgements, settings = read_judgements(out)
    judged = {j.item_id for j in judgements}
    scores = score_judgements(judgements, [item for item in items if item.item_id in judged], settings)
    tables = {
        system: {**found, "metrics": {name: metric.to_json() for name, metric in found["metrics"].items()}}
        for system, found in scores.items()
    }
    write_metrics(out, {"settings": settings, "systems": tables})
    for system, found in scores.items():
        _print_scores(system, found, settings)
    return int(any(found["withheld"] for found in scores.values()))


def _print_scores(system: str, found: dict[str, Any], settings: dict[str, Any]) -> None:
    title = f"{system}, judged by {settings['model']} ({settings['protocol']}-{settings['protocol_version']}, {settings['repeats']} answers per item)"
    table = Table(title=("Synthetic data. " if settings["synthetic"] else "") + title, title_justify="left")
    for heading in ("metric", "value", "95 %", "items", "undefined or failed"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    metrics: dict[str, Metric] = found["metrics"]
    for name, metric in metrics.items():
        shown = replace(metric, value=float("nan"), interval=None) if found["withheld"] else metric
        interval = interval_text(shown.interval, 3)
        value = (
            "withheld" if found["withheld"] else "not defined" if shown.value != shown.value else f"{shown.value:.3f}"
        )
        table.add_row(name, value, interval, str(metric.n), str(metric.n_failed))
    console = plain_console()
    console.print(table)
    if found["failures"]:
        classes = ", ".join(f"{count} {name}" for name, count in sorted(found["failures"].items()))
        low, high = found["bounds"]
        console.print(f"{found['failed_share']:.1%} of the judgements failed ({classes}); with them as the worst or the best: {low:.3f} to {high:.3f}")  # fmt: skip
    if found["withheld"]:
        console.print(f"Above {MOST_FAILED:.0%}, so no headline is given. Run again to ask what the endpoint could not answer; `mm-coach judge audit` shows what the judge got wrong.")  # fmt: skip
    if found["repeats"] and found["repeats"]["mean"] == found["repeats"]["mean"]:
        console.print(f"Over repeats: {found['repeats']['mean']:.3f} ± {found['repeats']['sd']:.3f}; {found['flip_rate']:.0%} of the items get different judgements.")  # fmt: skip
