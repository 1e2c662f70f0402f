"""Flags of `mm-coach answer`."""

import argparse
from pathlib import Path

from mm_adapter.cli.old_flags import add_base_model


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    answer = commands.add_parser("answer", help="a coach's answers to a task's test items, for `eval`, `judge` and `human`; resumes")  # fmt: skip
    answer.add_argument("coach", type=Path, help="a run's coach/ or checkpoint-N folder, or a name on the Hub")
    answer.add_argument("items", type=Path, help="folder of items")
    answer.add_argument("out", type=Path, help="folder for answers.jsonl and training.jsonl")
    add_base_model(answer)
    answer.add_argument("--features", type=Path, help="feature store; by default ITEMS/features")
    answer.add_argument("--codes", type=Path, help="pose codes; by default ITEMS/pose_codes")
    answer.add_argument("--max-items", type=int, help="an evenly spaced subset of the test items")
    _add_switches(answer)
    answer.set_defaults(run="mm_adapter.cli.task_answers:run_answer")


def _add_switches(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="SWITCH=VALUE",
        help="the task's switches",
    )
