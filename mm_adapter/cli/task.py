"""`mm-coach task`: data sets read into items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from mm_adapter.cli.endpoints import EndpointFlags
from mm_adapter.cli.flags import Switches

if TYPE_CHECKING:
    from mm_data.annotation import Stages
    from mm_data.asking.completions import Estimate

app = App(name="task", help="Make and look at items of any task.")
_ENDPOINT = EndpointFlags()
_ANSWER_TOKENS = 700


@app.command
def read(task: str, source: Path, out: Path, *, poses: Path | None = None, workers: int = 2) -> None:
    """Turn a data set in its published form into a folder of items.

    Args:
        task: nae, cot-afa, desccoach, table, expertaf for a table that names experts' clips, or module:NAME for one of your own.
        source: The data set; docs/tasks.md and docs/own-data.md show the files.
        out: Folder of items.
        poses: Pose folder (`mm-coach poses import`) with one sequence per clip.
        workers: Number of processes that read poses.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.tasks.known import find_task
    from mm_data.tasks.folder import build_task_folder

    with ConsoleReport().progress("reading poses", 1) as progress:
        manifest = build_task_folder(find_task(task), source, out, poses, workers, found_by=task)
        progress(1)
    for stage in manifest.funnel:
        for kind in ("dropped", "noted"):
            for reason, count in stage[kind].items():
                print(f"{stage['stage']}: {count} {reason} (such as {stage['examples'][reason][0]})")
    counts = manifest.items
    items = f"{counts['train']} training and {counts['test']} test items, {manifest.with_poses} with poses"
    print(f"{out}: {items}{', synthetic' if manifest.synthetic else ''}")


@app.command
def show(items: Path, *, item: str | None = None, switches: Switches | None = None) -> None:
    """Show what a folder holds, and an item as the coach is taught it.

    Args:
        items: Folder of items.
        item: Id of the item; by default the first test item.
        switches: Switches of the task.
    """
    from rich.text import Text

    from mm_adapter.cli.console import plain_console
    from mm_adapter.tasks.known import find_task, task_options
    from mm_data.items.manifest import ItemManifest
    from mm_data.items.store import read_items
    from mm_data.records import SPLITS

    manifest = ItemManifest.read(items)
    task = find_task(manifest.found_by)
    form = task.format(manifest.knowledge, task_options(task, switches or {}))
    by_id = {one.item_id: one for split in reversed(SPLITS) for one in read_items(items, split)}
    if item is not None and item not in by_id:
        raise ValueError(f"{items} has no item {item!r}; ids look like {next(iter(by_id))!r}.")
    chosen = by_id[item] if item else next(iter(by_id.values()))
    console = plain_console()
    inputs = f" ({chosen.split}, {chosen.category})  {'; '.join(form.inputs)}"
    console.print(Text.assemble((chosen.item_id, "bold"), inputs))
    answer = ""
    for message in form.conversation(chosen, 0).messages:
        parts = [
            part["text"] if part["type"] == "text" else f"<{part['type']} {part['clip_id']}>"
            for part in message["content"]
        ]
        console.print(Text.assemble((message["role"], "bold"), ": ", "\n".join(parts)))
        answer = parts[-1]
    console.print(Text.assemble(("read as", "bold"), ": ", str(form.parse(answer))))


@app.command
def annotate(
    task: str,
    source: Path,
    out: Path,
    *,
    offline: bool = False,
    max_flagged: float = 0.1,
    frames: int = 8,
    image_size: int = 448,
    endpoint: EndpointFlags = _ENDPOINT,
) -> None:
    """Write texts by a language model in a data set's published form, checked and flagged for reviewers; resumes.

    Args:
        task: nae, cot-afa, desccoach, or module:NAME for one of your own.
        source: The data set whose texts are missing.
        out: A data set like it with the new texts; annotation/ in it holds the log, and sheets whose decisions the next run follows.
        offline: desccoach: label the remarks by rules, without a model.
        max_flagged: Share of items that may be left out.
        frames: cot-afa: number of frames per clip, evenly spaced.
        image_size: cot-afa: most pixels of the longer side.
        endpoint: Endpoint that is asked.
    """
    from mm_adapter.tasks.known import find_task
    from mm_data.annotation import Pictures
    from mm_data.ground.files import check_apart, claim_folder

    found = find_task(task)
    by_rules, by_model = found.annotate_by_rules, found.annotate
    if by_model is None or (offline and by_rules is None):
        raise ValueError(f"{task} has no annotation{' by rules; leave --offline out' if by_model else ''}.")
    stages = None if offline else _stages(out, max_flagged, endpoint)
    check_apart(out, source)
    if not endpoint.estimate:
        claim_folder(out, {"annotated": task, "source": str(source.resolve())})
    if stages is not None:
        by_model(source, out, stages, Pictures(frames, image_size))
    elif by_rules is not None:
        print(by_rules(source, out))
    if stages is None or not endpoint.estimate:
        print(f"{out}: mm-coach task read {task} {out} ITEMS")


def _stages(out: Path, max_flagged: float, flags: EndpointFlags) -> Stages:
    from mm_adapter.cli.console import ConsoleReport
    from mm_data.annotation import Stages

    def print_stage(stage: str, estimate: Estimate) -> None:
        print(f"{stage}:")
        flags.print_estimate(estimate)

    return Stages(
        out / "annotation",
        flags.asked(_ANSWER_TOKENS),
        ConsoleReport(),
        max_flagged,
        budget=None if flags.max_cost is None else flags.budget,
        on_estimate=print_stage if flags.estimate else None,
    )
