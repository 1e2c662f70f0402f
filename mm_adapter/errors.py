"""What a person reads when a command or a recipe fails: a sentence for what they can mend, a traceback for what we have to."""

import errno
import os
import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from types import TracebackType

_MENDABLE = (ValueError, OSError, ModuleNotFoundError, MemoryError)
_REASONS = {
    errno.ENOENT: "is not there",
    errno.EEXIST: "is there already, and is no folder",
    errno.ENOTDIR: "cannot be reached: a part of this path is a file, not a folder",
    errno.EISDIR: "is a folder; a file is needed",
    errno.EACCES: "may not be read or written: change its permissions or give another place",
    errno.EPERM: "may not be read or written: change its permissions or give another place",
    errno.EROFS: "is on a file system that cannot be written; give another place",
    errno.ENOSPC: "cannot be written: the disk is full; free some space and run the same command again",
    errno.EDQUOT: "cannot be written: your quota is used up; free some space and run the same command again",
    errno.ENAMETOOLONG: "has a name that is too long for this file system",
    errno.EMFILE: "cannot be opened: too many files are open; raise `ulimit -n` or use fewer workers",
    errno.EADDRINUSE: "is taken by another program; give another port",
}


def can_be_mended(error: BaseException) -> bool:
    """Tells whether an error is about the user's input, so that a sentence is enough."""
    if isinstance(error, KeyError):  # a bare key is a slip of ours; a sentence was raised on purpose
        return bool(error.args) and " " in str(error.args[0])
    return isinstance(error, _MENDABLE) or type(error).__name__ == "SafetensorError"


def sentence(error: BaseException) -> str:
    """Says what was wrong, with the path where the operating system knows it."""
    if isinstance(error, KeyError):
        return str(error.args[0]) if error.args else "KeyError"
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        reason = _REASONS.get(error.errno, f"cannot be used: {error.strerror}")
        return f"{os.fsdecode(error.filename)} {reason}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full; free some space and run the same command again."
    if isinstance(error, MemoryError):
        return "There is not enough memory; take smaller batches, fewer workers or a larger machine."
    if type(error).__name__ == "SafetensorError":
        return f"A file of weights (.safetensors) is damaged or cut off: {error}. Download or write it again."
    return str(error) or type(error).__name__


def report_failure(error: BaseException, debug: bool) -> int:
    """Prints a failure to standard error and returns the exit status: 2 for what the user can mend, 1 for a fault of ours.

    Args:
        error: What ended the command.
        debug: Print the traceback in any case.

    Returns:
        The exit status.
    """
    mendable = can_be_mended(error)
    if debug or not mendable:
        traceback.print_exception(error)
    if mendable:
        print(f"mm-coach: {sentence(error)}", file=sys.stderr)
        return 2
    print(f"mm-coach: this is a fault of mm-coach ({type(error).__name__}: {sentence(error)}); please report it with the lines above.", file=sys.stderr)  # fmt: skip
    return 1


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Returns the question whether a near word was meant, after a blank; nothing where none of the words is near."""
    near = get_close_matches(word.split("=", 1)[0], list(words), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def show_sentences() -> None:
    """Lets a script end with a sentence instead of a traceback where the user can mend what is wrong."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            print("interrupted; run the same command again to go on.", file=sys.stderr)
        elif can_be_mended(error):
            print(f"{os.path.basename(sys.argv[0])}: {sentence(error)}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = show
