"""Asking, checking, and settling what is kept: the same for every annotation."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mm_data.annotation.sheet import ACCEPT, FIX, REJECT, Decision, Draft, read_review, write_review
from mm_data.asking.completions import Budget, Endpoint, Estimate, Request, complete, estimate
from mm_data.ground.funnel import Funnel
from mm_data.ground.progress import Report

LOG, REVIEW = "llm_answers.jsonl", "review.csv"
_AT_ONCE = 64
"""Requests that are in memory at a time: some hold pictures."""

Contents = dict[str, dict[str, Any]]
"""Item to the answer that is used."""


@dataclass(frozen=True)
class Pictures:
    """Frames of a clip that the model sees.

    Attributes:
        count: Number of frames, evenly spaced.
        size: Most pixels of the longer side.
    """

    count: int = 8
    size: int = 448


@dataclass(frozen=True)
class Stages:
    """The stages of one annotation, each of which asks a language model about its items, or only counts what is left to ask.

    Attributes:
        folder: Folder of the log of all answers, and of one sheet for reviewers per stage (CSV).
        endpoint: Endpoint that is asked.
        report: Receives what a stage gave, and its progress.
        max_flagged: Share of a stage's items that may be left out.
        budget: Builds the budget of a stage from its estimate; None where nothing is limited.
        on_estimate: Receives a stage's name and estimate. Where it is given, nothing is asked.
    """

    folder: Path
    endpoint: Endpoint
    report: Report
    max_flagged: float = 0.1
    budget: Callable[[Estimate], Budget | None] | None = None
    on_estimate: Callable[[str, Estimate], None] | None = None

    def ask(
        self,
        stage: str,
        count: int,
        requests: Callable[[], Iterable[Request]],
        about: Mapping[str, str] | None = None,
    ) -> Contents | None:
        """Asks about every item, checks, asks again where a check fails (`Endpoint.answer_attempts`), and settles what is kept.

        A request's schema holds the check. What a reviewer accepts or fixes has to pass it too: nobody can let an altered score or
        action through.

        Args:
            stage: Name of the stage, for messages and its sheet.
            count: Number of items.
            requests: Makes the requests, one per item; called once to estimate and once to ask.
            about: Item to what a reviewer has to know about it.

        Returns:
            Answers that passed, and what reviewers accepted or fixed; None where the stage was only estimated.

        Raises:
            EndpointError: The endpoint cannot be used, or the budget is spent; finished answers are kept.
            ValueError: A decision does not pass the check or is about no item of this stage, or more answers are flagged than may
                be; the sheet for reviewers is written before.
        """
        if self.on_estimate is not None:
            self.on_estimate(stage, estimate(self.endpoint, requests(), self.folder / LOG))
            return None
        if not count:
            return {}
        budget = self.budget(estimate(self.endpoint, requests(), self.folder / LOG)) if self.budget else None
        sheet = self.folder / f"{stage}_{REVIEW}"
        decisions = read_review(sheet)
        funnel = Funnel(stage, self.max_flagged)
        with self.report.progress(stage, count) as progress:
            drafts, contents = self._drafts(requests(), decisions, funnel, progress, budget)
        if unknown := sorted(decisions.keys() - {draft.item_id for draft in drafts}):
            raise ValueError(f"{decisions[unknown[0]].where}: {unknown[0]!r} is no item of this stage ({stage}).")
        write_review(sheet, drafts, about or {}, decisions)
        flagged = sum(draft.problem is not None for draft in drafts)
        self.report.line(f"{stage}: {len(contents)} of {len(drafts)} kept, {flagged} flagged; {sheet} is for reviewers")
        funnel.check()
        return contents

    def _drafts(
        self,
        requests: Iterable[Request],
        decisions: Mapping[str, Decision],
        funnel: Funnel,
        progress: Callable[[int], None],
        budget: Budget | None,
    ) -> tuple[list[Draft], Contents]:
        """Every answer, flagged ones included, in the order of the requests, and those that are used."""
        drafts: list[Draft] = []
        contents: Contents = {}
        waiting = iter(requests)
        while chunk := list(islice(waiting, _AT_ONCE)):
            done = len(drafts)
            completions = complete(
                self.endpoint, chunk, self.folder / LOG, lambda count, done=done: progress(done + count), budget
            )
            for request in chunk:
                completion = completions[request.item_id]
                problem = completion.detail or completion.failure if completion.failure else None
                draft = Draft(request.item_id, completion.content, completion.raw, problem)
                drafts.append(draft)
                content, reason = _settled(draft, request, decisions.get(request.item_id))
                if content is None:
                    funnel.drop(reason, f"{request.item_id}: {draft.problem}", expected=reason == REJECT)
                else:
                    funnel.keep()
                    contents[request.item_id] = content
        return drafts, contents


def _settled(draft: Draft, request: Request, decision: Decision | None) -> tuple[dict[str, Any] | None, str]:
    """What is used of a draft, or None and why nothing is."""
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
    """Makes a folder a release like another one, by links to all of its entries but those that are written anew.

    Args:
        root: Release that is linked to.
        out: Folder that becomes a release.
        but: Names of the entries that are written anew.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        link = out / path.name
        if path.name not in but and not link.exists():
            link.symlink_to(path.resolve())
