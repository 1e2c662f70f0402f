"""The `mm-coach` command."""

import argparse
import pkgutil
import sys

EPILOG = """\
From nothing to a trained coach (scripts/quickstart.sh runs exactly this):

  mm-coach miniature RUN/miniature --takes 200
  mm-coach data build RUN/miniature RUN/tuples
  mm-coach features extract RUN/tuples RUN/features --encoder tiny
  accelerate launch recipes/pose_tokenizer.py --config recipes/configs/pose_tokenizer/quickstart.yaml
  mm-coach tokenizer encode RUN/tuples RUN/pose_tokenizer/tokenizer RUN/pose_codes --frames 5
  mm-coach language-model RUN/language_model
  accelerate launch recipes/expertaf.py --config recipes/configs/expertaf/quickstart.yaml
  mm-coach evaluate RUN/coach_training/coach RUN/tuples RUN/pose_codes RUN/evaluation --features RUN/features
  mm-coach report RUN
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands."""
    # Not above: workers that vLLM spawns import this module too, and its CPU build stops where numba is loaded.
    from mm_adapter.cli.commands import add_commands

    parser = argparse.ArgumentParser(
        prog="mm-coach",
        description="Build, train and question a video action coach. Every command has --help.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_commands(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command; errors that a person can mend are printed as one sentence, with exit status 2."""
    args = build_parser().parse_args(argv)
    try:
        run = pkgutil.resolve_name(args.run) if isinstance(args.run, str) else args.run
        return run(args) or 0
    except (ValueError, FileNotFoundError, ModuleNotFoundError, ConnectionError, ChildProcessError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"mm-coach: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mm-coach: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
