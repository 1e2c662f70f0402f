"""`mm-coach data validate`, `stats`, `label-agreement` and `why`: steps that look and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_data.labelling import Labels
    from mm_data.labelling.agreement import Agreement
    from mm_data.release.validate import Validation
    from mm_data.tuples.explain import Explanation

_CURVE_WIDTH, _CURVE_BLOCKS = 72, " ▁▂▃▄▅▆▇█"
_STATS = ("task", "takes", "people", "learners", "experts", "poses", "minutes", "remarks", "words")
_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red", "broken": "red"}


def validate(
    source: Path,
    *,
    json: Path | None = None,
    tuples: Path | None = None,
    uids: Path | None = None,
    all_poses: bool = False,
) -> int:
    """Check a download: what is there, what is broken, what to fetch next; exit status 1 if tuples cannot be built.

    Args:
        source: Ego-Exo4D download, miniature, or a folder of own videos.
        json: File that the whole report is written to as well.
        tuples: Tuple folder: fetch the videos of its takes only.
        uids: File that the takes that lack videos are written to, for the downloader.
        all_poses: Read every pose file, not only a sample.

    Returns:
        Exit status.
    """
    from dataclasses import asdict

    from mm_adapter.cli.console import plain_console
    from mm_data.ground.files import check_apart, write_atomically
    from mm_data.release import validate as validation
    from mm_data.tuples.store import clips_of_folder

    for out in (json, uids):
        if out is not None:
            check_apart(out, source, tuples)
    only = None if tuples is None else {clip.take_uid for clip in clips_of_folder(tuples).values()}
    with plain_console().status("") as status:
        result = validation.validate(
            source, all_poses, only, uids or Path("uids.txt"), lambda what: status.update(f"looking at {what}")
        )
    if uids is not None and result.usable:
        write_atomically(uids, "".join(f"{uid}\n" for uid in result.uids))
    _print_checks(result, str(source))
    if result.coverage:
        _print_rows(result.coverage, "takes that reach every stage")
    for fetch in result.fetch:
        print(f"\nfetch next, about {fetch.gigabytes:g} GB: {fetch.why}\n  {fetch.command}")
    _save(json, {**asdict(result), "usable": result.usable})
    if result.usable:
        ready = result.coverage[-1]["poses"]
        print(f"\nReady: {ready} takes have skill, remarks and poses. Next: mm-coach data build")
        return 0
    print("\nTuples cannot be built yet.")
    for check in result.checks:
        if check.status in (validation.MISSING, validation.BROKEN):
            print(f"{check.what}: {check.found}")
    return 1


def stats(source: Path, *, json: Path | None = None) -> None:
    """Count takes, people and remarks per task.

    Args:
        source: Ego-Exo4D download, miniature, or a folder of own videos.
        json: File that the numbers are written to as well.
    """
    from mm_data.ground.files import check_apart
    from mm_data.release.read import read_source
    from mm_data.release.statistics import rating_statistics, task_statistics

    if json is not None:
        check_apart(json, source)
    release = read_source(source, 1.0)
    tasks, ratings = task_statistics(release), rating_statistics(release)
    rows = [{key: task[key] for key in _STATS} for task in tasks]
    _print_rows(rows, f"{source}{' (synthetic)' if release.synthetic else ''}")
    if ratings:
        _print_rows(ratings, "commentators' ratings, each on a scale of their own")
    _save(json, {"synthetic": release.synthetic, "tasks": tasks, "ratings": ratings})


def label_agreement(labels: Path, reference: Path, *, examples: int = 5, json: Path | None = None) -> None:
    """Compare two labellers, or one with a miniature's truth: kappa, precision, recall and disagreements per region.

    Args:
        labels: labels.jsonl, or a folder that holds it.
        reference: Another label file, or a miniature: its truth is the reference.
        examples: Number of disagreements that are printed per region.
        json: File that the numbers are written to as well.
    """
    from mm_data.ground.files import check_apart
    from mm_data.labelling.agreement import compare_labels

    if json is not None:
        check_apart(json, labels, reference)
    first, second = _read_labels(labels), _read_labels(reference)
    agreement = compare_labels(first, second)
    rows = _agreement_rows(agreement)
    counts = f"{agreement.compared} remarks judged by both, {agreement.failed} failed"
    print(f"{first.name} against {second.name}: {counts}, {agreement.only_one} judged by one only")
    _print_rows(rows, f"precision and recall of {first.name}, with {second.name} as the reference")
    _print_confusion(agreement)
    texts = first.texts | second.texts
    for region in agreement.regions:
        for remark in region.examples[:examples]:
            sides = " / ".join(side.regions[remark].get(region.region, "not mentioned") for side in (first, second))
            print(f"  {region.region}: {sides}: {texts.get(remark, remark)!r}")
    _save(json, {"first": first.name, "second": second.name, "compared": agreement.compared, "regions": rows})


def why(tuples: Path, tuple_id: str) -> None:
    """Explain one tuple: remarks, regions, window, error curve, runners-up.

    Args:
        tuples: Tuple folder.
        tuple_id: Id of the tuple.
    """
    import numpy as np

    from mm_data.tuples.explain import explain_tuple

    explained = explain_tuple(tuples, tuple_id)
    facts, runners_up = _facts(explained), explained.item.provenance.runners_up or []
    width = max(map(len, facts))
    for name, text in facts.items():
        print(f"{name:<{width}}  {text}")
    if np.isfinite(explained.curve).any():
        _print_curve(explained)
    print("runners-up")
    for other in runners_up:
        error = "no poses" if other.alignment_mm is None else f"{other.alignment_mm:.1f} mm"
        print(f"  {error:>9}  take {other.take_uid}, frame {other.start}, praise {other.remark_id}")
    if not runners_up:
        print("  none")


def _save(path: Path | None, content: Any) -> None:
    import json

    from mm_data.ground.files import write_atomically

    if path is not None:
        write_atomically(path, json.dumps(content, indent=2))
        print(f"written to {path}")


def _print_rows(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    from mm_adapter.cli.console import print_table

    cells = [["-" if value is None else value for value in row.values()] for row in rows]
    print_table(list(rows[0]), cells, title, [name for name, value in rows[0].items() if not isinstance(value, str)])


def _print_checks(result: Validation, title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from mm_adapter.cli.console import print_unbroken

    table = Table("", "what was found, and how to mend it", title=title, title_justify="left")
    for check in result.checks:
        mend = (f"\n{check.fix}", "bold") if check.fix else ""
        finding = Text.assemble(f"{check.what}: {check.found}", mend)
        table.add_row(Text(check.status, _COLOURS[check.status]), finding)
    print_unbroken(table)


def _read_labels(path: Path) -> Labels:
    from mm_data.labelling import read_labels
    from mm_data.miniature.truth import MiniatureTruth
    from mm_data.tuples.store import LABELS

    if (path / "takes.json").is_file():
        return MiniatureTruth(path).labels()
    return read_labels(path / LABELS if path.is_dir() else path)


def _agreement_rows(agreement: Agreement) -> list[dict[str, Any]]:
    from mm_data.records import CORRECT, IMPROVE

    rows = []
    for region in agreement.regions:
        shares = {
            "kappa": region.kappa,
            "improve P": region.precision(IMPROVE),
            "improve R": region.recall(IMPROVE),
            "correct P": region.precision(CORRECT),
            "correct R": region.recall(CORRECT),
        }
        rounded = {name: None if share is None else round(share, 4) for name, share in shares.items()}
        rows.append({"region": region.region, **rounded, "differ": len(region.examples)})
    return rows


def _print_confusion(agreement: Agreement) -> None:
    from mm_data.labelling.agreement import LABELS

    total = {(a, b): sum(r.confusion[a, b] for r in agreement.regions) for a in LABELS for b in LABELS}
    rows = [{"first \\ second": a, **{b: total[a, b] for b in LABELS}} for a in LABELS]
    _print_rows(rows, "confusion over all regions")


def _facts(explained: Explanation) -> dict[str, str]:
    """Where a tuple comes from: heading to sentence."""
    item, source, options = explained.item, explained.item.provenance, explained.options
    aligned = "no poses: the clip before the praise"
    if item.alignment_mm is not None:
        aligned = f"{item.alignment_mm:.1f} mm PA-MPJPE, best of {source.experts_considered} experts"
    searched = f"expert searched within {options.horizon:g} s of the praise"
    people = {
        side: f"{clip.skill}, participant {clip.participant}, frames {clip.start}-{clip.stop}"
        for side, clip in (("learner", item.learner), ("expert", item.expert))
    }
    return {
        "tuple": f"{item.tuple_id} ({item.split}, {item.activity}: {item.task})",
        "learner": people["learner"],
        "remark": f"at {source.comment_time:.2f} s: {item.remark!r}",
        "in one sentence": f"{item.summary!r} ({source.labeller})",
        "to improve": ", ".join(item.regions),
        "expert": people["expert"],
        "praise": f"at {source.expert_comment_time:.2f} s: {source.expert_text!r}",
        "regions in common": ", ".join(source.shared_regions) or "none",
        "evidence": f"the {options.window:g} s before the comment; {searched}",
        "alignment": aligned,
        "review": f"{source.review} by {source.reviewer}" if source.review else "not reviewed",
    }


def _print_curve(explained: Explanation) -> None:
    """The error over window starts as one line of blocks; low is good."""
    import numpy as np

    starts, curve = explained.starts, explained.curve
    finite = curve[np.isfinite(curve)]
    low, high = float(finite.min()), float(finite.max())
    groups = np.array_split(np.arange(len(curve)), min(_CURVE_WIDTH, len(curve)))
    best = [float(np.min(curve[group])) for group in groups]
    scale = (len(_CURVE_BLOCKS) - 2) / max(high - low, 1e-9)
    line = "".join(_CURVE_BLOCKS[1 + round((v - low) * scale)] if np.isfinite(v) else _CURVE_BLOCKS[0] for v in best)
    place = next(i for i, group in enumerate(groups) if explained.item.expert.start in starts[group])
    print(f"error curve ({low:.1f} to {high:.1f} mm over starts {starts[0]} to {starts[-1]}; blank: no poses)")
    print(f"  {line}\n  {' ' * place}^ frame {explained.item.expert.start}")
