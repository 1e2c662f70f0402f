"""The page that says what a build kept, dropped and found: a funnel and histograms, in one file without scripts."""

import html
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.poses.skeleton import REGIONS
from mm_data.records import CoachingTuple

REPORT = "report.html"
_WIDTH, _HEIGHT, _BINS = 300, 150, 20


def write_build_report(out: Path, manifest: dict[str, Any], tuples: dict[str, list[CoachingTuple]]) -> None:
    """Writes ``report.html``.

    Args:
        out: The tuple folder.
        manifest: See `build_tuples`.
        tuples: Split to its tuples.
    """
    everything = [t for rows in tuples.values() for t in rows]
    errors = [t.alignment_mm for t in everything if t.alignment_mm is not None]
    per_fault = Counter(t.provenance.learner_remark for t in tuples["train"])
    charts = [
        _histogram("Alignment error, mm", errors),
        _bars("Regions to improve", Counter(r for t in everything for r in t.regions), tuple(REGIONS)),
        _bars("Tuples per task", Counter(t.task for t in everything)),
        _bars("Experts per training fault", Counter(str(n) for n in per_fault.values())),
        _histogram("Words per remark", [len(t.remark.split()) for t in everything]),
        _histogram("Words per summary", [len(t.summary.split()) for t in everything]),
        _histogram("Clip length, frames", [t.learner.stop - t.learner.start for t in everything]),
        _histogram("Experts considered", [t.provenance.experts_considered for t in everything]),
    ]
    request = manifest["request"]
    page = Template(files("mm_data.tuples").joinpath("page.html").read_text()).substitute(
        flag="<p class='flag'>Synthetic data: no number here says anything about people.</p>" if manifest["synthetic"] else "",
        source=html.escape(request["source"]),
        labeller=html.escape(request["labeller"]),
        counts=html.escape(", ".join(f"{count} {name}" for name, count in manifest["tuples"].items()))
        + f"; {manifest['reviewed']} test tuples reviewed by a person.",
        funnel="".join(_stage(stage) for stage in manifest["funnel"]),
        charts="".join(charts),
    )  # fmt: skip
    write_atomically(out / REPORT, page)


def _stage(stage: dict[str, Any]) -> str:
    dropped = "<br>".join(
        f"{count} {html.escape(reason)} <span class='note'>such as {html.escape(stage['examples'][reason][0])}</span>"
        for reason, count in stage["dropped"].items()
    )
    noted = "<br>".join(f"{count} {html.escape(what)}" for what, count in stage["noted"].items())
    return (
        f"<tr><td>{html.escape(stage['stage'])}</td><td class='n'>{stage['read']}</td><td class='n'>{stage['kept']}</td>"
        f"<td class='lost'>{dropped}</td><td class='note'>{noted}</td></tr>"
    )


def _histogram(title: str, values: Sequence[float]) -> str:
    if not values:
        return _figure(title, "<text class='tick' x='4' y='20'>no values</text>")
    counts, edges = np.histogram(values, bins=min(_BINS, len(set(values))))
    ticks = [(0.0, f"{edges[0]:.4g}"), (1.0, f"{edges[-1]:.4g}")]
    return _figure(f"{title} (median {np.median(values):.4g})", _columns(counts) + _ticks(ticks))


def _bars(title: str, counts: Counter[str], order: Sequence[str] = ()) -> str:
    names = [*order] or [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    rows, top = [], max(counts.values(), default=1)
    for row, name in enumerate(names):
        y = row * 20
        rows.append(
            f"<rect class='bar' x='130' y='{y + 3}' height='14' width='{counts[name] / top * (_WIDTH - 180):.1f}'/>"
            f"<text class='tick' x='126' y='{y + 14}' text-anchor='end'>{html.escape(name[:22])}</text>"
            f"<text class='tick' x='{134 + counts[name] / top * (_WIDTH - 180):.1f}' y='{y + 14}'>{counts[name]}</text>"
        )
    return _figure(title, "".join(rows), max(20 * len(names), 20))


def _columns(counts: np.ndarray) -> str:
    width = _WIDTH / len(counts)
    tall = (_HEIGHT - 35) / max(int(counts.max()), 1)
    return "".join(
        f"<rect class='bar' x='{i * width:.1f}' y='{_HEIGHT - 20 - n * tall:.1f}' width='{width - 1:.1f}' height='{n * tall:.1f}'/>"
        for i, n in enumerate(counts)
    ) + f"<text class='tick' x='{_WIDTH}' y='12' text-anchor='end'>tallest {int(counts.max())}</text>"  # fmt: skip


def _ticks(ticks: list[tuple[float, str]]) -> str:
    anchors = {0.0: "start", 1.0: "end"}
    return "".join(
        f"<text class='tick' x='{at * _WIDTH:.0f}' y='{_HEIGHT - 5}' text-anchor='{anchors[at]}'>{text}</text>"
        for at, text in ticks
    )


def _figure(title: str, content: str, height: int = _HEIGHT) -> str:
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f"<svg viewBox='0 0 {_WIDTH} {height}' width='100%'>{content}</svg></figure>"
    )
