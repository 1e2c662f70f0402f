"""Commands about tasks beside ExpertAF's three functions, and their flags."""

import argparse
from pathlib import Path

from mm_adapter.cli.old_endpoints import add_endpoint

_TASK = "nae, cot-afa, desccoach, or module:NAME for one of your own"


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds them."""
    steps = commands.add_parser("task", help="items of NAE, CoT-AFA and DescCoach").add_subparsers(
        metavar="STEP", required=True
    )
    read = steps.add_parser("read", help="a data set in its published form to a folder of items")
    read.add_argument("task", help=_TASK)
    read.add_argument("source", type=Path, help="the data set; docs/tasks.md shows the files")
    read.add_argument("out", type=Path, help="folder of items")
    read.add_argument("--poses", type=Path, help="pose folder (`mm-coach poses import`) with one sequence per clip")
    read.add_argument("--workers", type=int, default=2, help="processes that read poses")
    read.set_defaults(run="mm_adapter.cli.task_folders:run_read")

    show = steps.add_parser("show", help="what a folder holds, and an item as the coach is taught it")
    show.add_argument("items", type=Path)
    show.add_argument("--item", help="by default the first test item")
    _add_switches(show)
    show.set_defaults(run="mm_adapter.cli.task_folders:run_show")

    annotate = steps.add_parser(
        "annotate",
        help="texts by a language model in a data set's published form, checked and flagged for reviewers; resumes",
    )
    annotate.add_argument("task", choices=("nae", "cot-afa", "desccoach"))
    annotate.add_argument("source", type=Path, help="the data set whose texts are missing")
    annotate.add_argument(
        "out",
        type=Path,
        help="a data set like it with the new texts; annotation/ in it holds the log, and sheets whose decisions the next run follows",
    )
    annotate.add_argument(
        "--offline", action="store_true", help="desccoach: label the remarks by rules, without a model"
    )
    annotate.add_argument("--max-flagged", type=float, default=0.1, help="share of items that may be left out")
    annotate.add_argument("--frames", type=int, default=8, help="cot-afa: frames per clip, evenly spaced")
    annotate.add_argument("--image-size", type=int, default=448, help="cot-afa: pixels of the longer side at most")
    add_endpoint(annotate, model_required=False)
    annotate.set_defaults(run="mm_adapter.cli.annotation:run_annotate")


def _add_switches(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="SWITCH=VALUE",
        help="the task's switches",
    )
