"""`mm-coach data` commands that look and change nothing: validate, stats, label-agreement, why."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from mm_adapter.cli.console import plain_console, print_unbroken
from mm_data.ground.files import check_apart, write_atomically
from mm_data.labelling import Labels, read_labels
from mm_data.labelling.agreement import LABELS, Agreement, compare_labels
from mm_data.miniature.truth import MiniatureTruth
from mm_data.records import CORRECT, IMPROVE
from mm_data.release.read import read_source
from mm_data.release.statistics import rating_statistics, task_statistics
from mm_data.release.validate import BROKEN, MISSING, Validation, validate
from mm_data.tuples.explain import Explanation, explain_tuple
from mm_data.tuples.store import LABELS as LABEL_FILE
from mm_data.tuples.store import clips_of_folder

_CURVE_WIDTH, _CURVE_BLOCKS = 72, " ▁▂▃▄▅▆▇█"
_STATS = ("task", "takes", "people", "learners", "experts", "poses", "minutes", "remarks", "words")
_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red", "broken": "red"}


def add_steps(steps: argparse._SubParsersAction) -> None:
    """Adds the commands below `mm-coach data`."""
    check = steps.add_parser("validate", help="check a download: what is there, what is broken, what to fetch next")
    check.add_argument("source", type=Path)
    check.add_argument("--json", type=Path, help="write the whole report there as well")
    check.add_argument("--tuples", type=Path, help="a built folder: fetch the videos of its takes only")
    check.add_argument("--uids", type=Path, help="write the takes that lack videos there, for the downloader")
    check.add_argument("--all-poses", action="store_true", help="read every pose file, not only a sample")
    check.set_defaults(run=run_validate)

    stats = steps.add_parser("stats", help="takes, people and remarks per task")
    stats.add_argument("source", type=Path)
    stats.add_argument("--json", type=Path)
    stats.set_defaults(run=run_stats)

    agreement = steps.add_parser("label-agreement", help="compare two labellers, or one with a miniature's truth")
    agreement.add_argument("labels", type=Path, help="labels.jsonl, or a folder that holds it")
    agreement.add_argument(
        "reference", type=Path, help="another label file, or a miniature: its truth is the reference"
    )
    agreement.add_argument("--examples", type=int, default=5, help="disagreements to print per region")
    agreement.add_argument("--json", type=Path)
    agreement.set_defaults(run=run_agreement)

    why = steps.add_parser("why", help="explain one tuple: remarks, regions, window, error curve, runners-up")
    why.add_argument("tuples", type=Path)
    why.add_argument("tuple_id")
    why.set_defaults(run=run_why)


def _save(path: Path | None, content: Any) -> None:
    if path is not None:
        write_atomically(path, json.dumps(content, indent=2))
        print(f"written to {path}")


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        words = isinstance(value, str)
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    return table


def run_validate(args: argparse.Namespace) -> int:
    """Prints checks, coverage and what to fetch; exits with 1 when tuples cannot be built."""
    for out in (args.json, args.uids):
        if out is not None:
            check_apart(out, args.source, args.tuples)
    console = plain_console()
    only = None if args.tuples is None else {clip.take_uid for clip in clips_of_folder(args.tuples).values()}
    with console.status("") as status:
        result = validate(
            args.source,
            args.all_poses,
            only,
            args.uids or Path("uids.txt"),
            lambda what: status.update(f"looking at {what}"),
        )
    if args.uids is not None and result.usable:
        write_atomically(args.uids, "".join(f"{uid}\n" for uid in result.uids))
    table = Table(title=f"{args.source}", title_justify="left")
    for heading in ("", "what was found, and how to mend it"):
        table.add_column(heading)
    for check in result.checks:
        mend = (f"\n{check.fix}", "bold") if check.fix else ""
        found = Text.assemble(f"{check.what}: {check.found}", mend)
        table.add_row(Text(check.status, _COLOURS[check.status]), found)
    print_unbroken(table)
    if result.coverage:
        print_unbroken(_table(result.coverage, "takes that reach every stage"))
    for fetch in result.fetch:
        print(f"\nfetch next, about {fetch.gigabytes:g} GB: {fetch.why}\n  {fetch.command}")
    _save(args.json, {**asdict(result), "usable": result.usable})
    print(_verdict(result))
    return int(not result.usable)


def _verdict(result: Validation) -> str:
    if not result.usable:
        problems = [f"{check.what}: {check.found}" for check in result.checks if check.status in (MISSING, BROKEN)]
        return "\n".join(["", "Tuples cannot be built yet.", *problems])
    return f"\nReady: {result.coverage[-1]['poses']} takes have skill, remarks and poses. Next: mm-coach data build"


def run_stats(args: argparse.Namespace) -> None:
    """Prints statistics."""
    if args.json is not None:
        check_apart(args.json, args.source)
    source = read_source(args.source, 1.0)
    rows, ratings = task_statistics(source), rating_statistics(source)
    shown = [{key: row[key] for key in _STATS} for row in rows]
    print_unbroken(_table(shown, f"{args.source}{' (synthetic)' if source.synthetic else ''}"))
    if ratings:
        print_unbroken(_table(ratings, "commentators' ratings, each on a scale of their own"))
    _save(args.json, {"synthetic": source.synthetic, "tasks": rows, "ratings": ratings})


def _labels(path: Path) -> Labels:
    if (path / "takes.json").is_file():
        return MiniatureTruth(path).labels()
    return read_labels(path / LABEL_FILE if path.is_dir() else path)


def run_agreement(args: argparse.Namespace) -> None:
    """Prints kappa, precision, recall and disagreements per region."""
    if args.json is not None:
        check_apart(args.json, args.labels, args.reference)
    first, second = _labels(args.labels), _labels(args.reference)
    agreement = compare_labels(first, second)
    rows = []
    for region in agreement.regions:
        row: dict[str, Any] = {"region": region.region, "kappa": _share(region.kappa)}
        for name, label in (("improve", IMPROVE), ("correct", CORRECT)):
            row[f"{name} P"] = _share(region.precision(label))
            row[f"{name} R"] = _share(region.recall(label))
        rows.append({**row, "differ": len(region.examples)})
    print(f"{first.name} against {second.name}: {agreement.compared} remarks judged by both, {agreement.failed} failed, {agreement.only_one} judged by one only")  # fmt: skip
    print_unbroken(_table(rows, f"precision and recall of {first.name}, with {second.name} as the reference"))
    _print_confusion(agreement)
    texts = first.texts | second.texts
    for region in agreement.regions:
        for remark in region.examples[: args.examples]:
            sides = " / ".join(labels.regions[remark].get(region.region, "not mentioned") for labels in (first, second))
            print(f"  {region.region}: {sides}: {texts.get(remark, remark)!r}")
    _save(args.json, {"first": first.name, "second": second.name, "compared": agreement.compared, "regions": rows})


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _print_confusion(agreement: Agreement) -> None:
    total = {(a, b): sum(r.confusion[a, b] for r in agreement.regions) for a in LABELS for b in LABELS}
    rows = [{"first \\ second": a, **{b: total[a, b] for b in LABELS}} for a in LABELS]
    print_unbroken(_table(rows, "confusion over all regions"))


def run_why(args: argparse.Namespace) -> None:
    """Prints where a tuple comes from."""
    explained = explain_tuple(args.tuples, args.tuple_id)
    item, source = explained.item, explained.item.provenance
    lines = [
        ("tuple", f"{item.tuple_id} ({item.split}, {item.activity}: {item.task})"),
        ("learner", f"{item.learner.skill}, participant {item.learner.participant}, frames {item.learner.start}-{item.learner.stop}"),
        ("remark", f"at {source.comment_time:.2f} s: {item.remark!r}"),
        ("in one sentence", f"{item.summary!r} ({source.labeller})"),
        ("to improve", ", ".join(item.regions)),
        ("expert", f"{item.expert.skill}, participant {item.expert.participant}, frames {item.expert.start}-{item.expert.stop}"),
        ("praise", f"at {source.expert_comment_time:.2f} s: {source.expert_text!r}"),
        ("regions in common", ", ".join(source.shared_regions) or "none"),
        ("evidence", f"the {explained.options.window:g} s before the comment; expert searched within {explained.options.horizon:g} s of the praise"),
        ("alignment", "no poses: the clip before the praise" if item.alignment_mm is None else f"{item.alignment_mm:.1f} mm PA-MPJPE, best of {source.experts_considered} experts"),
        ("review", f"{source.review} by {source.reviewer}" if source.review else "not reviewed"),
    ]  # fmt: skip
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:<{width}}  {text}")
    if np.isfinite(explained.curve).any():
        _print_curve(explained)
    print("runners-up")
    for other in source.runners_up or []:
        error = "no poses" if other.alignment_mm is None else f"{other.alignment_mm:.1f} mm"
        print(f"  {error:>9}  take {other.take_uid}, frame {other.start}, praise {other.remark_id}")
    if not source.runners_up:
        print("  none")


def _print_curve(explained: Explanation) -> None:
    """The error over window starts as one line of blocks; low is good."""
    starts, curve = explained.starts, explained.curve
    finite = curve[np.isfinite(curve)]
    low, high = float(finite.min()), float(finite.max())
    groups = np.array_split(np.arange(len(curve)), min(_CURVE_WIDTH, len(curve)))
    best = [float(np.min(curve[group])) for group in groups]
    scale = (len(_CURVE_BLOCKS) - 2) / max(high - low, 1e-9)
    line = "".join(_CURVE_BLOCKS[1 + round((v - low) * scale)] if np.isfinite(v) else _CURVE_BLOCKS[0] for v in best)
    at = next(i for i, group in enumerate(groups) if explained.item.expert.start in starts[group])
    print(f"error curve ({low:.1f} to {high:.1f} mm over starts {starts[0]} to {starts[-1]}; blank: no poses)")
    print(f"  {line}\n  {' ' * at}^ frame {explained.item.expert.start}")
