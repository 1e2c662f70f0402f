"""Exchange with LLaVA-style training files: ExpertAF's released JSON in, LLaVA conversations out."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically
from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import parse_frame_range, read_json
from mm_data.records import CoachingTuple
from mm_data.tasks.coaching import ASK_COMMENTARY

ANSWER_PREFIX = "Here is the feedback based on the given pose sequence and the expert correct sequence: "
"""Constant words that ExpertAF's answers probably begin with; they inflate every text metric, so they are cut off."""

_PREFIX = re.compile(r"\s+".join(map(re.escape, ANSWER_PREFIX.strip(": ").split())) + r"\s*:?", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<\w+>")
_SEPARATOR = "-----"
_FIELDS = ("id", "video1", "video1_range", "video2", "video2_range", "conversations")


@dataclass(frozen=True)
class ExpertAfSample:
    """One sample of ExpertAF's released JSON.

    Attributes:
        sample_id: As published.
        learner_take: Take name of the learner.
        learner: Frames ``[start, stop)``.
        expert_take: Take name of the expert.
        expert: Frames ``[start, stop)``, as long as the learner's.
        region: Body part of the published identifier.
        question: The human turn.
        remark: The answer without the constant prefix.
    """

    sample_id: str
    learner_take: str
    learner: tuple[int, int]
    expert_take: str
    expert: tuple[int, int]
    region: str
    question: str
    remark: str


def read_expertaf(path: Path, frames: Callable[[str], int | None], funnel: Funnel) -> list[ExpertAfSample]:
    """Reads ExpertAF's released training or test JSON.

    The end of ``video2_range`` is wrong in the files (it spans the whole search horizon), so the expert's clip is cut to
    the learner's length, which is counted. A clip that its take is too short for is moved to the take's end; samples whose
    take is shorter than the clip are dropped.

    Args:
        path: A JSON list of LLaVA samples.
        frames: Take name to its number of frames, or None where it is unknown.
        funnel: Counts samples.

    Returns:
        The samples that can be used.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not a list.
    """
    content = read_json(path, "ExpertAF's authors publish it on Google Drive")
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of samples, found {type(content).__name__}.")
    samples = []
    for number, row in enumerate(content):
        sample = _read_sample(row, f"{path}, sample {number}", frames, funnel)
        if sample is not None:
            samples.append(sample)
            funnel.keep()
    return samples


def _read_sample(row: Any, where: str, frames: Callable[[str], int | None], funnel: Funnel) -> ExpertAfSample | None:
    if not isinstance(row, dict):
        return funnel.drop("not a sample", f"{where}: {type(row).__name__}")
    if missing := [name for name in _FIELDS if row.get(name) is None]:
        return funnel.drop("a field is missing", f"{where}: {', '.join(missing)}")
    sample_id, takes = str(row["id"]), (str(row["video1"]), str(row["video2"]))
    turns = row["conversations"]
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns):
        return funnel.drop("no question and answer", f"{where} ({sample_id})")
    question, answer = (turn.get("value") for turn in turns[:2])
    if not isinstance(answer, str) or not isinstance(question, str):
        return funnel.drop("a turn is not text", f"{where} ({sample_id})")
    try:
        learner = parse_frame_range(row["video1_range"], f"{where} ({sample_id}), video1_range")
        expert = parse_frame_range(row["video2_range"], f"{where} ({sample_id}), video2_range")
    except ValueError as error:
        return funnel.drop("malformed frame range", str(error))
    remark = _PREFIX.sub("", answer.strip()).strip()
    if not any(letter.isalnum() for letter in _PLACEHOLDER.sub("", remark)):
        return funnel.drop("the answer is empty", f"{where} ({sample_id}): {answer[:80]!r}")
    if len(turns) > 2:
        funnel.note("turns after the first answer are left out", sample_id)
    length = learner[1] - learner[0]
    if expert[1] - expert[0] != length:
        funnel.note("expert range cut to the learner's length", sample_id)
    start = expert[0]
    available = frames(takes[1])
    if available is not None and start + length > available:
        if available < length:
            return funnel.drop("expert take is shorter than the clip", f"{sample_id}: {available} < {length} frames")
        funnel.note("expert clip moved to the end of its take", sample_id)
        start = available - length
    if remark != answer.strip():
        funnel.note("constant answer prefix cut off", sample_id)
    parts = sample_id.split(_SEPARATOR)
    region = parts[4].lower() if len(parts) > 4 else ""
    return ExpertAfSample(sample_id, takes[0], learner, takes[1], (start, start + length), region, question, remark)


def write_llava(path: Path, tuples: list[CoachingTuple], take_names: dict[str, str]) -> None:
    """Writes tuples as a LLaVA conversation file with ExpertAF's field names: the learner's clip and the commentary.

    The published identifier holds one body part: the first that learner and praise share.

    Args:
        path: The JSON file.
        tuples: What to write.
        take_names: Take uid to take name; the file's fields name takes, not uids.
    """
    write_atomically(path, json.dumps(list(_llava(tuples, take_names)), indent=1, ensure_ascii=False))


def _llava(tuples: list[CoachingTuple], take_names: dict[str, str]) -> Iterator[dict[str, Any]]:
    for item in tuples:
        learner, expert = take_names[item.learner.take_uid], take_names[item.expert.take_uid]
        both = (item.provenance.learner_remark, item.provenance.expert_remark)
        remarks = [remark.rsplit("/", 1)[-1] for remark in both]
        region = (item.provenance.shared_regions or item.regions or ["body"])[0]
        yield {
            "id": _SEPARATOR.join((learner, remarks[0], expert, remarks[1], region.capitalize())),
            "tuple_id": item.tuple_id,
            "video1": learner,
            "video1_range": str((item.learner.start, item.learner.stop)),
            "video2": expert,
            "video2_range": str((item.expert.start, item.expert.stop)),
            "conversations": [
                {"from": "human", "value": f"<pose1>\n{ASK_COMMENTARY}"},
                {"from": "gpt", "value": item.summary},
            ],
        }
