"""Skill labels of demonstrators, and which moments are done well or need work (both proficiency files)."""

from pathlib import Path

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import read_json
from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS, Demonstration
from mm_data.release.egoexo4d.download import metadata_hint
from mm_data.release.egoexo4d.takes import ANNOTATED_SPLITS, rows_of


def read_skills(root: Path, funnel: Funnel) -> dict[str, str]:
    """Take uid to one of the four skill levels; a row without a known level is counted."""
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
    """Good executions and tips for improvement; empty where the files were not downloaded."""
    found = []
    for split in ANNOTATED_SPLITS:
        path = root / f"annotations/proficiency_demonstration_{split}.json"
        if not path.is_file():
            continue
        for row in rows_of(read_json(path, ""), path):
            for key, good in (("good_executions", True), ("tips_for_improvement", False)):
                for item in row.get(key) or ():
                    try:
                        texts = tuple(text for text in (" ".join(t.split()) for t in item["list"]) if text)
                        found.append(
                            Demonstration(
                                str(row["take_uid"]), item["expert_uid"], float(item["video_time"]), good, texts
                            )
                        )
                    except (KeyError, TypeError, AttributeError, ValueError) as error:
                        where = f"{path.name}, {row.get('take_uid')}, {key}: {type(error).__name__} {error}"
                        funnel.note("malformed proficiency demonstration", where)
    return found
