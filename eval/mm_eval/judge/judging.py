"""Asks a judge about every item of a test set, and keeps what it said."""

import json
from collections.abc import Callable, Mapping, Sequence
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
from mm_data.ground.digests import hash_of
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
        items: Items of the test set.
        systems: Names of the systems that are judged; `TRUTH` for the references.
        protocol: Name of a protocol of `protocols`.
        repeats: Number of independent answers per item.
        against: Name of the system that others are compared with (preference).
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
        item_id: Id of the item.
        system: Name of the system that wrote the text.
        repeat: Number of the answer, from 0.
        status: ``ok`` or the class of failure.
        problem: What failed, in words.
        total: Number of details of the truth, g.
        mentioned: Number of those that the text speaks about, b.
        same: Number of those with the same opinion, s.
        stated: Number of details of the text itself, p, or None.
        rating: Coach-Score, 0 to 5.
        preferred: ``win``, ``tie`` or ``loss`` against the other system, both orders together.
        consistent: Whether both orders agreed.
        verdicts: Detail, quote, reason and verdict, one entry per detail.
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


@dataclass(frozen=True)
class _Case:
    """One system's text on one item, to be judged once."""

    item: TestItem
    system: str
    repeat: int

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.item.item_id, self.system, self.repeat


def _cases(plan: Plan) -> list[_Case]:
    systems = dict.fromkeys(plan.systems)
    return [_Case(item, system, repeat) for system in systems for item in plan.items for repeat in range(plan.repeats)]


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

    Args:
        plan: What is judged, and how.
        endpoint: Endpoint that is asked.
        out: Folder of the judge; it is made where it is missing.
        progress: Called with a stage, the number done and the number of all.
        budget: Stops the run once it is spent.

    Returns:
        One judgement per system, item and repeat.

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
    cases = _cases(plan)
    requests = [_requests(plan, case, extracted) for case in cases]
    answers = ask("verdicts", [request for several in requests for request in several])
    judgements = [
        _judgement(plan, case, [answers[request.item_id] for request in several], extracted)
        for case, several in zip(cases, requests, strict=True)
    ]
    write_atomically(out / JUDGEMENTS, "".join(json.dumps(asdict(j)) + "\n" for j in judgements))
    settings = _settings(plan, endpoint, [*extracted.values(), *answers.values()])
    write_atomically(out / SETTINGS, json.dumps(settings, indent=1))
    return judgements


def _settings(plan: Plan, endpoint: Endpoint, used: Sequence[Completion]) -> dict[str, Any]:
    """Returns what a report and a later run have to know."""
    return {
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


def estimate_judging(plan: Plan, endpoint: Endpoint, out: Path) -> Estimate:
    """Counts what is left to ask; where details are not known yet, the truth's sentences stand for them.

    Args:
        plan: What is judged, and how.
        endpoint: Endpoint that would be asked.
        out: Folder of the judge.

    Returns:
        Requests and tokens.
    """
    requests, extracted = [], {}
    if plan.protocol == DETAILS:
        requests = _detail_requests(plan)
        answered = read_completions(out / LOG)
        for request in requests:
            key = request_key(endpoint, request)
            extracted[request.item_id] = answered.get(key) or Completion(
                request.item_id, {"details": request.messages[1]["content"].split(". ")}, None, "", ""
            )
    requests += [request for case in _cases(plan) for request in _requests(plan, case, extracted)]
    return estimate(endpoint, requests, out / LOG)


def digest_of(items: Sequence[TestItem], systems: Sequence[str]) -> str:
    """Hashes what was judged, so that judgements of other texts are not taken for those of these."""
    texts = [[item.item_id, item.truth.text, *(_text(item, system) for system in systems)] for item in items]
    return hash_of(texts)


def read_judgements(out: Path) -> tuple[list[Judgement], dict[str, Any]]:
    """Reads what `judge` wrote.

    Args:
        out: Folder of the judge.

    Returns:
        Judgements and settings.

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
    """Returns words by which a system's text speaks to the judge; experts do not."""
    return None if system == TRUTH else protocols.speaks_to_the_judge(_text(item, system))


def _sendable(item: TestItem, system: str) -> bool:
    return has_words(clean(_text(item, system))) and _injection(item, system) is None


def _detail_requests(plan: Plan) -> list[Request]:
    """Asks for the details of every truth and, for the precision, of every text; equal ones once."""
    texts = [(item, TRUTH) for item in plan.items]
    if plan.precision:
        texts += [(item, system) for system in plan.systems for item in plan.items]
    requests = (protocols.details_request(_text(item, system)) for item, system in texts if _sendable(item, system))
    return list({request.item_id: request for request in requests}.values())


def _requests(plan: Plan, case: _Case, extracted: Mapping[str, Completion]) -> list[Request]:
    """Makes the requests of one judgement; none where nothing has to be asked."""
    item, text, truth = case.item, _text(case.item, case.system), case.item.truth.text
    name = f"{plan.protocol}/{case.system}/{item.item_id}"
    if plan.protocol == COUNTS:  # an empty text is sent: it mentions none of how many?
        return [] if _injection(item, case.system) else [protocols.counts_request(name, truth, text, case.repeat)]
    if not _sendable(item, case.system):
        return []
    if plan.protocol == COACH_SCORE:
        return [protocols.rating_request(name, text, case.repeat)]
    if plan.protocol == PREFERENCE:
        assert plan.against is not None
        other = _text(item, plan.against)
        if not _sendable(item, plan.against):
            return []
        return [
            protocols.preference_request(f"{name}/ahead", truth, text, other, case.repeat),
            protocols.preference_request(f"{name}/behind", truth, other, text, case.repeat),
        ]
    details = _details(extracted, truth)
    return [protocols.verdicts_request(name, details, text, case.repeat)] if details else []


def _details(extracted: Mapping[str, Completion], text: str) -> list[str] | None:
    """Returns the details of a text; None where they could not be had."""
    if not has_words(clean(text)):
        return []
    completion = extracted.get(protocols.details_request(text).item_id)
    return None if completion is None or completion.content is None else completion.content["details"]


def _judgement(
    plan: Plan, case: _Case, answers: Sequence[Completion], extracted: Mapping[str, Completion]
) -> Judgement:
    for system in (case.system, plan.against):
        if system is not None and (words := _injection(case.item, system)):
            return Judgement(*case.identity, INSTRUCTS, f"the text says {words!r}")
    raw = [answer.raw for answer in answers]
    if failed := next((answer for answer in answers if answer.content is None), None):
        return Judgement(*case.identity, failed.failure or "", failed.detail, raw=raw)
    contents = [answer.content or {} for answer in answers]
    if plan.protocol == DETAILS:
        return _of_details(plan, case, contents, raw, extracted)
    if plan.protocol == PREFERENCE:
        return _preference(plan, case, contents, raw)
    if plan.protocol == COACH_SCORE:
        return Judgement(*case.identity, OK, rating=contents[0]["rating"] if contents else 0, raw=raw)
    counts = {name: contents[0][name] for name in ("total", "mentioned", "same")}
    return Judgement(*case.identity, OK, **counts, raw=raw)


def _of_details(
    plan: Plan,
    case: _Case,
    contents: Sequence[Mapping[str, Any]],
    raw: list[str],
    extracted: Mapping[str, Completion],
) -> Judgement:
    truth = case.item.truth.text
    details = _details(extracted, truth)
    if details is None:
        completion = extracted[protocols.details_request(truth).item_id]
        return Judgement(*case.identity, completion.failure or "", f"details of the truth: {completion.detail}")
    stated = _details(extracted, _text(case.item, case.system)) if plan.precision else None
    if contents:
        pairs = zip(contents[0]["verdicts"], details, strict=True)
        verdicts = [{**verdict, "text": detail} for verdict, detail in pairs]
    else:
        nothing = {"quote": "", "reason": "the text holds no word", "verdict": NOT_MENTIONED}
        verdicts = [{"text": detail, **nothing} for detail in details]
    mentioned = [verdict for verdict in verdicts if verdict["verdict"] != NOT_MENTIONED]
    return Judgement(
        *case.identity,
        OK,
        total=len(details),
        mentioned=len(mentioned),
        same=sum(verdict["verdict"] == SAME for verdict in mentioned),
        stated=None if stated is None else len(stated),
        verdicts=verdicts,
        raw=raw,
    )


def _preference(plan: Plan, case: _Case, contents: Sequence[Mapping[str, Any]], raw: list[str]) -> Judgement:
    """Judges by what both orders say alike; a text without words loses to one with words."""
    if not contents:
        mine, other = (has_words(clean(_text(case.item, system))) for system in (case.system, plan.against or ""))
        preferred = "tie" if mine == other else "win" if mine else "loss"
        return Judgement(*case.identity, OK, preferred=preferred, consistent=True)
    ahead, behind = (content["better"] for content in contents)
    swapped = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}[behind]
    preferred = {FIRST: "win", SECOND: "loss", TIE: "tie"}[ahead] if ahead == swapped else "tie"
    return Judgement(*case.identity, OK, preferred=preferred, consistent=ahead == swapped, raw=raw)
