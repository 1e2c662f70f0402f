"""Results on disk: JSON for people, Parquet for the statistics, and nothing lost, mixed up or guessed between them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mm_eval.statistics.metric import Metric, corpus_metric, item_metric, records_of
from mm_eval.statistics.storage import read_metrics, without_statistics, write_metrics

NAN = float("nan")
CLUSTERS = ["a", "b", "c"]
METRICS = {
    "mean": item_metric([0.1, NAN, 0.3], CLUSTERS, "0-1", "m"),
    "bleu": corpus_metric(np.arange(30).reshape(3, 10) + 1, "bleu4", CLUSTERS, "0-1", "b", [0.5, NAN, 1 / 3]),
    "whole": corpus_metric(np.array([[1.0, 2.0], [NAN, 1.0], [0.25, 7.0]]), "ratio", CLUSTERS, "mm", "r"),
    "chance": Metric(0.5, None, 3, 0, "", "chance"),
}


def result() -> dict[str, Any]:
    records = {name: metric.to_json() for name, metric in METRICS.items()}
    tables = {
        "commentary": {"ours": records, "a/b": {"mean": records["mean"]}},
        "a": {"b/ours": {"mean": records["chance"]}},
    }
    return {
        "tables": tables,
        "notes": ["rows"],
        "summary": {"value": 1.0},
        "pairs": [{"net": records["mean"]}, {"net": None}],
    }


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_metrics(tmp_path, result())
    back = read_metrics(tmp_path)
    assert (
        back == result()
        and records_of(back)["commentary"]["ours"]["bleu"] == records_of(result())["commentary"]["ours"]["bleu"]
    )
    for name in ("mean", "whole"):
        ours = records_of(back)["commentary"]["ours"][name]
        np.testing.assert_array_equal(ours.statistics, METRICS[name].statistics)
        assert (ours.value, ours.interval) == (METRICS[name].value, METRICS[name].interval)


def test_the_json_holds_values_and_the_parquet_items(tmp_path: Path) -> None:
    write_metrics(tmp_path, result(), "metrics_nae")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics_nae.json", "metrics_nae.parquet"]
    written = json.loads((tmp_path / "metrics_nae.json").read_text())
    bleu = written["tables"]["commentary"]["ours"]["bleu"]
    assert set(bleu) == {"value", "n", "n_failed", "scale", "signature", "interval", "aggregate", "clusters"}
    assert (
        bleu["value"] == METRICS["bleu"].value and written["notes"] == ["rows"] and written["pairs"][1] == {"net": None}
    )
    del written["statistics"]
    assert written == without_statistics(result())
    rows = {tuple(row["path"]): row for row in pq.read_table(tmp_path / "metrics_nae.parquet").to_pylist()}
    assert len(rows) == 7 and rows["pairs", "0", "net"]["per_item"] == [0.1, None, 0.3]
    assert rows["tables", "commentary", "ours", "bleu"]["rows"][1] == [float(n) for n in range(11, 21)]
    assert rows["tables", "a", "b/ours", "mean"]["per_item"] is None


def test_a_result_without_metrics_has_no_parquet(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"summary": {"loss": 1.0}})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert read_metrics(tmp_path) == {"summary": {"loss": 1.0}}


def test_what_is_old_missing_or_mixed_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.json is missing: `evaluate` writes it"):
        read_metrics(tmp_path, hint="`evaluate` writes it.")
    (tmp_path / "metrics.json").write_text(json.dumps(result()))
    with pytest.raises(ValueError, match=r"metrics\.json is of an earlier version, .* delete it and score again"):
        read_metrics(tmp_path)
    write_metrics(tmp_path, result())
    other = tmp_path / "other"
    other.mkdir()
    write_metrics(other, {"tables": {"t": {"ours": {"mean": METRICS["mean"].to_json()}}}})
    shutil.copy(other / "metrics.parquet", tmp_path)
    with pytest.raises(ValueError, match=r"metrics\.parquet is not the file that .*metrics\.json was written with"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.parquet").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"metrics\.parquet is missing: .*metrics\.json takes its statistics from it"
    ):
        read_metrics(tmp_path)
