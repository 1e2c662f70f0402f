"""`mm-coach table`: systems against each other, with intervals and cost."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="table", help="Set systems against each other, with intervals and cost.")


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
    extract: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    max_tuples: int | None = None,
    settings: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=1)] = None,
) -> int:
    """Train and evaluate ExpertAF's Table 1, its baselines and ablations; what is there is kept; exit status 1 if a row is missing.

    Args:
        out: Folder with one folder per row, table.md and table.json.
        config: Base preset of recipes/expertaf.py.
        variants: Rows; by default recipes/configs/expertaf/table1.yaml.
        rows: Only these rows.
        collect: Train and evaluate nothing, only collect.
        launch: Launch file of accelerate; by default one process (recipes/accelerate/cpu.yaml).
        threads: CPU threads per process.
        extract: Flags of `mm-coach features extract` for clips that an ablation adds.
        max_tuples: Number of test tuples, evenly spaced; by default all.
        settings: Settings of the preset to change, as KEY=VALUE.

    Returns:
        Exit status.
    """
    import yaml
    from rich.console import Console
    from rich.markdown import Markdown

    from mm_adapter.cli import main
    from mm_adapter.cli.console import stage_progress
    from mm_adapter.cli.evaluate import print_summary
    from mm_adapter.evaluation.table import TableRun, read_variants, write_table
    from mm_adapter.training import RECIPES
    from mm_data.ground.files import read_text

    base = yaml.safe_load(read_text(config))
    for change in settings or ():
        key, _, value = change.partition("=")
        base[key] = yaml.safe_load(value)
    known = read_variants(variants or RECIPES / "configs" / "expertaf" / "table1.yaml")
    if unknown := set(rows or ()) - {variant.row for variant in known}:
        raise ValueError(f"Unknown rows {sorted(unknown)}; choose from {', '.join(variant.row for variant in known)}.")
    chosen = [variant for variant in known if not rows or variant.row in rows]
    published = [variant.published for variant in chosen if variant.published]
    run = TableRun(out, base, main, stage_progress, collect, launch, threads, extract, max_tuples)
    systems, text = [], ""
    for number, variant in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {variant.row}", file=sys.stderr)
        systems.append(run.row(variant))
        if systems[-1].result is not None and not collect:
            print_summary(systems[-1].result)
        text = write_table(out, systems, published)
    Console(width=200).print(Markdown(text))
    return int(any(system.result is None for system in systems))
