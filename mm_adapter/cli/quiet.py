"""Keeps what libraries say about themselves off the terminal, and shows it where something breaks."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

_EXPLAINED = (ValueError, OSError, ImportError, KeyError, KeyboardInterrupt)  # their sentence is all that is printed


@contextmanager
def without_warnings() -> Iterator[None]:
    """Python's warnings, and log lines below an error, are not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def held_back() -> Iterator[None]:
    """Standard error goes to a file: MediaPipe's log and others' progress bars cannot be turned off otherwise.

    It is shown after an exception that no sentence of ours explains.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException as error:
            sys.stderr.flush()
            if not isinstance(error, _EXPLAINED):
                file.seek(0)
                os.write(terminal, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
