"""Asks a judge about every item of a test set, and keeps what it said."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mm_data.asking.completions import (
    Budget,
    Completion,
    Endpoint,
    Estimate,
    Request,
    complete,
    estimate,
    read_completions,
    request_key,
)
from mm_data.ground.files import write_atomically
from mm_data.ground.jsonl import read_records
from mm_eval.answers.test_sets import TRUTH, TestItem, texts_of
from mm_eval.judge import protocols
from mm_eval.judge.protocols import COACH_SCORE, COUNTS, DETAILS, FIRST, NOT_MENTIONED, PREFERENCE, SAME, SECOND, TIE
from mm_eval.metrics.text.cleaning import clean, has_words

LOG, JUDGEMENTS, SETTINGS = "judge_answers.jsonl", "judgements.jsonl", "judge.json"
OK, INSTRUCTS = "ok", "speaks to the judge"


@dataclass(frozen=True)
class Plan:
    """What is judged, and how.

    Attributes:
        items: The test set.
        systems: Which of its systems; `TRUTH` for the references.
        protocol: One of `protocols`.
        repeats: Independent answers per item.
        against: The system that others are compared with (preference).
        precision: Also count the details that a system's text holds itself (details).
    """

    items: Sequence[TestItem]
    systems: Sequence[str]
    protocol: str
    repeats: int = 1
    against: str | None = None
    precision: bool = True


@dataclass(frozen=True)
class Judgement:
    """One system's text on one item, judged once.

    Attributes:
        item_id: Of the item.
        system: Whose text.
        repeat: Which of several answers.
        status: ``ok`` or the class of failure.
        problem: What failed.
        total: Details of the truth, g.
        mentioned: Of them, those that the text speaks about, b.
        same: Of those, those with the same opinion, s.
        stated: Details of the text itself, p, or None.
        rating: Coach-Score.
        preferred: ``win``, ``tie`` or ``loss`` against the other system, both orders together.
        consistent: Whether both orders agreed.
        verdicts: Detail, quote, reason and verdict.
        raw: The judge's answers as they came.
    """

    item_id: str
    system: str
    repeat: int
    status: str
    problem: str = ""
    total: int | None = None
    mentioned: int | None = None
    same: int | None = None
    stated: int | None = None
    rating: int | None = None
    preferred: str | None = None
    consistent: bool | None = None
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)


def judge(
    plan: Plan,
    endpoint: Endpoint,
    out: Path,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    budget: Budget | None = None,
) -> list[Judgement]:
    """Asks what has not been answered yet, and writes ``judgements.jsonl`` and ``judge.json``.

    Every answer goes into an append-only log at once, so an interrupted run repeats no finished call. Texts without words mention
    nothing and texts that speak to the judge fail; neither is sent.

    Raises:
        EndpointError: The endpoint cannot be used, or the budget is spent; finished answers are kept.
        ValueError: A system did not answer an item.
    """

    def ask(stage: str, requests: Sequence[Request]) -> dict[str, Completion]:
        return complete(endpoint, requests, out / LOG, lambda done: progress(stage, done, len(requests)), budget)

    out.mkdir(parents=True, exist_ok=True)
    extracted: dict[str, Completion] = {}
    if plan.protocol == DETAILS:
        extracted = ask("details", _detail_requests(plan))
    asked = _requests(plan, extracted)
    answers = ask("verdicts", [request for requests in asked.values() for request in requests])
    judgements = [
        _judgement(plan, item, system, repeat, asked[item.item_id, system, repeat], answers, extracted)
        for system in plan.systems
        for item in plan.items
        for repeat in range(plan.repeats)
    ]
    write_atomically(out / JUDGEMENTS, "".join(json.dumps(asdict(j)) + "\n" for j in judgements))
    used = [*extracted.values(), *answers.values()]
    settings = {
        "protocol": plan.protocol,
        "protocol_version": protocols.VERSION,
        "prompts": {prompt.name: prompt.digest for prompt in protocols.prompts_of(plan.protocol)},
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "served_models": sorted({c.served_model for c in used if c.served_model}),
        "fingerprints": sorted({c.fingerprint for c in used if c.fingerprint}),
        "parameters": dict(endpoint.parameters),
        "systems": list(plan.systems),
        "against": plan.against,
        "repeats": plan.repeats,
        "item_ids": [item.item_id for item in plan.items],
        "digest": digest_of(plan.items, [*plan.systems, *([plan.against] if plan.against else [])]),
        "prompt_tokens": sum(c.prompt_tokens for c in used),
        "completion_tokens": sum(c.completion_tokens for c in used),
        "synthetic": any(item.synthetic for item in plan.items),
    }
    write_atomically(out / SETTINGS, json.dumps(settings, indent=1))
    return judgements


def estimate_judging(plan: Plan, endpoint: Endpoint, out: Path) -> Estimate:
    """What is left to ask; where details are not known yet, the truth's sentences stand for them."""
    requests, extracted = [], {}
    if plan.protocol == DETAILS:
        requests = _detail_requests(plan)
        answered = read_completions(out / LOG)
        for request in requests:
            key = request_key(endpoint, request)
            extracted[request.item_id] = answered.get(key) or Completion(
                request.item_id, {"details": request.messages[1]["content"].split(". ")}, None, "", ""
            )
    asked = _requests(plan, extracted)
    return estimate(endpoint, [*requests, *(r for rs in asked.values() for r in rs)], out / LOG)


def digest_of(items: Sequence[TestItem], systems: Sequence[str]) -> str:
    """Hash of what was judged, so that judgements of other texts are not taken for those of these."""
    shown = [[item.item_id, item.truth.text, *(_text(item, system) for system in systems)] for item in items]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def read_judgements(out: Path) -> tuple[list[Judgement], dict[str, Any]]:
    """What `judge` wrote: judgements and settings.

    Raises:
        FileNotFoundError: There are none.
    """
    if not (out / JUDGEMENTS).is_file():
        raise FileNotFoundError(f"{out} has no judgements; run `mm-coach judge run` first (it resumes).")
    records, _ = read_records(out / JUDGEMENTS)
    return [Judgement(**record) for record in records], json.loads((out / SETTINGS).read_text())


def _text(item: TestItem, system: str) -> str:
    return item.truth.text if system == TRUTH else texts_of([item], system)[0]


def _injection(item: TestItem, system: str) -> str | None:
    """Words by which a system's text speaks to the judge; experts do not."""
    return None if system == TRUTH else protocols.speaks_to_the_judge(_text(item, system))


def _sendable(item: TestItem, system: str) -> bool:
    return has_words(clean(_text(item, system))) and _injection(item, system) is None


def _detail_requests(plan: Plan) -> list[Request]:
    """Details of every truth and, for the precision, of every text; equal ones once."""
    asked = [(item, TRUTH) for item in plan.items]
    if plan.precision:
        asked += [(item, system) for system in plan.systems for item in plan.items]
    made = (protocols.details_request(_text(item, system)) for item, system in asked if _sendable(item, system))
    return list({request.item_id: request for request in made}.values())


def _requests(plan: Plan, extracted: dict[str, Completion]) -> dict[tuple[str, str, int], list[Request]]:
    """Requests of every judgement; none where nothing has to be asked."""
    requests: dict[tuple[str, str, int], list[Request]] = {}
    for system in plan.systems:
        for item in plan.items:
            text = _text(item, system)
            for repeat in range(plan.repeats):
                name = f"{plan.protocol}/{system}/{item.item_id}"
                made: list[Request] = []
                if plan.protocol == PREFERENCE:
                    assert plan.against is not None
                    other = _text(item, plan.against)
                    if _sendable(item, system) and _sendable(item, plan.against):
                        made = [
                            protocols.preference_request(f"{name}/ahead", item.truth.text, text, other, repeat),
                            protocols.preference_request(f"{name}/behind", item.truth.text, other, text, repeat),
                        ]
                elif plan.protocol == COUNTS:
                    if _injection(item, system) is None:  # an empty text mentions none of how many?
                        made = [protocols.counts_request(name, item.truth.text, text, repeat)]
                elif _sendable(item, system):
                    if plan.protocol == COACH_SCORE:
                        made = [protocols.rating_request(name, text, repeat)]
                    elif details := _details(extracted, item.truth.text):
                        made = [protocols.verdicts_request(name, details, text, repeat)]
                requests[item.item_id, system, repeat] = made
    return requests


def _details(extracted: dict[str, Completion], text: str) -> list[str] | None:
    """Details of a text; None where they could not be had."""
    if not has_words(clean(text)):
        return []
    found = extracted.get(protocols.details_request(text).item_id)
    return None if found is None or found.content is None else found.content["details"]


def _judgement(
    plan: Plan,
    item: TestItem,
    system: str,
    repeat: int,
    requests: list[Request],
    answers: dict[str, Completion],
    extracted: dict[str, Completion],
) -> Judgement:
    text, identity = _text(item, system), (item.item_id, system, repeat)
    texts = [text] if plan.protocol != PREFERENCE else [text, _text(item, plan.against or "")]
    for judged in (system, plan.against):
        if judged is not None and (words := _injection(item, judged)):
            return Judgement(*identity, INSTRUCTS, f"the text says {words!r}")
    given = [answers[request.item_id] for request in requests]
    raw = [answer.raw for answer in given]
    if failed := next((answer for answer in given if answer.content is None), None):
        return Judgement(*identity, failed.failure or "", failed.detail, raw=raw)
    contents = [answer.content or {} for answer in given]
    if plan.protocol == DETAILS:
        return _of_details(identity, item, text, contents, raw, extracted, plan.precision)
    if plan.protocol == PREFERENCE:
        return _preference(identity, texts, contents, raw)
    if plan.protocol == COACH_SCORE:
        return Judgement(*identity, OK, rating=contents[0]["rating"] if contents else 0, raw=raw)
    return Judgement(*identity, OK, "", *(contents[0][name] for name in ("total", "mentioned", "same")), raw=raw)


def _of_details(
    identity: tuple[str, str, int],
    item: TestItem,
    text: str,
    contents: list[dict[str, Any]],
    raw: list[str],
    extracted: dict[str, Completion],
    precision: bool,
) -> Judgement:
    details = _details(extracted, item.truth.text)
    if details is None:
        found = extracted.get(protocols.details_request(item.truth.text).item_id)
        assert found is not None
        return Judgement(*identity, found.failure or "", f"details of the truth: {found.detail}")
    stated = _details(extracted, text) if precision else None
    verdicts = [
        {**verdict, "text": detail}
        for verdict, detail in zip(contents[0]["verdicts"] if contents else [], details, strict=bool(contents))
    ]
    mentioned = [v for v in verdicts if v["verdict"] != NOT_MENTIONED]
    return Judgement(
        *identity,
        OK,
        total=len(details),
        mentioned=len(mentioned),
        same=sum(v["verdict"] == SAME for v in mentioned),
        stated=None if stated is None else len(stated),
        verdicts=verdicts or [{"text": detail, "quote": "", "reason": "the text holds no word", "verdict": NOT_MENTIONED} for detail in details],
        raw=raw,
    )  # fmt: skip


def _preference(
    identity: tuple[str, str, int], texts: list[str], contents: list[dict[str, Any]], raw: list[str]
) -> Judgement:
    """Only what both orders say counts; a text without words loses to one with words."""
    if not contents:
        mine, other = (has_words(clean(text)) for text in texts)
        return Judgement(*identity, OK, preferred="tie" if mine == other else "win" if mine else "loss", consistent=True)  # fmt: skip
    ahead, behind = (content["better"] for content in contents)
    swapped = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}[behind]
    preferred = {FIRST: "win", SECOND: "loss", TIE: "tie"}[ahead] if ahead == swapped else "tie"
    return Judgement(*identity, OK, preferred=preferred, consistent=ahead == swapped, raw=raw)
