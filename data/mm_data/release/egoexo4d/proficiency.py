"""Skill labels of demonstrators, and which moments are done well or need work (both proficiency files)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import read_json
from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS, Demonstration
from mm_data.release.egoexo4d.download import metadata_hint
from mm_data.release.egoexo4d.takes import ANNOTATED_SPLITS, rows_of

_GOOD, _TIPS = "good_executions", "tips_for_improvement"


def read_skills(root: Path, funnel: Funnel) -> dict[str, str]:
    """Reads take uid to one of the four skill levels; a row without a known level is counted."""
    skills: dict[str, str] = {}
    for split in ANNOTATED_SPLITS:
        path = root / f"annotations/proficiency_demonstrator_{split}.json"
        for row in rows_of(read_json(path, metadata_hint(root, "it holds the skill levels")), path):
            uid, skill = row.get("take_uid"), row.get("proficiency_score")
            if skill in LEARNER_SKILLS + EXPERT_SKILLS:
                skills[str(uid)] = skill
            else:
                funnel.note("unknown proficiency label", f"{uid}: {skill!r}")
    return skills


def read_demonstrations(root: Path, funnel: Funnel) -> list[Demonstration]:
    """Reads good executions and tips for improvement; empty where the files were not downloaded."""
    demonstrations = []
    for split in ANNOTATED_SPLITS:
        path = root / f"annotations/proficiency_demonstration_{split}.json"
        rows = rows_of(read_json(path, ""), path) if path.is_file() else []
        for row, key, moment in _moments(rows):
            try:
                demonstrations.append(_read_moment(row, key, moment))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                where = f"{path.name}, {row.get('take_uid')}, {key}: {type(error).__name__} {error}"
                funnel.note("malformed proficiency demonstration", where)
    return demonstrations


def _moments(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """(row, key, moment) of every moment under either key."""
    return ((row, key, moment) for row in rows for key in (_GOOD, _TIPS) for moment in row.get(key) or ())


def _read_moment(row: dict[str, Any], key: str, moment: Any) -> Demonstration:
    texts = tuple(text for text in (" ".join(text.split()) for text in moment["list"]) if text)
    return Demonstration(str(row["take_uid"]), moment["expert_uid"], float(moment["video_time"]), key == _GOOD, texts)
