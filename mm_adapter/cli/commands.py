"""All commands and their flags. What a command runs is named, not imported: torch takes seconds to load."""

import argparse

from mm_adapter.cli import coaches, tasks


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds every command, in the order in which they are needed."""
    for add in (
        coaches.add_commands,
        tasks.add_commands,
    ):
        add(commands)
