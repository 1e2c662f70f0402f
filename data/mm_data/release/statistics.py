"""What a data set holds, per task."""

from collections import Counter, defaultdict
from statistics import fmean, median
from typing import Any

from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS, Source


def task_statistics(source: Source) -> list[dict[str, Any]]:
    """Counts per task, and for all: takes (of learners, of experts, with poses), people, minutes, remarks, their median words."""
    remarks = defaultdict(list)
    for remark in source.remarks:
        remarks[remark.take_uid].append(remark)
    groups = defaultdict(list)
    for take in source.takes.values():
        groups[take.activity, take.task].append(take)
    rows = []
    named = sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] or ""))
    for (activity, task), takes in [*named, (("all", ""), list(source.takes.values()))]:
        spoken = [remark for take in takes for remark in remarks[take.take_uid]]
        skills = Counter(take.skill for take in takes)
        rows.append(
            {
                "activity": activity,
                "task": task or activity,
                "takes": len(takes),
                "people": len({take.participant for take in takes}),
                "learners": sum(skills[s] for s in LEARNER_SKILLS),
                "experts": sum(skills[s] for s in EXPERT_SKILLS),
                "without skill": skills[None],
                "poses": sum(take.take_uid in source.pose_files for take in takes),
                "minutes": round(sum(take.duration for take in takes) / 60, 1),
                "remarks": len(spoken),
                "commentators": len({remark.commentator for remark in spoken}),
                "words": median(len(remark.text.split()) for remark in spoken) if spoken else None,
            }
        )
    return rows


def rating_statistics(source: Source) -> list[dict[str, Any]]:
    """Counts per commentator who rated: how many takes, and their own scale."""
    values_of = defaultdict(list)
    for (_, commentator), rating in source.ratings.items():
        values_of[commentator].append(rating.value)
    return [
        {
            "commentator": name,
            "rated": len(values),
            "mean": round(fmean(values), 2),
            "lowest": min(values),
            "highest": max(values),
        }
        for name, values in sorted(values_of.items())
    ]
