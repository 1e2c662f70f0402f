"""Results on disk: values, intervals and signatures as JSON, and what they follow from, item by item, as Parquet beside it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mm_data.ground.digests import sha256_of
from mm_data.ground.files import replacing, write_atomically
from mm_data.ground.safe_load import read_json

Statistics = dict[tuple[str, ...], dict[str, Any]]
"""Path of a metric in a result to its ``per_item`` and ``rows``."""

_RECORD = {"value", "signature", "aggregate"}
"""Keys that tell the record of a metric from every other part of a result."""
_STATISTICS = ("per_item", "rows")
_POINTER = "statistics"
"""Entry of the JSON that names the Parquet file and its hash, so that two runs' files are never taken for one."""
_NUMBERS = pa.list_(pa.float64())
_SCHEMA = pa.schema([("path", pa.list_(pa.string())), ("per_item", _NUMBERS), ("rows", pa.list_(_NUMBERS))])


def write_metrics(folder: Path, result: dict[str, Any], name: str = "metrics") -> None:
    """Writes ``metrics.parquet`` and then ``metrics.json``, which marks the end.

    Args:
        folder: Folder of the files.
        result: JSON-ready content with records of `Metric.to_json` anywhere in it.
        name: Name of both files without their endings.
    """
    statistics: Statistics = {}
    content = _without_statistics(result, (), statistics)
    if statistics:
        path = folder / f"{name}.parquet"
        records = [{"path": place, **columns} for place, columns in statistics.items()]
        with replacing(path) as partial:
            pq.write_table(pa.Table.from_pylist(records, _SCHEMA), partial, compression="zstd")
        content[_POINTER] = {"file": path.name, "sha256": sha256_of(path)}
    write_atomically(folder / f"{name}.json", json.dumps(content, indent=1))


def read_metrics(folder: Path, name: str = "metrics", hint: str = "") -> dict[str, Any]:
    """Reads what `write_metrics` wrote.

    Args:
        folder: Folder of the files.
        name: Name of both files without their endings.
        hint: What writes them; ends the message when the JSON is missing.

    Returns:
        The result with complete records.

    Raises:
        FileNotFoundError: One of the files is missing.
        ValueError: The JSON is of an earlier version, which kept the statistics inside, or the files are not of one result.
    """
    path = folder / f"{name}.json"
    result = read_json(path, hint)
    pointer = result.pop(_POINTER, None)
    if pointer is None:
        inside: Statistics = {}
        _without_statistics(result, (), inside)
        if inside:
            raise ValueError(
                f"{path} is of an earlier version, which kept no {name}.parquet; delete it and score again."
            )
        return result
    beside = folder / pointer["file"]
    if not beside.is_file():
        raise FileNotFoundError(f"{beside} is missing: {path} takes its statistics from it. Copy both, or score again.")
    if sha256_of(beside) != pointer["sha256"]:
        raise ValueError(f"{beside} is not the file that {path} was written with; delete both and score again.")
    for record in pq.read_table(beside, schema=_SCHEMA).to_pylist():
        metric: Any = result
        for step in record["path"]:
            metric = metric[int(step)] if isinstance(metric, list) else metric[step]
        metric |= {column: record[column] for column in _STATISTICS}
    return result


def without_statistics(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a result whose records have values, intervals and signatures alone."""
    return _without_statistics(result, (), {})


def _without_statistics(content: Any, path: tuple[str, ...], statistics: Statistics) -> Any:
    """The content without the records' statistics, which go into a dictionary by their paths."""
    if isinstance(content, list):
        return [_without_statistics(entry, (*path, str(i)), statistics) for i, entry in enumerate(content)]
    if not isinstance(content, dict):
        return content
    if content.keys() >= _RECORD:
        statistics[path] = {column: content.get(column) for column in _STATISTICS}
        return {key: value for key, value in content.items() if key not in _STATISTICS}
    return {key: _without_statistics(value, (*path, key), statistics) for key, value in content.items()}
