"""Reads CoT-AFA as it is published.

::

    ROOT/GYM88.xlsx                                       clips: name ``CC_NN``, action, 0 good or 1 bad; Chinese headers
    ROOT/comment/CC_NN_with_label.txt                     explanations, 2,154 of 3,392 empty
    ROOT/test_caption_coco_format_coco_format.json        the test split and its explanations
    ROOT/step_instructions_translated_keys.json           141 actions, in the order of their classes, with their steps
    ROOT/videos/CC_NN.mp4                                 one file per clip

What the release lacks (train.pkl, test.pkl) is not needed: the test split is the clips of the caption file.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import read_json
from mm_data.ground.synthetic import is_marked_synthetic
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.tasks.task import TaskData
from mm_data.tasks.videos import FOLDER, whole_video

SHEET, CAPTIONS = "GYM88.xlsx", "test_caption_coco_format_coco_format.json"
STEPS, COMMENTS = "step_instructions_translated_keys.json", "comment"
STANDARD, NON_STANDARD = "standard", "non-standard"
_NAME, _ACTION, _GOOD_OR_BAD = "视频名字", "具体类", "好坏"
_COLUMNS = {_NAME: 0, _ACTION: 3, _GOOD_OR_BAD: 5}
"""Where they stand in a sheet without headers."""

_CLIP_NAME = re.compile(r"(\d+)_(\d+)")
_HEADING = re.compile(r"^.*?(?:step\s*\d+|instruction)\s*:\s*", re.I)
_SECONDS = 108 / 30
"""Length that published code pads and cuts every clip to, where there is no video to ask."""


def read_cot_afa(root: Path) -> TaskData:
    """Reads both splits.

    Args:
        root: The data set.

    Returns:
        Items of both splits.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed, or nothing can be used.
    """
    steps = read_steps(root / STEPS)
    captions = read_test_captions(root / CAPTIONS)
    # Two thirds of the explanations were never published, so most rows are sorted out on purpose.
    funnel, items, listed = Funnel("read clips", 0.5), [], set()
    for row in read_rows(root, list(steps), funnel):
        listed.add(row.name)
        item = _item(root, row.name, row.action, row.verdict, captions.get(row.name), funnel)
        if item is not None:
            funnel.keep()
            items.append(item)
    for name in sorted(captions.keys() - listed):
        funnel.note("test explanations of clips that the sheet does not list", name)
    funnel.check()
    knowledge = {"steps": steps}
    return TaskData(items, knowledge, [funnel], root / FOLDER, is_marked_synthetic(root))


@dataclass(frozen=True)
class Row:
    """A usable row of the sheet."""

    name: str
    action: str
    verdict: str


def read_rows(root: Path, actions: Sequence[str], funnel: Funnel) -> Iterator[Row]:
    """Reads rows with a clip name, a mark of 0 or 1 and a known class; the others are counted.

    Args:
        root: The data set.
        actions: Names of the classes, in order.
        funnel: Counts rows that cannot be used.

    Yields:
        One row after the other.

    Raises:
        FileNotFoundError: The sheet is missing.
        ValueError: It cannot be read.
    """
    rows = list(_cells(root / SHEET))
    first, seen = _first_class(rows, actions), set()
    for name, _, mark in rows:
        verdict = {0: STANDARD, 1: NON_STANDARD}.get(mark)
        if not _CLIP_NAME.fullmatch(name):
            funnel.drop("no clip name", name or "an empty cell")
        elif name in seen:
            funnel.drop("listed twice", name)
        elif verdict is None:
            funnel.drop("a mark that is neither 0 nor 1", f"{name}: {mark!r}")
        elif not 0 <= (number := int(name.split("_")[0]) - first) < len(actions):
            funnel.drop("a class without steps", name)
        else:
            seen.add(name)
            yield Row(name, actions[number], verdict)


def sheet_actions(root: Path) -> list[str]:
    """Reads the actions that the sheet names, in the order of their classes.

    Args:
        root: The data set.

    Returns:
        The actions.

    Raises:
        FileNotFoundError: The sheet is missing.
        ValueError: It cannot be read, or names no action.
    """
    numbered = {
        int(n.split("_")[0]): action for n, action, _ in _cells(root / SHEET) if action and _CLIP_NAME.fullmatch(n)
    }
    if not numbered or sorted(numbered) != list(range(min(numbered), max(numbered) + 1)):
        raise ValueError(
            f"{root / SHEET}: names the actions of {len(numbered)} classes, which are not all; give {STEPS}."
        )
    return [numbered[number] for number in sorted(numbered)]


def read_steps(path: Path) -> dict[str, list[str]]:
    """Reads the steps of every action, the general instruction last, in the order of the classes.

    Args:
        path: The file.

    Returns:
        Action to steps.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is malformed.
    """
    content = read_json(path, "it holds every action's steps")
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected actions with lists of steps.")
    for action, steps in content.items():
        if not isinstance(steps, list) or not all(isinstance(step, str) and step.strip() for step in steps):
            raise ValueError(f"{path}: the steps of {action!r} are not a list of texts.")
    return {action: [_HEADING.sub("", step) for step in steps] for action, steps in content.items()}


def _item(root: Path, name: str, action: str, verdict: str, caption: str | None, funnel: Funnel) -> TaskItem | None:
    split = "train" if caption is None else "test"
    text = caption
    if text is None:
        path = root / COMMENTS / f"{name}_with_label.txt"
        if not path.is_file():
            return funnel.drop("no explanation file", name)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            funnel.note("explanations that are not UTF-8, read as Latin-1", name)
            text = path.read_text(encoding="latin1")
        text = " ".join(text.split())
        if not text:
            return funnel.drop("empty explanation", name, expected=True)
    stated = stated_verdict(text)
    if stated is not None and stated != verdict:
        funnel.note("explanations that contradict the sheet's mark", name)
    clip = whole_video(root, name, _SECONDS, funnel)
    truth = Answer(text=text, label=action, verdict=verdict)
    return TaskItem(name, split, name, action, clip, truth, [text])


_NOT = r"(?:not(?! only)|never|no longer|hardly|scarcely|barely|far from|anything but|by no means)"
_DEGREE = (
    r"(?:not only|very|really|quite|pretty|so|too|that|rather|fairly|generally|overall|mostly|clearly|"
    r"still|also|all|entirely|fully|completely|at all|particularly|especially|just|simply)"
)
_DONE = (
    r"(?:being\s+)?(?:done|performed|executed|carried out|demonstrated|completed|(?:classified|label+ed|"
    r"considered|judged|rated|deemed|marked)(?:\s+(?:as|to be))?)"
)
_GOOD = r"(?:good|great|excellent|perfect|correct(?:ly)?|proper(?:ly)?|well|(?:up )?to (?:the )?standard|standard)"
_BAD = (
    r"(?:bad(?:ly)?|poor(?:ly)?|terribl[ey]|wrong(?:ly)?|incorrect(?:ly)?|improper(?:ly)?|"
    r"non-?\s?standard|sub-?standard|below (?:the )?standard)"
)
_MODIFIERS = rf"((?:\s+(?:{_NOT}|{_DEGREE}|{_DONE}|in (?:a|an)))*)"
_VERDICT = re.compile(
    rf"\b(?:is|was|looks|seems|ha(?:s|ve|d)(?:\s+{_NOT})? been){_MODIFIERS}\s+(?:(?P<good>{_GOOD})|(?P<bad>{_BAD}))\b"
    r"(?!\s+(?:to|that|if|when|for|idea|or|except|only|apart from|aside from|other than|in name)\b|\s*[?])"
    rf"|\b(?:is|was){_MODIFIERS}\s+an?{_MODIFIERS}\s+(?:(?P<good_one>{_GOOD})|(?P<bad_one>{_BAD}))"
    r"\s+(?:action|exercise|example|execution|performance|repetition|attempt|demonstration|form|one)\b"
    rf"|(?P<meets>\b(?:does|did)?(?:\s+{_NOT})?\s*(?:meets?|met|(?:fails?|failed) to meet)\s+(?:the\s+)?standards?\b)"
)
"""A predicate: what is, how it is not, and a word of praise or blame that is no advice ("it is good to")."""

_OPINION = r"(?:that|think|believe|say|said|feel|agree|find|see|true|clear|sure|certain|the case)"
_UNDECIDED = re.compile(
    r"\b(?:if|whether|unless|once|neither|would|could|should|might|(?<!no )(?<!without )doubt\w*|"
    rf"(?:not|never|cannot|nobody|hardly)\s+(?:\w+\s+)?{_OPINION})\b[^,;:]*$"
)
"""Before a predicate that nobody states, or whose opposite may be meant."""

_ALONE = re.compile(
    r"(?:.*\b(?P<label>verdict|assessment|judge?ment|evaluation|conclusion|overall|answer)\s*[:=-])?"
    rf"{_MODIFIERS}\s+(?:(?P<good>{_GOOD})|(?P<bad>{_BAD}))\s*[.!]*"
)
"""A verdict without a verb, which is the whole of a sentence or stands behind a word for it."""

_CLAUSE = re.compile(r"\s*(?:[,;:]|\b(?:but|yet|however|although|though|while|whereas)\b)\s*")


def stated_verdict(text: str) -> str | None:
    """Reads the verdict that an explanation states, in the published texts' words, the paper's or plain ones; None without one.

    Sentences about the action count first, and the first of them decides: what follows is about its parts. In a sentence, too, clauses
    about the action count first, and where they contradict each other there is no verdict. Every "not" turns the verdict round.
    """
    plain = re.sub(r"(?<=[a-z])n't\b", " not", re.sub(r"[\u2018\u2019]", "'", text.lower()))
    plain = re.sub(r"[\u2010-\u2015]", "-", plain)
    plain = re.sub(r"\b(it|this|that|form)'s\b", r"\1 is", plain)
    plain = re.sub(r"(?<!\w)['\"\u201c*_`]+|['\"\u201d*_`]+(?!\w)", "", plain)
    sentences = re.split(r"(?<=[.!?])\s+", plain)
    for sentence in [*(s for s in sentences if re.search(r"\b(?:action|exercise)\b", s)), *sentences]:
        if verdicts := _verdicts(sentence):
            return verdicts.pop() if len(verdicts) == 1 else None
    for index, sentence in enumerate(sentences):
        match = _ALONE.fullmatch(" " + sentence.strip())
        if match and (match["label"] or index == 0):
            return _turned(match, bool(match["good"]))
    return None


def _verdicts(sentence: str) -> set[str]:
    """Verdicts of a sentence's clauses about the action; those of the others where no such clause has one."""
    verdicts: dict[bool, set[str]] = {True: set(), False: set()}
    for match in _VERDICT.finditer(sentence):
        if not _UNDECIDED.search(sentence[: match.start()]):
            subject = _CLAUSE.split(sentence[: match.start()])[-1]
            of_action = bool(re.search(r"\b(?:action|exercise|it|overall)\b", subject))
            good = bool(match["good"] or match["good_one"] or match["meets"])
            verdicts[of_action].add(_turned(match, good))
    return verdicts[True] or verdicts[False]


def _turned(match: re.Match[str], good: bool) -> str:
    """The verdict of a word of praise or blame after every "not" before it."""
    turns = len(re.findall(rf"\b(?:{_NOT}|fails?|failed)\b", match[0]))
    return STANDARD if good != bool(turns % 2) else NON_STANDARD


def _cells(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Name, action and mark of every row; the columns are found by their headers, or stand where they always do."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it lists the clips with their marks.")
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    except Exception as error:  # openpyxl raises what zip and XML raise
        raise ValueError(
            f"{path}: not a readable sheet ({type(error).__name__}: {error}); download it again."
        ) from error
    columns = dict(_COLUMNS)
    if rows and not _CLIP_NAME.fullmatch(_text(rows[0][0] if rows[0] else None)):
        headers = [_text(cell) for cell in rows.pop(0)]
        if missing := [name for name in (_NAME, _GOOD_OR_BAD) if name not in headers]:
            raise ValueError(f"{path}: has no column {missing[0]}; found {', '.join(filter(None, headers))}.")
        columns |= {name: headers.index(name) for name in columns if name in headers}
    for row in rows:
        cells = [row[at] if at < len(row) else None for at in columns.values()]
        if any(cell not in (None, "") for cell in row):
            yield _text(cells[0]), _text(cells[1]), _mark(cells[2])


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _mark(cell: Any) -> Any:
    """0 and 1 come as numbers, as texts and as floats; everything else, such as 0.5, stays what it is."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return cell
    return int(value) if value in (0, 1) else cell


def _first_class(rows: list[tuple[str, str, Any]], classes: Sequence[str]) -> int:
    """Number of the first class in clip names, from the rows that name their action."""
    position = {_plain(action): index for index, action in enumerate(classes)}
    votes = Counter(
        int(name.split("_")[0]) - position[_plain(action)]
        for name, action, _ in rows
        if _plain(action) in position and _CLIP_NAME.fullmatch(name)
    )
    numbers = [int(name.split("_")[0]) for name, _, _ in rows if _CLIP_NAME.fullmatch(name)]
    return votes.most_common(1)[0][0] if votes else min(numbers, default=0)


def _plain(action: str) -> str:
    return re.sub(r"[\W_]+", " ", action.lower()).strip()


def read_test_captions(path: Path) -> dict[str, str]:
    """Reads test clip to its explanation, out of COCO's format."""
    content = read_json(path, "it holds the test split and its explanations")
    captions = {}
    try:
        for entry in content["annotations"]:
            captions[str(entry["image_id"])] = " ".join(str(entry["caption"]).split())
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected COCO's annotations with image_id and caption ({error}).") from error
    if empty := [name for name, text in captions.items() if not text]:
        raise ValueError(f"{path}: {len(empty)} explanations are empty, such as {empty[0]}; download it again.")
    return captions
