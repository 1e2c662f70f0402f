"""`mm-coach data import-expertaf`, `export-llava` and `vary`: tuples from and for other people's code, and for ablations."""

from pathlib import Path
from typing import Literal


def import_expertaf(
    source: Path, train: Path, test: Path, out: Path, *, max_drop_rate: float = 0.5, workers: int = 2
) -> None:
    """Make a tuple folder from ExpertAF's released JSON.

    Args:
        source: Ego-Exo4D download with poses.
        train: Released JSON of the training split.
        test: Released JSON of the test split.
        out: Tuple folder.
        max_drop_rate: Share of rows that a stage may drop.
        workers: Number of processes that read poses.
    """
    import json

    from mm_adapter.cli.console import ConsoleReport
    from mm_data.exchange import expertaf_import

    files = {"train": train, "test": test}
    manifest = expertaf_import.import_expertaf(source, files, out, ConsoleReport(), max_drop_rate, workers)
    print(json.dumps(manifest.funnel, indent=1))
    print(f"{out}: {manifest.counts}; {manifest.shared_people} participants on both sides")


def export_llava(tuples: Path, out: Path, *, split: Literal["train", "test"] = "train") -> None:
    """Write a split as a LLaVA conversation file.

    Args:
        tuples: Tuple folder.
        out: JSON file.
        split: Split that is written.
    """
    from mm_data.exchange.llava_format import write_llava
    from mm_data.ground.files import check_apart
    from mm_data.items.manifest import ItemManifest
    from mm_data.release.read import read_source
    from mm_data.tuples.store import read_tuples

    check_apart(out, tuples)
    source = read_source(Path(ItemManifest.read(tuples).source))
    rows = read_tuples(tuples, split)
    if not rows:
        raise ValueError(f"{tuples} has no tuple in its {split} split, so there is nothing to export.")
    write_llava(out, rows, {uid: take.take_name for uid, take in source.takes.items()})
    print(f"{out}: {len(rows)} conversations")


def vary(tuples: Path, out: Path, *, experts: Literal["activity", "unaligned"]) -> None:
    """Write the same tuples with other demonstrations to train on, for ablations.

    Args:
        tuples: Tuple folder.
        out: New tuple folder.
        experts: One demonstration per activity, or each expert's clip before the praise without alignment.
    """
    from mm_data.tuples.variants import write_variant

    changed = write_variant(tuples, out, experts)
    print(f"{out}: {changed} training tuples have another demonstration. Make pose codes and features for its clips.")
