"""`mm-coach eval`: evaluated runs against each other."""

import argparse
import math
from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown

from mm_adapter.cli.old_flags import bert_model
from mm_data.ground.files import write_atomically
from mm_eval.statistics.intervals import interval_text
from mm_eval.suites.runs import Change, Difference, Run, changes, differences, measured_otherwise, open_run, runs_table
from mm_eval.tables import RENDERERS, Column, to_markdown

_DIFF = "diff"


def run_eval(args: argparse.Namespace) -> None:
    """A table of runs, or the difference between two, or between one and a baseline."""
    if args.runs[0] == _DIFF:
        return _diff(args)
    if args.against is not None:
        raise ValueError("--against belongs to `eval diff RUN`; a table holds baselines anyhow.")
    bert = bert_model(args)
    table = runs_table([open_run(run, args.suite, bert) for run in args.runs], args.suite)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        for ending, render in RENDERERS.items():
            write_atomically(args.out / f"table.{ending}", render(table))
    Console(width=200).print(Markdown(to_markdown(table)))
    return None


def _diff(args: argparse.Namespace) -> None:
    wanted = 2 if args.against is None else 1
    if len(args.runs) != 1 + wanted:
        expected = "two runs" if wanted == 2 else "one run with --against"
        raise ValueError(f"`eval diff` compares {expected}, {len(args.runs) - 1} were given.")
    bert = bert_model(args)
    runs = [open_run(run, args.suite, bert) for run in args.runs[1:]]
    first, second = runs if args.against is None else (runs[0].against(args.against), runs[0])
    found = differences(first, second, args.suite)
    choices = {
        d.column.metric: d.column for d in found if d.first.per_item is not None and d.second.per_item is not None
    }
    if args.by is not None and args.by not in choices:
        raise ValueError(f"--by {args.by}: choose from {', '.join(choices)}.")
    column = choices[args.by] if args.by else next(iter(choices.values()))
    text = _differences(first, second, found)
    if headings := measured_otherwise(first, second, args.suite):
        text += f"\nMeasured otherwise in the two runs, and not compared: {', '.join(headings)}.\n"
    text += _changes(changes(first, second, column), column.heading, args.show)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out / "diff.md", text)
    Console(width=160).print(Markdown(text))


def _differences(first: Run, second: Run, found: Sequence[Difference]) -> str:
    lines = [
        f"{second.name} against {first.name}, {len(first.items)} items in {len(set(first.clusters))} clusters. A difference is of the items that both have. p: answers "
        "swapped cluster by cluster, Holm over the metrics. The last columns take items for independent, as most papers do; with several items per cluster they find too much.",
        "",
        f"| | {first.name} | {second.name} | difference | 95 % | p | items | failed | by item: 95 % (BCa) | t-test, p | Wilcoxon, p |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for d in found:
        c, paired = d.column, d.paired
        cells = [_signed(d.first.value, c, ""), _signed(d.second.value, c, "")]
        cells += [_signed(paired.difference, c), _range(paired.interval, c)]
        cells += [_p_value(d), str(paired.items), f"{d.first.n_failed} / {d.second.n_failed}"]
        cells += ["", "", ""] if d.by_item is None else [
            _range(d.by_item.bca_interval, c), f"{d.by_item.t_p_value:.3g}", f"{d.by_item.wilcoxon_p_value:.3g}",
        ]  # fmt: skip
        lines.append(f"| {c.heading}{c.arrow} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _range(bounds: tuple[float, float], column: Column) -> str:
    return interval_text((bounds[0] * column.factor, bounds[1] * column.factor), column.digits, "+")


def _signed(value: float, column: Column, sign: str = "+") -> str:
    return "not defined" if math.isnan(value) else f"{value * column.factor:{sign}.{column.digits}f}"


def _p_value(difference: Difference) -> str:
    if math.isnan(difference.adjusted):
        return "not defined"
    return f"{difference.adjusted:.3g}{'' if difference.paired.exact else ' (sampled)'}"


def _changes(found: Sequence[Change], heading: str, show: int) -> str:
    better = [c for c in found if c.better]
    worse = [c for c in reversed(found) if not c.better]
    lines = [f"\n{len(better)} items are better in {heading}, {len(worse)} worse.\n"]
    for title, listed in (("Biggest wins", better[:show]), ("Biggest losses", worse[:show])):
        lines += [f"## {title}", ""] if listed else []
        for c in listed:
            lines += [
                f"**{c.item.item_id}** ({c.item.category}): {c.change:+.3g}",
                "",
                f"- expert: {c.item.truth.text}",
                f"- first: {c.first}",
                f"- second: {c.second}",
                "",
            ]
    return "\n".join(lines)
