"""What language models as judges say of a run, each verdict at the item that it is about."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mm_eval.answers.test_sets import FILE, TestItem
from mm_eval.judge.judging import digest_of
from mm_eval.statistics.metric import Metric
from mm_eval.statistics.storage import read_metrics

METRICS = "metrics.json"


def read_verdicts(folder: Path, items: Sequence[TestItem]) -> tuple[dict[str, dict[str, Metric]], list[str]]:
    """Reads the metrics of all judges whose folders lie in a run's.

    Args:
        folder: Folder of the run.
        items: Items of the run, which are more than a judge need have seen.

    Returns:
        System to name to metric over all items, and sentences on what judges withhold.

    Raises:
        ValueError: Two judges give the same metric, or one judged other texts.
    """
    by_system: dict[str, dict[str, Metric]] = {}
    notes: list[str] = []
    position = {item.item_id: index for index, item in enumerate(items)}
    for path in sorted(folder.glob(f"judge*/{METRICS}")):
        content = read_metrics(path.parent)
        settings = content["settings"]
        judged = [items[position[name]] for name in settings["item_ids"] if name in position]
        systems = [*settings["systems"], *([settings["against"]] if settings["against"] else [])]
        if len(judged) < len(settings["item_ids"]) or digest_of(judged, systems) != settings["digest"]:
            raise ValueError(
                f"{path.parent} judged other texts than {folder / FILE} holds; run the judge again or move it away."
            )
        places = [position[item.item_id] for item in judged]
        for system, scores in content["systems"].items():
            if scores["withheld"]:
                failed = f"{scores['failed_share']:.1%} of the judgements failed"
                notes.append(f"{path.parent.name}: {system}'s headline is withheld, {failed}")
                continue
            metrics = {n: _spread(Metric.from_json(m), places, len(items)) for n, m in scores["metrics"].items()}
            mine = by_system.setdefault(system, {})
            if twice := sorted(mine.keys() & metrics.keys()):
                raise ValueError(
                    f"{path.parent} and another judge in {folder} both give {twice[0]} of {system!r}; move one of them away."
                )
            mine |= metrics
    return by_system, notes


def _spread(metric: Metric, places: list[int], count: int) -> Metric:
    """A metric of some items as one of all, NaN where an item was not judged."""

    def spread(values: Sequence[Any] | None) -> list[Any] | None:
        if values is None:
            return None
        everywhere = np.full((count, *np.shape(values)[1:]), np.nan)
        everywhere[places] = values
        return everywhere.tolist()

    items, rows = spread(metric.per_item), spread(metric.rows)
    return replace(metric, per_item=items and tuple(items), rows=rows and tuple(map(tuple, rows)))
