"""The page that says what a build kept and dropped, and what is in it: a funnel and histograms, in one file without scripts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.items.manifest import ItemManifest
from mm_data.poses.skeleton import REGIONS
from mm_data.records import CoachingTuple

REPORT = "report.html"
_MOST_BINS = 20


def write_build_report(out: Path, manifest: ItemManifest, tuples: dict[str, list[CoachingTuple]]) -> None:
    """Writes ``report.html``.

    Args:
        out: The tuple folder.
        manifest: Manifest of the folder.
        tuples: Tuples of each split.
    """
    everything = [t for rows in tuples.values() for t in rows]
    regions = Counter(region for t in everything for region in t.regions)
    experts = Counter(t.provenance.learner_remark for t in tuples["train"])
    page = fill_template(
        "mm_data",
        "tuples/page.html",
        manifest=manifest,
        errors=_histogram([t.alignment_mm for t in everything if t.alignment_mm is not None]),
        regions=[(name, regions[name]) for name in REGIONS],
        tasks=_most_first(Counter(t.task for t in everything)),
        experts_per_fault=_most_first(Counter(str(count) for count in experts.values())),
        remark_words=_histogram([len(t.remark.split()) for t in everything]),
        summary_words=_histogram([len(t.summary.split()) for t in everything]),
        frames=_histogram([t.learner.stop - t.learner.start for t in everything]),
        considered=_histogram([t.provenance.experts_considered for t in everything]),
    )
    write_atomically(out / REPORT, page)


def _histogram(values: Sequence[float]) -> dict[str, Any] | None:
    """Counts per bin, the outer edges and the median; None without values."""
    if not values:
        return None
    counts, edges = np.histogram(values, bins=min(_MOST_BINS, len(set(values))))
    return {"counts": counts.tolist(), "low": edges[0], "high": edges[-1], "median": np.median(values)}


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
