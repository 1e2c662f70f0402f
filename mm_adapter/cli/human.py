"""`mm-coach human`: people as judges."""

import argparse
import csv
import io
from dataclasses import astuple, fields, replace
from typing import Any

from rich.table import Table

from mm_adapter.cli.console import plain_console, stage_progress
from mm_data.ground.files import check_apart, write_atomically
from mm_eval.answers.test_sets import OURS, TRUTH, TestItem, evenly_spaced, systems_of
from mm_eval.human.packs import KEY, LIKERT, PACK, Design, make_pack
from mm_eval.human.ratings import Rating, import_answers
from mm_eval.human.statistics import analyse
from mm_eval.statistics.intervals import interval_text
from mm_eval.statistics.storage import write_metrics
from mm_eval.suites.runs import name_and_folder, read_own_answers

RATINGS, REPORT = "ratings.csv", "report"


def run_pack(args: argparse.Namespace) -> None:
    """Writes pack and key; an existing key is kept, because answers to its pack may be on their way."""
    if (args.out / KEY).is_file():
        raise ValueError(f"{args.out} holds a pack already; its key would be lost. Choose another --out.")
    check_apart(args.out, *(name_and_folder(run)[1] for run in args.runs), inside=True)
    items, systems = _merged(args.runs, args.systems)
    design = Design(args.kind, args.raters, args.per_item or args.raters, args.seed, tuple(args.views))
    with stage_progress() as progress:
        count = make_pack(evenly_spaced(items, args.max_items), systems, design, args.out, progress)
    print(f"{args.out / PACK}: {args.raters} pages with {count} questions; give each rater theirs")
    print(f"{args.out / KEY}: who is who; keep it to yourself until the answers are in")


def run_report(args: argparse.Namespace) -> None:
    """Imports answers, writes them unblinded, and prints what they say."""
    for name in (RATINGS, f"{REPORT}.json", f"{REPORT}.parquet"):
        check_apart(args.out / name, *args.answers)
    imported = import_answers(args.out, args.answers)
    found = analyse(imported)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([field.name for field in fields(Rating)])
    writer.writerows(astuple(rating) for rating in imported.ratings)
    write_atomically(args.out / RATINGS, out.getvalue())
    write_metrics(args.out, found, REPORT)
    console = plain_console()
    console.print(
        f"{'Synthetic data. ' if found['synthetic'] else ''}{found['ratings']} ratings of {found['items']} items by {found['raters']} raters; "
        f"{found['missing']} questions unanswered; left out for failed attention checks: {', '.join(found['left_out']) or 'nobody'}"
    )
    for table in _likert_tables(found) if imported.kind == LIKERT else _rank_tables(found):
        console.print(table)


def _merged(runs: list[str], further: list[str]) -> tuple[list[TestItem], list[str]]:
    """Items with `ours` of every run under the run's name, and chosen systems of the first."""
    named = [name_and_folder(run) for run in runs]
    opened = {name: {item.item_id: item for item in read_own_answers(folder)} for name, folder in named}
    if len(opened) < len(named):
        raise ValueError("Two runs have the same name; write NAME=FOLDER.")
    first = next(iter(opened.values()))
    merged = []
    for item_id, item in first.items():
        answers = dict(item.answers)
        for name, items in opened.items():
            if item_id not in items:
                raise ValueError(f"{name} has no item {item_id!r}; all runs need the same test set.")
            answers[name] = items[item_id].answers[OURS]
        merged.append(replace(item, answers=answers))
    if taken := sorted(set(opened) & {TRUTH, *systems_of(list(first.values()))} - {OURS}):
        raise ValueError(f"A run cannot be called {taken[0]!r}, which is the name of a system; write NAME=FOLDER.")
    for system in further:
        if system != TRUTH and system not in merged[0].answers:
            raise ValueError(f"{runs[0]} has no system {system!r}; it has {', '.join(merged[0].answers)}.")
    return merged, [*opened, *further]


def _likert_tables(found: dict[str, Any]) -> list[Table]:
    means = Table(title="Points, mean over raters and items", title_justify="left")
    for heading in ("system", "mean", "95 %", "items"):
        means.add_column(heading, justify="left" if heading == "system" else "right")
    for system, metric in found["means"].items():
        means.add_row(system, f"{metric['value']:.3f}", interval_text(metric["interval"], 3), str(metric["n"]))
    pairs = Table(title="Differences (answers swapped by person, Holm)", title_justify="left")
    for heading in ("", "difference", "95 %", "p", "Wilcoxon by item, p"):
        pairs.add_column(heading, justify="left" if not heading else "right")
    for pair in found["pairs"]:
        by_item = "" if pair["wilcoxon_p"] is None else f"{pair['wilcoxon_p']:.3g}"
        pairs.add_row(f"{pair['system']} - {pair['against']}", f"{pair['difference']:+.3f}", interval_text(pair["interval"], 3, "+"), f"{pair['p_holm']:.3g}", by_item)  # fmt: skip
    agreement = Table(title="Agreement of raters", title_justify="left")
    agreement.add_column("measure")
    agreement.add_column("value", justify="right")
    for name, value in found["agreement"].items():
        agreement.add_row(name.replace("_", " "), "not defined" if value is None else f"{value:.3f}")
    return [means, pairs, agreement] if found["pairs"] else [means, agreement]


def _rank_tables(found: dict[str, Any]) -> list[Table]:
    ranks = Table(title=f"Ranks (Kendall's W {_number(found['kendall_w'])})", title_justify="left")
    for heading in ("system", "mean rank", "Bradley-Terry"):
        ranks.add_column(heading, justify="left" if heading == "system" else "right")
    for system, mean in found["mean_rank"].items():
        ranks.add_row(system, f"{mean:.3f}", f"{found['bradley_terry'][system]:+.2f}")
    pairs = Table(
        title="Win, tie, loss (ranks swapped by person, Holm; sign test: rankings taken for independent)",
        title_justify="left",
    )
    for heading in ("", "win", "tie", "loss", "net win, 95 %", "p", "sign test, p"):
        pairs.add_column(heading, justify="left" if not heading else "right")
    for pair in found["pairs"]:
        pairs.add_row(f"{pair['system']} against {pair['against']}", f"{pair['wins']:.0%}", f"{pair['ties']:.0%}", f"{pair['losses']:.0%}", interval_text(pair["net_win"]["interval"], 2, "+"), f"{pair['p_holm']:.3g}", f"{pair['sign_test_p_value']:.3g}")  # fmt: skip
    return [ranks, pairs]


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
