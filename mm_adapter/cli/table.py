"""`mm-coach table`: systems against each other, with intervals and cost."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mm_adapter.cli.flags import EncoderFlags

app = App(name="table", help="Set systems against each other, with intervals and cost.")
_ENCODER = EncoderFlags()


@app.command
def expertaf(
    out: Path,
    *,
    config: Path,
    variants: Path | None = None,
    rows: Annotated[list[str] | None, Parameter(consume_multiple=1)] = None,
    collect: bool = False,
    launch: Path | None = None,
    threads: int | None = None,
    encoder: EncoderFlags = _ENCODER,
    max_items: int | None = None,
    settings: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=1)] = None,
) -> int:
    """Train and score ExpertAF's Table 1, its baselines and ablations; what is there is kept; exit status 1 if a row is missing.

    Args:
        out: Folder with one folder per row, table.md and its other forms.
        config: Base preset of recipes/expertaf.py.
        variants: Rows; by default recipes/configs/expertaf/table1.yaml.
        rows: Only these rows.
        collect: Train nothing and ask nothing, only collect.
        launch: Launch file of accelerate; by default one process (recipes/accelerate/cpu.yaml).
        threads: CPU threads per process.
        encoder: Encoder of the videos, for clips that an ablation adds.
        max_items: Number of test items, evenly spaced; by default all.
        settings: Settings of the preset to change, as KEY=VALUE.

    Returns:
        Exit status.
    """
    import yaml
    from rich.console import Console
    from rich.markdown import Markdown

    from mm_adapter.cli.console import stage_progress
    from mm_adapter.evaluation.table import NotRun, TableRun, read_variants
    from mm_adapter.tasks.expertaf import EXPERTAF
    from mm_adapter.training import RECIPES
    from mm_data.ground.files import read_text
    from mm_eval.suites.runs import runs_table
    from mm_eval.tables import to_markdown, write_table

    base = yaml.safe_load(read_text(config))
    for change in settings or ():
        key, _, value = change.partition("=")
        base[key] = yaml.safe_load(value)
    known = read_variants(variants or RECIPES / "configs" / "expertaf" / "table1.yaml")
    if unknown := set(rows or ()) - {variant.row for variant in known}:
        raise ValueError(f"Unknown rows {sorted(unknown)}; choose from {', '.join(variant.row for variant in known)}.")
    chosen = [variant for variant in known if not rows or variant.row in rows]
    published = [variant.published for variant in chosen if variant.published]
    run = TableRun(out, base, stage_progress, partial(_encode, base, encoder), collect, launch, threads, max_items)
    scored, missing, table = [], [], None
    for number, variant in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {variant.row}", file=sys.stderr)
        try:
            scored.append(run.row(variant))
        except NotRun as reason:
            missing.append(f"{variant.row} was not run: {reason}")
            print(missing[-1], file=sys.stderr)
        if scored:
            table = runs_table(scored, EXPERTAF.suite, published, missing)
            write_table(out, table)
    Console(width=200).print(Markdown(to_markdown(table) if table else "\n".join(missing)))
    return int(bool(missing))


def _encode(base: dict[str, Any], encoder: EncoderFlags, source: Path, codes: Path, features: Path | None) -> None:
    """Makes pose codes and, where a store is named, video features of a folder's clips; what is there already is left alone."""
    from mm_adapter.cli.features import extract
    from mm_adapter.cli.tokenizer import encode

    encode(source, Path(base["pose_tokenizer"]), codes, frames=base.get("pose_frames", 10))
    if features is None:
        return
    if encoder.encoder is None:
        raise ValueError("its clips have no features; name their encoder: --encoder, --weights.")
    extract(source, features, encoder=encoder)
