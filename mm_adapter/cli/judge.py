"""`mm-coach judge`: language models as judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from mm_adapter.cli.endpoints import EndpointFlags

if TYPE_CHECKING:
    from mm_eval.answers.test_sets import TestItem

app = App(name="judge", help="Ask a language model as judge: GPT-M, GPT-Q, Coach-Score, preference.")
_ENDPOINT = EndpointFlags()
_ANSWER_TOKENS = 1500


@app.command(name="run")
def ask(
    run: Path,
    out: Path,
    *,
    protocol: Literal["details", "counts", "coach-score", "preference"] = "details",
    systems: Annotated[Sequence[str], Parameter(consume_multiple=1)] = ("ours",),
    against: str | None = None,
    repeats: int = 3,
    no_precision: bool = False,
    max_items: int | None = None,
    endpoint: EndpointFlags = _ENDPOINT,
) -> int:
    """Ask a judge about a run's texts; resumes, and repeats no finished call.

    Args:
        run: Folder with answers.jsonl.
        out: Folder of answers, judgements and report.
        protocol: details: a verdict with a quote per detail; counts: TechCoach's three counts.
        systems: Systems of the run; `truth` for the reference texts.
        against: preference: the system that the others are compared with.
        repeats: Number of independent answers per item.
        no_precision: Do not count the details that texts state themselves.
        max_items: Number of items of an evenly spaced subset; by default all.
        endpoint: Endpoint that is asked.

    Returns:
        Exit status: 1 if a headline is withheld.
    """
    from mm_adapter.cli.console import stage_progress
    from mm_data.ground.files import check_apart
    from mm_eval.answers.test_sets import TRUTH, evenly_spaced, read_answers
    from mm_eval.judge.judging import Plan, estimate_judging, judge

    check_apart(out, run, inside=True)
    if (protocol == "preference") != (against is not None):
        raise ValueError("--against SYSTEM belongs to --protocol preference, and that needs it.")
    items = evenly_spaced(read_answers(run), max_items)
    for system in [*systems, *([against] if against else [])]:
        if system != TRUTH and system not in items[0].answers:
            raise ValueError(f"{run} has no system {system!r}; it has {', '.join(items[0].answers)}.")
    plan = Plan(items, systems, protocol, repeats, against, not no_precision)
    judging = endpoint.asked(_ANSWER_TOKENS)
    estimate = estimate_judging(plan, judging, out)
    endpoint.print_estimate(estimate)
    if endpoint.estimate:
        return 0
    budget = endpoint.budget(estimate)
    with stage_progress() as progress:
        judge(plan, judging, out, progress, budget)
    return _report(items, out)


@app.command
def report(run: Path, out: Path) -> int:
    """Print scores of finished judgements; asks nothing.

    Args:
        run: Folder with answers.jsonl.
        out: Folder of `judge run`.

    Returns:
        Exit status: 1 if a headline is withheld.
    """
    from mm_eval.answers.test_sets import read_answers

    return _report(read_answers(run), out)


@app.command
def audit(run: Path, out: Path) -> None:
    """Write a page with detail, quote, verdict and raw reply, and a sheet for people.

    Args:
        run: Folder with answers.jsonl.
        out: Folder of `judge run`.
    """
    from mm_eval.answers.test_sets import read_answers
    from mm_eval.judge.audit import PAGE, write_audit_page
    from mm_eval.judge.calibration import SHEET, write_labelling_sheet
    from mm_eval.judge.judging import read_judgements

    judgements, settings = read_judgements(out)
    items = read_answers(run)
    write_audit_page(out, judgements, items, settings)
    write_labelling_sheet(out, judgements, items)
    print(f"{out / PAGE}\n{out / SHEET}: fill in `verdict` (and `rater`), then `mm-coach judge calibrate`")


@app.command
def calibrate(out: Path, sheet: Path) -> None:
    """Print how far the judge agrees with people who filled in the sheet.

    Args:
        out: Folder of `judge run`.
        sheet: Filled-in labels.csv.
    """
    from mm_data.ground.files import check_apart
    from mm_eval.judge import calibration
    from mm_eval.judge.judging import read_judgements

    check_apart(out / calibration.CALIBRATION, sheet)
    agreement = calibration.calibrate(read_judgements(out)[0], sheet)
    calibration.write_calibration(out, agreement)
    left_out = f"{agreement.skipped} on what the judge did not answer are left out"
    print(f"{agreement.verdicts} verdicts on {agreement.items} texts by {agreement.raters} raters; {left_out}")
    per_verdict = ", ".join(f"{verdict} {_number(kappa)}" for verdict, kappa in agreement.kappa_per_verdict.items())
    print(f"Cohen's kappa        {_number(agreement.kappa)}  ({per_verdict})")
    print(f"Krippendorff's alpha {_number(agreement.alpha)}  (people alone: {_number(agreement.human_alpha)})")
    print(f"Spearman of GPT-M    {_number(agreement.spearman)}")
    if agreement.items < calibration.ENOUGH_ITEMS:
        print(f"Fewer than {calibration.ENOUGH_ITEMS} items are labelled: too few to trust this judge with a headline.")


def _number(value: float | None) -> str:
    return "not defined" if value is None or value != value else f"{value:.3f}"


def _report(items: Sequence[TestItem], out: Path) -> int:
    from mm_eval.judge.judging import read_judgements
    from mm_eval.judge.scoring import score_judgements, write_scores

    judgements, settings = read_judgements(out)
    judged = {judgement.item_id for judgement in judgements}
    scores = score_judgements(judgements, [item for item in items if item.item_id in judged], settings)
    write_scores(out, scores, settings)
    for system, score in scores.items():
        _print_scores(system, score, settings)
    return int(any(score["withheld"] for score in scores.values()))


def _print_scores(system: str, score: dict[str, Any], settings: dict[str, Any]) -> None:
    from mm_adapter.cli.console import plain_console, print_table
    from mm_eval.judge.scoring import MOST_FAILED
    from mm_eval.statistics.intervals import interval_text

    protocol = f"{settings['protocol']}-{settings['protocol_version']}"
    title = f"{system}, judged by {settings['model']} ({protocol}, {settings['repeats']} answers per item)"
    rows = [
        (
            name,
            "withheld" if score["withheld"] else _number(metric.value),
            interval_text(None if score["withheld"] else metric.interval, 3),
            metric.n,
            metric.n_failed,
        )
        for name, metric in score["metrics"].items()
    ]
    columns = ("metric", "value", "95 %", "items", "undefined or failed")
    print_table(columns, rows, f"{'Synthetic data. ' if settings['synthetic'] else ''}{title}", numbers=columns[1:])
    console = plain_console()
    if score["failures"]:
        classes = ", ".join(f"{count} {name}" for name, count in sorted(score["failures"].items()))
        low, high = score["bounds"]
        bounds = f"with them as the worst or the best: {low:.3f} to {high:.3f}"
        console.print(f"{score['failed_share']:.1%} of the judgements failed ({classes}); {bounds}")
    if score["withheld"]:
        console.print(
            f"Above {MOST_FAILED:.0%}, so no headline is given. Run again to ask what the endpoint could not answer; "
            "`mm-coach judge audit` shows what the judge got wrong."
        )
    if score["repeats"] and score["repeats"]["mean"] == score["repeats"]["mean"]:
        spread = f"{score['repeats']['mean']:.3f} ± {score['repeats']['sd']:.3f}"
        console.print(f"Over repeats: {spread}; {score['flip_rate']:.0%} of the items get different judgements.")
