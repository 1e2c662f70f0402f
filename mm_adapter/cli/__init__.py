"""The `mm-coach` command. Every command is a typed function in a file of its own; here they get their order."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from mm_adapter.cli.answer import answer
from mm_adapter.cli.chat import chat
from mm_adapter.cli.checkpoint import app as checkpoint
from mm_adapter.cli.compare import app as compare
from mm_adapter.cli.data import app as data
from mm_adapter.cli.doctor import doctor
from mm_adapter.cli.export import export
from mm_adapter.cli.features import app as features
from mm_adapter.cli.flags import refuse_fractions
from mm_adapter.cli.human import app as human
from mm_adapter.cli.judge import app as judge
from mm_adapter.cli.language_model import language_model
from mm_adapter.cli.miniature import miniature
from mm_adapter.cli.poses import app as poses
from mm_adapter.cli.report import report
from mm_adapter.cli.serve import serve
from mm_adapter.cli.table import app as table
from mm_adapter.cli.task import app as task
from mm_adapter.cli.tokenizer import app as tokenizer
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
  mm-coach answer RUN/coach_training/coach RUN/tuples RUN/answers --features RUN/features --codes RUN/pose_codes
  mm-coach report RUN/answers RUN/report --training RUN/coach_training --tokenizer-training RUN/pose_tokenizer
"""


def _list_in_order(parent: App) -> None:
    """Lets help list commands and their steps in the order of their registration, and show the epilogue at the top alone."""
    for place, name in enumerate(parent):
        child = parent[name]
        if not name.startswith("-"):
            child.sort_key, child.help_epilogue = place, ""
            _list_in_order(child)


app = App(
    name="mm-coach",
    help="Build, train and question a video action coach. Every command has --help; --debug shows every failure's traceback.",
    help_epilogue=EPILOG,
    help_format="plaintext",
    version=f"mm-coach {version('mm-coach')}",
    default_parameter=Parameter(consume_multiple=True, negative=(), allow_repeating=True),
    config=refuse_fractions,
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for command in (
    doctor,
    miniature,
    language_model,
    data,
    features,
    poses,
    tokenizer,
    train,
    checkpoint,
    export,
    task,
    answer,
    compare,
    report,
    table,
    judge,
    human,
    chat,
    serve,
):
    app.command(command)
_list_in_order(app)


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
        status = app([word for word in words if word != "--debug"]) or 0
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
