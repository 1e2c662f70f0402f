"""Asking, checking, and settling what is kept: the same for every annotation."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mm_data.annotation.sheet import ACCEPT, FIX, REJECT, Decision
from mm_data.asking.completions import Budget, Endpoint, Request, complete
from mm_data.ground.funnel import Funnel

LOG = "llm_answers.jsonl"
_AT_ONCE = 64
"""Requests that are in memory at a time: some hold pictures."""


@dataclass(frozen=True)
class Draft:
    """One answer of the model.

    Attributes:
        item_id: Of the request.
        content: The answer, or None where there is none that passes the checks.
        raw: As it came.
        problem: Why it does not pass, or None.
    """

    item_id: str
    content: dict[str, Any] | None
    raw: str
    problem: str | None


@dataclass(frozen=True)
class Annotation:
    """What a stage gave.

    Attributes:
        drafts: Every answer, flagged ones included, in the order of the requests.
        kept: Item to what is used: answers that passed, and what reviewers accepted or fixed.
        funnel: What was left out and why.
    """

    drafts: list[Draft]
    kept: dict[str, dict[str, Any]]
    funnel: Funnel


def annotate(
    stage: str,
    endpoint: Endpoint,
    requests: Iterable[Request],
    log: Path,
    review: Mapping[str, Decision],
    max_flagged: float,
    progress: Callable[[int], None] = lambda done: None,
    budget: Budget | None = None,
) -> Annotation:
    """Asks for every item, checks, asks again where a check fails (`Endpoint.answer_attempts`), and settles what is kept.

    A request's schema holds the check. What a reviewer accepts or fixes has to pass it too: nobody can let an altered score or
    action through.

    Args:
        stage: For messages.
        endpoint: Where to ask.
        requests: One per item.
        log: Append-only log of all answers.
        review: Item to a person's decision.
        max_flagged: Share of items that may be left out; the caller looks (`Funnel.check`), after the sheet is written.
        progress: Called with the number of items that have an outcome.
        budget: Stops the run once it is spent.

    Raises:
        EndpointError: The endpoint cannot be used, or the budget is spent; finished answers are kept.
        ValueError: A decision does not pass the check, or is about no item of this stage.
    """
    drafts: list[Draft] = []
    kept: dict[str, dict[str, Any]] = {}
    funnel = Funnel(stage, max_flagged)
    waiting = iter(requests)
    while chunk := list(islice(waiting, _AT_ONCE)):
        done = len(drafts)
        found = complete(endpoint, chunk, log, lambda count, done=done: progress(done + count), budget)
        for request in chunk:
            completion = found[request.item_id]
            problem = completion.detail or completion.failure if completion.failure else None
            draft = Draft(request.item_id, completion.content, completion.raw, problem)
            drafts.append(draft)
            content, reason = _settled(draft, request, review.get(request.item_id))
            if content is None:
                funnel.drop(reason, f"{request.item_id}: {draft.problem}", expected=reason == REJECT)
            else:
                funnel.keep()
                kept[request.item_id] = content
    if unknown := sorted(review.keys() - {draft.item_id for draft in drafts}):
        raise ValueError(f"{review[unknown[0]].where}: {unknown[0]!r} is no item of this stage ({stage}).")
    return Annotation(drafts, kept, funnel)


def _settled(draft: Draft, request: Request, decision: Decision | None) -> tuple[dict[str, Any] | None, str]:
    if decision is None:
        return draft.content, "flagged"
    if decision.decision == REJECT:
        return None, REJECT
    text = decision.text if decision.decision == FIX else draft.raw
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{decision.where}: what is to be used for {draft.item_id} is not JSON ({error}).") from error
    if problem := request.schema.problem(content):
        word = "fix" if decision.decision == FIX else ACCEPT
        raise ValueError(f"{decision.where}: the {word} of {draft.item_id} does not pass the check: {problem}.")
    return content, ""


def mirror_release(root: Path, out: Path, but: Sequence[str]) -> None:
    """Makes ``out`` a release like ``root``, by links to all of its entries but those that are written anew."""
    out.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        link = out / path.name
        if path.name not in but and not link.exists():
            link.symlink_to(path.resolve())
