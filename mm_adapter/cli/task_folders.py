"""`mm-coach task read` and `mm-coach task show`."""

import argparse
from typing import Any

from rich.text import Text

from mm_adapter.cli.console import ConsoleReport, plain_console
from mm_data.records import SPLITS
from mm_data.tasks.folder import build_task_folder, read_items
from mm_data.tasks.known import find_task, task_options
from mm_data.tasks.manifest import TaskManifest


def run_read(args: argparse.Namespace) -> None:
    """Reads a data set and says what was left out."""
    with ConsoleReport().progress("reading poses", 1) as progress:
        manifest = build_task_folder(
            find_task(args.task), args.source, args.out, args.poses, args.workers, found_by=args.task
        )
        progress(1)
    for stage in manifest.funnel:
        for kind in ("dropped", "noted"):
            for reason, count in stage[kind].items():
                print(f"{stage['stage']}: {count} {reason} (such as {stage['examples'][reason][0]})")
    counts = manifest.items
    made_up = ", synthetic" if manifest.synthetic else ""
    print(f"{args.out}: {counts['train']} training and {counts['test']} test items, {manifest.with_poses} with poses{made_up}")  # fmt: skip


def run_show(args: argparse.Namespace) -> None:
    """Prints an item as a conversation, and what its answer is read as."""
    manifest = TaskManifest.read(args.items)
    task = find_task(manifest.found_by)
    form = task.format(manifest.knowledge, task_options(task, switches(args.set)))
    items = {item.item_id: item for split in reversed(SPLITS) for item in read_items(args.items, split)}
    if args.item is not None and args.item not in items:
        raise ValueError(f"{args.items} has no item {args.item!r}; ids look like {next(iter(items))!r}.")
    item = items[args.item] if args.item else next(iter(items.values()))
    console = plain_console()
    inputs = f" ({item.split}, {item.category})  {'; '.join(form.inputs)}"
    console.print(Text.assemble((item.item_id, "bold"), inputs))
    conversation = form.conversation(item, 0)
    for message in conversation.messages:
        parts = [part["text"] if part["type"] == "text" else f"<{part['type']} {part['clip_id']}>" for part in message["content"]]  # fmt: skip
        console.print(Text.assemble((message["role"], "bold"), ": ", "\n".join(parts)))
    console.print(Text.assemble(("read as", "bold"), ": ", str(form.parse(parts[-1]))))


def switches(settings: list[str]) -> dict[str, Any]:
    """``SWITCH=VALUE`` as a dictionary.

    Raises:
        ValueError: One has no ``=``.
    """
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise ValueError(f"--set {wrong[0]}: give SWITCH=VALUE.")
    return {name: value for name, _, value in (setting.partition("=") for setting in settings)}
