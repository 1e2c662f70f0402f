"""Score tables and clip features of long-term action quality assessment: Rhythmic Gymnastics, Fis-V, LOGO."""

import math
from pathlib import Path

import numpy as np

from mm_data.ground.safe_load import load_plain_pickle

FIS_V_COLUMNS = ("TES", "PCS", "deductions")
"""As its authors publish them; copies of others end after the second."""


def read_score_table(path: Path, columns: tuple[str, ...] | None = None) -> dict[str, dict[str, float]]:
    """Reads ``train.txt`` or ``test.txt`` of Rhythmic Gymnastics (tabs, header) or Fis-V (spaces, no header, with deductions or without).

    Whether the first line is a header is told by none of its scores being a number: skipping it blindly, as published loaders
    do, eats Fis-V's first sample.

    Args:
        path: The table.
        columns: Names of the scores where the file has no header; Fis-V's where none are given.

    Returns:
        Clip name to its scores in native units.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: A line has another number of columns than the names, or than the first line; a score is not a number; a name occurs
            twice; there is no score at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: a table of scores was expected there.")
    lines = [
        (number, line.split())
        for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1)
        if line.strip()
    ]
    if lines and lines[0][1][1:] and not any(map(_is_number, lines[0][1][1:])):
        columns = tuple(lines.pop(0)[1][1:])
    if columns is None:
        width = len(lines[0][1]) - 1 if lines else 0
        columns = FIS_V_COLUMNS[:width] if width in (2, 3) else FIS_V_COLUMNS
    scores: dict[str, dict[str, float]] = {}
    for number, (name, *values) in lines:
        if len(values) != len(columns) or not all(map(_is_number, values)):
            raise ValueError(f"{path}:{number}: expected a name and numbers for {', '.join(columns)}, found {values}.")
        if name in scores:
            raise ValueError(f"{path}:{number}: {name} is listed twice.")
        scores[name] = dict(zip(columns, map(float, values), strict=True))
    if not scores:
        raise ValueError(f"{path} holds no scores; download it again.")
    return scores


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_logo_scores(annotations: Path, keys: Path) -> dict[tuple[str, int], float]:
    """Reads the scores of LOGO's ``anno_dict.pkl`` for the keys of one split's pickle.

    Args:
        annotations: The pickle of all annotations.
        keys: The pickle of one split's keys.

    Returns:
        (game, index) to score.

    Raises:
        ValueError: A pickle asks for code, or a key of the split has no annotation.
    """
    entries, names = load_plain_pickle(annotations), load_plain_pickle(keys)
    normal = {(str(game), int(index)): value for (game, index), value in entries.items()}
    scores = {}
    for game, index in names:
        if (str(game), int(index)) not in normal:
            raise ValueError(f"{keys}: ({game}, {index}) has no entry in {annotations}.")
        scores[str(game), int(index)] = float(normal[str(game), int(index)][1])
    return scores


def fit_clips(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Brings clip features to a fixed number without chance: the middle of longer ones, zeros and a mask for shorter ones.

    Published loaders crop at random, at test time too, and pad without a mask.

    Args:
        features: ``[N, C]``.
        count: Clips wanted.

    Returns:
        ``[count, C]``, and ``[count]`` True where there is a clip.
    """
    first = max(0, (len(features) - count) // 2)
    middle = features[first : first + count]
    padded = np.zeros((count, features.shape[1]), features.dtype)
    padded[: len(middle)] = middle
    return padded, np.arange(count) < len(middle)
