"""Commands that score what systems answered, and their flags."""

import argparse
from pathlib import Path

from mm_adapter.cli.old_endpoints import add_endpoint
from mm_adapter.cli.old_flags import add_bert

_SUITES = ("expertaf", "desccoach", "nae", "cot-afa")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds them."""
    _add_eval(commands)
    _add_judge(commands)
    _add_human(commands)
    _add_zero_shot(commands)


def _add_eval(commands: argparse._SubParsersAction) -> None:
    score = commands.add_parser(
        "eval",
        help="evaluated runs in one table with baselines and intervals; `eval diff A B` compares two item by item",
        description="mm-coach eval RUN... puts runs into one table; mm-coach eval diff A B compares two, item by item, and "
        "mm-coach eval diff RUN --against SYSTEM a run with one of its baselines.",
    )
    score.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder with answers.jsonl, or NAME=FOLDER; `diff` before two of them"
    )
    score.add_argument("--suite", default="expertaf", help=f"{', '.join(_SUITES)}, or module:NAME for one of your own")
    score.add_argument("--out", type=Path, help="folder for table.md, .tex, .csv and .html, or diff.md")
    score.add_argument(
        "--against", metavar="SYSTEM", help="diff: compare one run with a baseline, by the name in its table"
    )
    score.add_argument("--by", help="diff: the metric by which items are listed; by default the first that has items")
    score.add_argument("--show", type=int, default=5, help="diff: wins and losses shown")
    add_bert(score)
    score.set_defaults(run="mm_adapter.cli.comparison:run_eval")


def _add_judge(commands: argparse._SubParsersAction) -> None:
    steps = commands.add_parser("judge", help="a language model as judge: GPT-M, GPT-Q, Coach-Score, preference")
    steps = steps.add_subparsers(metavar="STEP", required=True)
    run = steps.add_parser("run", help="ask a judge about a run's texts; resumes, and repeats no finished call")
    run.add_argument("run_folder", metavar="RUN", type=Path, help="folder with answers.jsonl")
    run.add_argument("out", type=Path, help="folder of answers, judgements and report")
    run.add_argument(
        "--protocol",
        choices=("details", "counts", "coach-score", "preference"),
        default="details",
        help="details: a verdict with a quote per detail; counts: TechCoach's three counts",
    )
    run.add_argument("--systems", nargs="+", default=["ours"], help="of the run; `truth` for the reference texts")
    run.add_argument("--against", help="preference: the system that the others are compared with")
    run.add_argument("--repeats", type=int, default=3, help="independent answers per item")
    run.add_argument("--no-precision", action="store_true", help="do not count the details that texts state themselves")
    run.add_argument("--max-items", type=int, help="an evenly spaced subset of the items")
    add_endpoint(run)
    run.set_defaults(run="mm_adapter.cli.judge:run_judge")

    report = steps.add_parser("report", help="scores of finished judgements; asks nothing")
    report.add_argument("run_folder", metavar="RUN", type=Path)
    report.add_argument("out", type=Path, help="folder of `judge run`")
    report.set_defaults(run="mm_adapter.cli.judge:run_report")

    audit = steps.add_parser("audit", help="a page with detail, quote, verdict and raw reply, and a sheet for people")
    audit.add_argument("run_folder", metavar="RUN", type=Path)
    audit.add_argument("out", type=Path, help="folder of `judge run`")
    audit.set_defaults(run="mm_adapter.cli.judge:run_audit")

    calibrate = steps.add_parser("calibrate", help="agreement of the judge with people who filled in the sheet")
    calibrate.add_argument("out", type=Path, help="folder of `judge run`")
    calibrate.add_argument("sheet", type=Path, help="filled-in labels.csv")
    calibrate.set_defaults(run="mm_adapter.cli.judge:run_calibrate")


def _add_human(commands: argparse._SubParsersAction) -> None:
    steps = commands.add_parser("human", help="people as judges: blinded packs, their answers, statistics")
    steps = steps.add_subparsers(metavar="STEP", required=True)
    pack = steps.add_parser("pack", help="a page per rater with clips inside, and a hidden key beside them")
    pack.add_argument("runs", nargs="+", metavar="RUN", help="folder with answers.jsonl, or NAME=FOLDER")
    pack.add_argument("--out", type=Path, required=True, help="folder for pack/, which raters get, and key.json")
    pack.add_argument("--systems", nargs="+", default=[], help="of the first run, beside `ours` of each; `truth` too")
    pack.add_argument("--kind", choices=("likert", "rank"), default="likert", help="points from 1 to 4, or ranks")
    pack.add_argument("--raters", type=int, default=5)
    pack.add_argument("--per-item", type=int, help="raters who see each item, in balanced blocks; by default all")
    pack.add_argument("--max-items", type=int, default=50, help="an evenly spaced subset of the items")
    pack.add_argument("--views", nargs="*", choices=("exo", "ego"), default=["exo"], help="clips to show; none without")
    pack.add_argument("--seed", type=int, default=0)
    pack.set_defaults(run="mm_adapter.cli.human:run_pack")

    report = steps.add_parser("report", help="statistics of raters' answers: CSV of the pages, JSON of Label Studio")
    report.add_argument("out", type=Path, help="folder of `human pack`")
    report.add_argument("answers", type=Path, nargs="+")
    report.set_defaults(run="mm_adapter.cli.human:run_report")


def _add_zero_shot(commands: argparse._SubParsersAction) -> None:
    asks = commands.add_parser(
        "zero-shot", help="any vision-language model behind an endpoint on a run's test set, frames as images; resumes"
    )
    asks.add_argument(
        "run_folder", metavar="RUN", type=Path, help="folder with answers.jsonl: its items are asked about"
    )
    asks.add_argument("out", type=Path, help="folder of the answers")
    asks.add_argument("--suite", choices=_SUITES, default="expertaf")
    asks.add_argument("--frames", type=int, default=8, help="per view, evenly spaced")
    asks.add_argument("--image-size", type=int, default=448, help="pixels of the longer side at most")
    asks.add_argument("--views", nargs="+", choices=("exo", "ego"), default=["exo", "ego"])
    asks.add_argument("--max-items", type=int, help="an evenly spaced subset of the items")
    asks.add_argument(
        "--tell-category",
        action="store_true",
        help="nae: name the kind of performance, which is one of the actions that the answer should name (a hint at the truth; "
        "signatures say so)",
    )
    asks.add_argument("--max-failed", type=float, default=0.02, help="share of answers that may fail")
    add_endpoint(asks)
    asks.set_defaults(run="mm_adapter.cli.zero_shot:run_zero_shot")
