"""Small tables that people write by hand, in a text editor or a spreadsheet: CSV, or JSON lines."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mm_data.ground.files import decode_utf8

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_JSON = (".jsonl", ".ndjson", ".json")
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_SAVE = "Save the table as 'CSV UTF-8 (comma delimited)'."


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Reads a table in CSV, or in one JSON object per line (``.jsonl``).

    Args:
        path: The file.
        columns: Columns that a table in CSV has to have; rows of JSON lines are the caller's to check.

    Returns:
        (file and line, row) of every row.

    Raises:
        ValueError: The file cannot be read without guessing; names file and line, and says what to do.
    """
    if path.suffix.lower() in _JSON:
        return _read_json_lines(path)
    return [(f"{path}:{line}", dict(row)) for line, row in read_csv(path, columns)]


def read_csv(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Reads a table as editors and spreadsheets write it; a row that runs over several lines has its first one's number.

    Read are UTF-8, UTF-16 with its mark, columns separated by commas, semicolons or tabs (the heading tells), blanks around cells, blank
    lines, empty columns at the end, and rows that leave out optional columns at their end. Whatever would have to be guessed is refused.

    Args:
        path: The file.
        columns: Headings that have to be there; every row has to reach them, if only with an empty cell.

    Returns:
        (line, row) of every row, in which every column is a text, empty where a row leaves it out.

    Raises:
        ValueError: Other encodings, headings that are missing or stand twice, rows of too many or too few cells, or quotation marks that
            are not closed; names file and line, and says what to do.
    """
    text = _decode(path)
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r'"?sep=(.)"?\r?', first)  # Excel's own way of naming the separator
    lines = _parse(
        path, "\n" + rest if declared else text, declared[1] if declared else _separator(path, text, columns)
    )
    if not lines:
        raise ValueError(f"{path} is empty; its first line has to name the columns {', '.join(columns)}.")
    headings = _headings(path, lines[0].cells, columns)
    width = 1 + max(headings.index(column) for column in columns) if columns else 0
    for line in lines[1:]:
        _check_width(path, line, headings, width)
    _check_swallowed(path, lines[1:], headings, max(2, width))
    return [(line.number, _by_heading(headings, line)) for line in lines[1:]]


@dataclass(frozen=True)
class _Line:
    """One row of a file.

    Attributes:
        number: Its first line, from 1.
        cells: Its cells without blanks around them.
        separator: What stands between the cells.
    """

    number: int
    cells: list[str]
    separator: str


def _decode(path: Path) -> str:
    """The text of a file."""
    if path.suffix.lower() in _SHEETS:
        raise ValueError(f"{path} is a spreadsheet. {_SAVE}")
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} begins like UTF-16 and is cut off or damaged at byte {error.start}. {_SAVE}"
            ) from error
    else:
        text = decode_utf8(path, content, f"a plain 'CSV' of Excel is in another encoding. {_SAVE}")
    if "\0" in text:
        number = 1 + len(re.findall(r"\r\n|\r|\n", text[: text.index("\0")]))
        raise ValueError(f"{path}:{number}: holds a NUL byte, so it is no text in UTF-8. {_SAVE}")
    return text


def _separator(path: Path, text: str, columns: Sequence[str]) -> str:
    """What stands between the headings: that by which most of the columns are there, a comma if none does better."""
    heading = next((line for line in text.splitlines() if line.strip()), "")

    def columns_named(separator: str) -> int:
        cells = next(csv.reader([heading], delimiter=separator, skipinitialspace=True), [])
        return len({cell.strip() for cell in cells} & set(columns))

    return max(_SEPARATORS, key=columns_named)


def _parse(path: Path, text: str, separator: str) -> list[_Line]:
    """All rows that are not blank."""
    if separator not in _SEPARATORS:
        raise ValueError(f"{path}:1: columns are separated by {separator!r}; use commas, semicolons or tabs. {_SAVE}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    lines: list[_Line] = []
    before = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append(_Line(before + 1, [cell.strip() for cell in cells], separator))
            before = reader.line_num
    except csv.Error as error:
        raise ValueError(
            f"{path}:{before + 1}: a quotation mark is not closed, or text stands behind a closed one ({error}). "
            "Put the whole text in "
            'quotes, and write a quotation mark inside as "".'
        ) from error
    return lines


def _headings(path: Path, cells: list[str], columns: Sequence[str]) -> list[str]:
    if missing := [column for column in columns if column not in cells]:
        raise ValueError(
            f"{path} lacks the columns {', '.join(missing)}; "
            f"its first line names {', '.join(map(repr, cells))}, and has to name {', '.join(columns)}, "
            "separated by commas, semicolons or tabs."
        )
    if twice := sorted({cell for cell in cells if cell and cells.count(cell) > 1}):
        raise ValueError(
            f"{path}: the column {twice[0]!r} stands twice in the first line; rename or remove one of them."
        )
    return cells


def _by_heading(headings: list[str], line: _Line) -> dict[str, str]:
    return {name: cell for name, cell in zip_longest(headings, line.cells, fillvalue="") if name}


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Returns rows as a table in CSV, the headings first."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _check_width(path: Path, line: _Line, headings: list[str], width: int) -> None:
    """Refuses cells without a heading, which are the rest of a text that was cut, and rows that do not reach a column."""
    extra = [cell for index, cell in enumerate(line.cells) if cell and (index >= len(headings) or not headings[index])]
    if extra:
        names = [name for name in headings if name]
        raise ValueError(
            f"{path}:{line.number}: {extra[0]!r} stands in no column; the {len(names)} columns are {', '.join(names)}. "
            "Put a text that "
            f'holds a {_SEPARATORS[line.separator]} in quotes: "...".'
        )
    if len(line.cells) < width:
        missing = [name for name in headings[len(line.cells) : width] if name]
        raise ValueError(
            f"{path}:{line.number}: the row has {len(line.cells)} cells and ends before {', '.join(missing)}. "
            "If a text goes on in the next "
            'line, put it in quotes: "...".'
        )


def _check_swallowed(path: Path, lines: list[_Line], headings: list[str], width: int) -> None:
    """Refuses texts that hold what looks like further rows: a quotation mark was opened there, and closed by a later text's.

    A line of a text is taken for a row if it has ``width`` cells or more, and those are of the kinds of the other rows' wherever a column
    holds no text: names of files, numbers, ids.
    """
    wordy = [
        index
        for index, name in enumerate(headings)
        if name and all(len(line.cells[index].split()) < 2 for line in lines if index < len(line.cells))
    ]
    kinds = {index: {_kind(line.cells[index]) for line in lines if index < len(line.cells)} for index in wordy}
    for line in lines:
        for text in (text for cell in line.cells for text in cell.splitlines()[1:]):
            cells = next(csv.reader([text], delimiter=line.separator, skipinitialspace=True), [])
            if len(cells) >= width and _looks_like_a_row([cell.strip() for cell in cells], kinds):
                raise ValueError(
                    f"{path}:{line.number}: a text goes on over what looks like another row, {text[:60]!r}. "
                    "Close its quotation mark, or take the line break out of the text."
                )


def _looks_like_a_row(cells: list[str], kinds: dict[int, set[str]]) -> bool:
    """Whether cells are of the kinds of their columns; a column of numbers among them tells enough about one of names."""
    there = {index: _kind(cells[index]) for index in kinds if index < len(cells)}
    numbers = any(kinds[index] == {"number"} for index in there)
    return bool(there) and all(
        kind in kinds[index] or (numbers and kinds[index] != {"number"} and kind in ("word", "name"))
        for index, kind in there.items()
    )


def _kind(cell: str) -> str:
    """Coarsely, what a cell holds."""
    if len(cell.split()) > 1:
        return "text"
    if re.fullmatch(r"[-+]?[\d.,]+", cell):
        return "number"
    return "word" if cell.isalpha() else "name" if cell else "nothing"


def _read_json_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = _decode(path).split("\n")  # JSON strings may hold other line separators
    return [
        (f"{path}:{n}", _parse_object(line, f"{path}:{n}")) for n, line in enumerate(lines, start=1) if line.strip()
    ]


def _parse_object(line: str, where: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{where}: {twice!r} stands twice; remove one of them.")
        return row

    try:
        row = json.loads(line, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object, found {type(row).__name__}.")
    return row


def number(value: Any, where: str, column: str) -> float:
    """Reads a cell as a finite number with a decimal point.

    Args:
        value: The cell.
        where: File and line, for the error.
        column: Name of the column, for the error.

    Returns:
        The number.

    Raises:
        ValueError: It is none; names file, line and column.
    """
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if plain or (
        isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value.strip(), re.ASCII)
    ):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
    raise ValueError(
        f"{where}: {column} {value!r} is not a number; write it in digits, with a point for decimals, such as 3.25."
    )


def video_path(value: str, where: str, base: str) -> str:
    """Reads a path in a table of one's own, with ``/`` between its parts whatever system it was written on.

    Args:
        value: The cell.
        where: File and line, for the error.
        base: What paths are relative to, and how to choose another, for the message.

    Returns:
        The path.

    Raises:
        ValueError: The path is absolute, or leaves that folder.
    """
    path = PureWindowsPath(value)  # takes both / and \\ for separators
    if path.drive or path.root or ".." in path.parts:
        raise ValueError(
            f"{where}: the video's path {value!r} leaves the data set's folder; paths are relative to {base}."
        )
    return str(PurePosixPath(*path.parts))
