"""`mm-coach human`: people as judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

app = App(name="human", help="Ask people as judges: blinded packs, their answers, statistics.")


@app.command
def pack(
    runs: list[str],
    *,
    out: Path,
    systems: Sequence[str] = (),
    kind: Literal["likert", "rank"] = "likert",
    raters: int = 5,
    per_item: int | None = None,
    max_items: int = 50,
    views: Sequence[Literal["exo", "ego"]] = ("exo",),
    seed: int = 0,
) -> None:
    """Write a page per rater with clips inside, and a hidden key beside them.

    Args:
        runs: Folders with answers.jsonl, or NAME=FOLDER.
        out: Folder for pack/, which raters get, and key.json.
        systems: Systems of the first run, beside `ours` of each; `truth` too.
        kind: Points from 1 to 4, or ranks.
        raters: Number of people.
        per_item: Number of raters who see each item, in balanced blocks; by default all.
        max_items: Number of items of an evenly spaced subset.
        views: Clips to show; none without a word behind it.
        seed: Seed of orders and assignment.
    """
    from mm_adapter.cli.console import stage_progress
    from mm_data.ground.files import check_apart
    from mm_eval.answers.test_sets import evenly_spaced, join_runs
    from mm_eval.human.packs import KEY, PACK, Design, make_pack
    from mm_eval.suites.runs import name_and_folder
    from mm_eval.suites.suite import AnsweredRun

    # An existing key is kept, because answers to its pack may be on their way.
    if (out / KEY).is_file():
        raise ValueError(f"{out} holds a pack already; its key would be lost. Choose another --out.")
    folders = [name_and_folder(run) for run in runs]
    check_apart(out, *(folder for _, folder in folders), inside=True)
    if len(dict(folders)) < len(folders):
        raise ValueError("Two runs have the same name; write NAME=FOLDER.")
    items = join_runs({name: AnsweredRun.read(folder).items for name, folder in folders}, systems)
    design = Design(kind, raters, per_item or raters, seed, tuple(views))
    with stage_progress() as progress:
        names = [*dict(folders), *systems]
        count = make_pack(evenly_spaced(items, max_items), names, design, out, progress)
    print(f"{out / PACK}: {raters} pages with {count} questions; give each rater theirs")
    print(f"{out / KEY}: who is who; keep it to yourself until the answers are in")


@app.command
def report(out: Path, answers: list[Path]) -> None:
    """Print statistics of raters' answers: CSV of the pages, JSON of Label Studio.

    Args:
        out: Folder of `human pack`.
        answers: Files of answers.
    """
    from mm_adapter.cli.console import plain_console
    from mm_data.ground.files import check_apart
    from mm_eval.human.packs import LIKERT
    from mm_eval.human.ratings import RATINGS, import_answers, write_ratings
    from mm_eval.human.statistics import REPORT, analyse, write_report

    for name in (RATINGS, REPORT, REPORT.replace(".json", ".parquet")):
        check_apart(out / name, *answers)
    imported = import_answers(out, answers)
    study = analyse(imported)
    write_ratings(out, imported.ratings)
    write_report(out, study)
    plain_console().print(
        f"{'Synthetic data. ' if study['synthetic'] else ''}"
        f"{study['ratings']} ratings of {study['items']} items by {study['raters']} raters; "
        f"{study['missing']} questions unanswered; "
        f"left out for failed attention checks: {', '.join(study['left_out']) or 'nobody'}"
    )
    if imported.kind == LIKERT:
        _print_points(study)
    else:
        _print_ranks(study)


def _print_points(study: dict[str, Any]) -> None:
    from mm_adapter.cli.console import print_table
    from mm_eval.statistics.intervals import interval_text

    columns = ("system", "mean", "95 %", "items")
    means = [
        (system, f"{metric['value']:.3f}", interval_text(metric["interval"], 3), metric["n"])
        for system, metric in study["means"].items()
    ]
    print_table(columns, means, "Points, mean over raters and items", numbers=columns[1:])
    if study["pairs"]:
        columns = ("", "difference", "95 %", "p", "Wilcoxon by item, p")
        pairs = [
            (
                f"{pair['system']} - {pair['against']}",
                f"{pair['difference']:+.3f}",
                interval_text(pair["interval"], 3, "+"),
                f"{pair['p_holm']:.3g}",
                "" if pair["wilcoxon_p"] is None else f"{pair['wilcoxon_p']:.3g}",
            )
            for pair in study["pairs"]
        ]
        print_table(columns, pairs, "Differences (answers swapped by person, Holm)", numbers=columns[1:])
    agreement = [(name.replace("_", " "), _number(value)) for name, value in study["agreement"].items()]
    print_table(("measure", "value"), agreement, "Agreement of raters", numbers=("value",))


def _print_ranks(study: dict[str, Any]) -> None:
    from mm_adapter.cli.console import print_table
    from mm_eval.statistics.intervals import interval_text

    columns = ("system", "mean rank", "Bradley-Terry")
    ranks = [
        (system, f"{mean:.3f}", f"{study['bradley_terry'][system]:+.2f}") for system, mean in study["mean_rank"].items()
    ]
    print_table(columns, ranks, f"Ranks (Kendall's W {_number(study['kendall_w'])})", numbers=columns[1:])
    columns = ("", "win", "tie", "loss", "net win, 95 %", "p", "sign test, p")
    pairs = [
        (
            f"{pair['system']} against {pair['against']}",
            f"{pair['wins']:.0%}",
            f"{pair['ties']:.0%}",
            f"{pair['losses']:.0%}",
            interval_text(pair["net_win"]["interval"], 2, "+"),
            f"{pair['p_holm']:.3g}",
            f"{pair['sign_test_p_value']:.3g}",
        )
        for pair in study["pairs"]
    ]
    title = "Win, tie, loss (ranks swapped by person, Holm; sign test: rankings taken for independent)"
    print_table(columns, pairs, title, numbers=columns[1:])


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
