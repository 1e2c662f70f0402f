"""The `mm-coach` command."""

import argparse
import os
import pkgutil
import sys
from importlib.metadata import version

from mm_adapter.cli.command_parser import CommandParser
from mm_adapter.errors import report_failure

EPILOG = """\
From nothing to a trained coach (scripts/quickstart.sh runs these steps, with all flags):

  mm-coach miniature RUN/miniature --takes 200
  mm-coach data build RUN/miniature RUN/tuples
  mm-coach features extract RUN/tuples RUN/features --encoder tiny
  accelerate launch recipes/pose_tokenizer.py --config recipes/configs/pose_tokenizer/quickstart.yaml
  mm-coach tokenizer encode RUN/tuples RUN/pose_tokenizer/tokenizer RUN/pose_codes --frames 5
  mm-coach language-model RUN/language_model
  accelerate launch recipes/expertaf.py --config recipes/configs/expertaf/quickstart.yaml
  mm-coach evaluate RUN/coach_training/coach RUN/tuples RUN/pose_codes RUN/evaluation --features RUN/features
  mm-coach report RUN/evaluation RUN/report --training RUN/coach_training --tokenizer-training RUN/pose_tokenizer
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands."""
    # Not above: workers that vLLM spawns import this module too, and its CPU build stops where numba is loaded.
    from mm_adapter.cli.commands import add_commands

    parser = CommandParser(
        prog="mm-coach",
        description="Build, train and question a video action coach. Every command has --help.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mm-coach {version('mm-coach')}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of every failure")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_commands(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        Exit status: 0, or what the command says; 2 where the user can mend what is wrong, with a sentence; 1 for a fault of ours,
        with its traceback; 130 after Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    try:
        run = pkgutil.resolve_name(args.run) if isinstance(args.run, str) else args.run
        status = run(args) or 0
        sys.stdout.flush()  # here, so that a reader that has gone is noticed here
        return status
    except KeyboardInterrupt:
        print("mm-coach: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return report_failure(error, args.debug)
