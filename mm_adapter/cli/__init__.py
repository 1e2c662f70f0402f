"""The `mm-coach` command. Every command is a typed function in a file of its own; here they get their order."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from mm_adapter.cli.checkpoint import app as checkpoint
from mm_adapter.cli.doctor import doctor
from mm_adapter.cli.export import export
from mm_adapter.cli.train import train
from mm_adapter.errors import report_failure

EPILOG = """\
From nothing to a trained coach (scripts/quickstart.sh runs these steps, with all flags):

  mm-coach miniature RUN/miniature --takes 200
  mm-coach data build RUN/miniature RUN/tuples
  mm-coach features extract RUN/tuples RUN/features --encoder tiny
  mm-coach train pose_tokenizer --config quickstart
  mm-coach tokenizer encode RUN/tuples RUN/pose_tokenizer/tokenizer RUN/pose_codes --frames 5
  mm-coach language-model RUN/language_model
  mm-coach train expertaf --config quickstart
  mm-coach evaluate RUN/coach_training/coach RUN/tuples RUN/pose_codes RUN/evaluation --features RUN/features
  mm-coach report RUN/evaluation RUN/report --training RUN/coach_training --tokenizer-training RUN/pose_tokenizer
"""

app = App(
    name="mm-coach",
    help="Build, train and question a video action coach. Every command has --help; --debug shows every failure's traceback.",
    help_epilogue=EPILOG,
    help_format="plaintext",
    version=f"mm-coach {version('mm-coach')}",
    default_parameter=Parameter(consume_multiple=True, negative=()),
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for command in (doctor, train, checkpoint, export):
    app.command(command)
for place, name in enumerate(app):
    app[name].sort_key = place
    app[name].help_epilogue = ""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        words: Words of the command line after ``mm-coach``; those of the process where None is given.

    Returns:
        Exit status: 0, or what the command says; 2 where the user can mend what is wrong, with a sentence; 1 for a fault of ours,
        with its traceback; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in words
    try:
        status = _run([word for word in words if word != "--debug"])
        sys.stdout.flush()  # here, so that a reader that has gone is noticed here
        return status
    except CycloptsError as error:
        print(f"mm-coach: {error} `--help` lists what there is.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mm-coach: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return report_failure(error, debug)


def _run(words: list[str]) -> int:
    if words and not words[0].startswith("-") and words[0] not in list(app):  # until every command has moved
        import pkgutil

        from mm_adapter.cli.old_parser import build_parser

        args = build_parser().parse_args(words)
        return (pkgutil.resolve_name(args.run) if isinstance(args.run, str) else args.run)(args) or 0
    return app(words) or 0
