"""What people decided about tuples: an append-only file that several reviewers share and `build` honours."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mm_data.ground.digests import hash_of
from mm_data.ground.funnel import Funnel
from mm_data.ground.jsonl import append_record, read_records
from mm_data.poses.skeleton import REGIONS
from mm_data.records import Clip, CoachingTuple

REVIEW = "review.jsonl"
"""Where decisions about a tuple folder are kept unless another file is named."""

ACCEPT, FIX, REJECT, UNDO = "accept", "fix", "reject", "undo"
VERDICTS = (ACCEPT, FIX, REJECT, UNDO)
MAX_SUMMARY = 1000


@dataclass(frozen=True)
class Decision:
    """One person's decision about one tuple.

    Attributes:
        tuple_id: The tuple.
        content: `content_key` of the tuple as it was mined; a decision about other content is stale.
        verdict: One of `VERDICTS`; ``undo`` takes the earlier ones back.
        reviewer: Who decided.
        at: Seconds since 1970.
        summary: Corrected remark of a fix, or None.
        regions: Corrected regions of a fix, or None.
        expert_start: Corrected first frame of the expert clip, or None.
    """

    tuple_id: str
    content: str
    verdict: str
    reviewer: str
    at: float
    summary: str | None = None
    regions: list[str] | None = None
    expert_start: int | None = None

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what the page could not have sent."""
        needed = {"tuple_id": str, "content": str, "reviewer": str, "at": int | float}
        optional = {"summary": str | None, "regions": list | None, "expert_start": int | None}
        for name, kind in (needed | optional).items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}.")
        if not self.reviewer.strip():
            raise ValueError("A decision needs the reviewer's name.")
        if self.verdict not in VERDICTS:
            raise ValueError(f"Verdict {self.verdict!r}; choose from {', '.join(VERDICTS)}.")
        if self.verdict == FIX and self.summary is None and self.regions is None and self.expert_start is None:
            raise ValueError("A fix has to change the remark, the regions or the expert's clip.")
        if self.summary is not None and not 0 < len(self.summary.strip()) <= MAX_SUMMARY:
            raise ValueError(f"The remark has {len(self.summary)} characters; it may have 1 to {MAX_SUMMARY}.")
        if self.regions is not None and not (self.regions and all(region in list(REGIONS) for region in self.regions)):
            raise ValueError(f"Regions {self.regions}; choose at least one of {', '.join(REGIONS)}.")
        if self.expert_start is not None and self.expert_start < 0:
            raise ValueError(f"The expert's clip starts at frame {self.expert_start}; it cannot start before 0.")


def content_key(item: CoachingTuple) -> str:
    """Returns a hash of what was mined; fixes do not change it, because they are decisions about it."""
    return hash_of([item.remark, item.summary, item.regions, item.learner.clip_id, item.expert.clip_id])[:16]


def record_decision(path: Path, decision: Decision) -> None:
    """Appends a decision and waits until it is on disk."""
    append_record(path, asdict(decision))


def read_decisions(path: Path, funnel: Funnel | None = None) -> dict[str, list[Decision]]:
    """Reads the standing decisions about every tuple, the last of every reviewer.

    Args:
        path: The file; without one there are no decisions.
        funnel: Notes lines that a crash cut off.

    Returns:
        Tuple id to its decisions, oldest first.

    Raises:
        ValueError: A line is not a decision; names file and line.
    """
    records, torn = read_records(path)
    if torn and funnel is not None:
        funnel.note("decision that a crash cut off", str(path), torn)
    latest: dict[tuple[str, str], Decision] = {}
    for number, record in enumerate(records, start=1):
        try:
            decision = Decision(**record)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, record {number}: not a decision ({error}). Remove the line.") from error
        latest.pop((decision.tuple_id, decision.reviewer), None)
        if decision.verdict != UNDO:
            latest[decision.tuple_id, decision.reviewer] = decision
    standing: dict[str, list[Decision]] = {}
    for decision in sorted(latest.values(), key=lambda d: d.at):
        standing.setdefault(decision.tuple_id, []).append(decision)
    return standing


def apply_decisions(
    tuples: list[CoachingTuple],
    decisions: dict[str, list[Decision]],
    realign: Callable[[CoachingTuple], float | None],
    reviewed_only: bool,
    funnel: Funnel,
) -> list[CoachingTuple]:
    """Drops rejected tuples and mends fixed ones.

    The latest decision about a tuple stands; disagreement between reviewers is counted.

    Args:
        tuples: The test split as mined.
        decisions: Tuple id to its standing decisions, oldest first.
        realign: Error of a tuple whose expert clip was moved, in millimetres.
        reviewed_only: Keep only tuples that somebody accepted or fixed (a gold test set).
        funnel: Counts tuples.

    Returns:
        The test split as reviewed.
    """
    reviewed = []
    for tuple_id in sorted(decisions.keys() - {item.tuple_id for item in tuples}):
        funnel.note("decision about a tuple that is not there any more", tuple_id)
    for item in tuples:
        about = decisions.get(item.tuple_id, [])
        valid = [d for d in about if d.content == content_key(item)]
        if len(valid) < len(about):
            funnel.note("stale decision: the tuple has changed since", item.tuple_id, len(about) - len(valid))
        if len({d.verdict == REJECT for d in valid}) > 1:
            funnel.note("reviewers disagree: the latest decision stands", item.tuple_id)
        if not valid:
            if reviewed_only:
                funnel.drop("not reviewed", item.tuple_id, expected=True)
                continue
            reviewed.append(item)
        elif valid[-1].verdict == REJECT:
            funnel.drop("rejected in review", item.tuple_id, expected=True)
            continue
        else:
            reviewed.append(_reviewed(item, valid[-1], realign))
        funnel.keep()
    return reviewed


def _reviewed(
    item: CoachingTuple, decision: Decision, realign: Callable[[CoachingTuple], float | None]
) -> CoachingTuple:
    provenance = replace(item.provenance, review=decision.verdict, reviewer=decision.reviewer)
    item = replace(item, provenance=provenance)
    if decision.verdict != FIX:
        return item
    if decision.summary is not None:
        item = replace(item, summary=decision.summary.strip())
    if decision.regions is not None:
        item = replace(item, regions=decision.regions)
    if decision.expert_start is not None:
        length = item.expert.stop - item.expert.start
        moved: Clip = replace(item.expert, start=decision.expert_start, stop=decision.expert_start + length)
        item = replace(item, expert=moved)
        item = replace(item, alignment_mm=realign(item))
    return item
