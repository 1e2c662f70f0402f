"""The `mm-coach` command."""

import argparse
from importlib.metadata import version

from mm_adapter.cli.command_parser import CommandParser


def build_parser() -> argparse.ArgumentParser:
    """All commands."""
    # Not above: workers that vLLM spawns import this module too, and its CPU build stops where numba is loaded.
    from mm_adapter.cli.commands import add_commands

    parser = CommandParser(
        prog="mm-coach",
        description="Build, train and question a video action coach. Every command has --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mm-coach {version('mm-coach')}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of every failure")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_commands(commands)
    return parser
