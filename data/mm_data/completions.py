"""Structured answers from any OpenAI-compatible endpoint: bounded concurrency, retries, classes of failure.

An append-only log of all answers is cache, resume file and audit at once.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_data.jsonl import append_record, read_records

Messages = list[dict[str, str]]

REFUSED, TRUNCATED, NOT_JSON, WRONG_CONTENT = "refused", "truncated", "not JSON", "wrong content"
REJECTED = "request rejected"
RATE_LIMITED, SERVER_ERROR, TIMED_OUT, UNREACHABLE = "rate limited", "server error", "timed out", "unreachable"
UNANSWERED = frozenset({RATE_LIMITED, SERVER_ERROR, TIMED_OUT, UNREACHABLE, REJECTED})
"""Failures of the endpoint, its limits or its settings rather than of the answer: the next run asks again."""

_PATIENCE = 20
"""Requests in a row that may fail at the endpoint before the run stops."""


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask.

    Attributes:
        base_url: Such as ``http://127.0.0.1:8000/v1``.
        model: Name of the served model.
        api_key: Anything for a server without keys. Not part of any record.
        concurrency: Requests in flight.
        timeout: Seconds per request.
        retries: Repetitions after 429, 5xx, time-outs and broken connections, with exponential waits or as the server says.
        answer_attempts: How often a refused, truncated or malformed answer is asked for, with another seed each time.
        parameters: Sampling parameters of the request; they decide the answer and are part of its cache key.
    """

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False)
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 5
    answer_attempts: int = 2
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 400, "seed": 0})


@dataclass(frozen=True)
class Request:
    """One question about one item."""

    item_id: str
    messages: Messages


@dataclass(frozen=True)
class Completion:
    """The last answer for one item: ``content`` or the ``failure`` class, never both."""

    item_id: str
    content: dict[str, Any] | None
    failure: str | None
    detail: str
    raw: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Schema:
    """What an answer must look like.

    Attributes:
        name: Letters, digits and dashes.
        json_schema: Sent to the endpoint, which constrains decoding where it can.
        problem: Says what is wrong with a parsed answer, or None; endpoints do not always honour the schema.
    """

    name: str
    json_schema: dict[str, Any]
    problem: Callable[[Any], str | None]


@dataclass(frozen=True)
class Estimate:
    """What a run would ask for, equal questions once; tokens of prompts are characters over four."""

    requests: int
    cached: int
    prompt_tokens: int
    completion_tokens: int

    def cost(self, input_price: float, output_price: float) -> float:
        """In the currency of the prices, which are per million tokens."""
        return (self.prompt_tokens * input_price + self.completion_tokens * output_price) / 1e6


class EndpointError(ValueError):
    """The endpoint cannot be used at all; says what to check. Finished answers are kept."""


def request_key(endpoint: Endpoint, request: Request, schema: Schema) -> str:
    """Hash of everything that decides an answer; the address of the server does not."""
    decisive = [endpoint.model, dict(endpoint.parameters), request.messages, schema.json_schema]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def estimate(
    endpoint: Endpoint, requests: Iterable[Request], schema: Schema, log: Path, answer_tokens: int = 90
) -> Estimate:
    """Counts what is left to ask before the first call.

    Args:
        endpoint: Where it would be asked.
        requests: All of the run.
        schema: Their schema.
        log: The run's log; answers in it cost nothing.
        answer_tokens: Assumed length of an answer where the log has none to learn from.
    """
    finished = _finished(log)
    lengths = [c.completion_tokens for c in finished.values() if c.completion_tokens]
    average = sum(lengths) / len(lengths) if lengths else answer_tokens
    distinct = {request_key(endpoint, request, schema): request for request in requests}
    open_ = [request for key, request in distinct.items() if key not in finished]
    characters = sum(len(message["content"]) for request in open_ for message in request.messages)
    return Estimate(len(distinct), len(distinct) - len(open_), characters // 4, round(len(open_) * average))


def complete(
    endpoint: Endpoint,
    requests: Sequence[Request],
    schema: Schema,
    log: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Completion]:
    """Answers every request, from the log where it can.

    Every answer is appended to the log the moment it arrives, so an interrupted run repeats no finished call.

    Args:
        endpoint: Where to ask.
        requests: What to ask; item ids are unique.
        schema: What answers must look like.
        log: Append-only JSON lines.
        progress: Called with the number of items that have an outcome.

    Returns:
        Item id to its completion, failures included, in the order of the requests.

    Raises:
        EndpointError: Wrong key, unknown model, or many requests in a row that the endpoint could not answer.
        ModuleNotFoundError: The ``llm`` extra is not installed.
    """
    answers = _finished(log)
    keys = {request.item_id: request_key(endpoint, request, schema) for request in requests}
    # Equal questions are asked once: commentators repeat themselves.
    waiting = {keys[r.item_id]: r for r in reversed(requests) if keys[r.item_id] not in answers}
    sharing = Counter(keys.values())
    done = sum(count for key, count in sharing.items() if key in answers)
    progress(done)

    def record(completion: Completion) -> None:
        nonlocal done
        key = keys[completion.item_id]
        answers[key] = completion
        append_record(log, {"key": key, "model": endpoint.model, "at": round(time.time(), 3), **asdict(completion)})
        done += sharing[key]
        progress(done)

    asyncio.run(_run(endpoint, iter(list(waiting.values())[::-1]), schema, record))
    return {request.item_id: replace(answers[keys[request.item_id]], item_id=request.item_id) for request in requests}


def _finished(log: Path) -> dict[str, Completion]:
    """Key to completion, where there was an answer."""
    records, _ = read_records(log)
    fields = Completion.__dataclass_fields__
    return {
        record["key"]: Completion(**{name: record[name] for name in fields})
        for record in records
        if record.get("failure") not in UNANSWERED
    }


async def _run(
    endpoint: Endpoint, waiting: Iterator[Request], schema: Schema, record: Callable[[Completion], None]
) -> None:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Asking a language model needs the extra: pip install 'mm-coach[llm]'.") from error
    troubles = 0

    async with openai.AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.api_key, timeout=endpoint.timeout, max_retries=endpoint.retries
    ) as client:

        async def work() -> None:
            nonlocal troubles
            for request in waiting:
                completion = await _ask(client, endpoint, request, schema)
                record(completion)
                troubles = troubles + 1 if completion.failure in UNANSWERED else 0
                if troubles >= _PATIENCE:
                    raise EndpointError(
                        f"{endpoint.base_url}: {troubles} requests in a row failed, the last one: {completion.failure} "
                        f"({completion.detail}). Check the server and run the same command again; finished answers are kept."
                    )

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(endpoint.concurrency):
                    group.create_task(work())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first failure ends the others; one message is enough


async def _ask(client: Any, endpoint: Endpoint, request: Request, schema: Schema) -> Completion:
    """Asks until an answer is good, or the attempts are used up."""
    completion = await _ask_once(client, endpoint, request, schema, attempt=0)
    for attempt in range(1, endpoint.answer_attempts):
        if completion.failure not in (REFUSED, TRUNCATED, NOT_JSON, WRONG_CONTENT):
            break
        completion = await _ask_once(client, endpoint, request, schema, attempt)
    return completion


async def _ask_once(client: Any, endpoint: Endpoint, request: Request, schema: Schema, attempt: int) -> Completion:
    import openai

    def failed(failure: str, error: Exception) -> Completion:
        return Completion(request.item_id, None, failure, " ".join(str(error).split())[:300], "")

    parameters = dict(endpoint.parameters)
    if attempt:
        parameters["seed"] = int(parameters.get("seed", 0)) + attempt
        parameters["temperature"] = max(0.3, float(parameters.get("temperature", 0.0)))
    form = {"name": schema.name, "schema": schema.json_schema, "strict": True}
    try:
        response = await client.chat.completions.create(
            model=endpoint.model,
            messages=request.messages,
            response_format={"type": "json_schema", "json_schema": form},
            **parameters,
        )
    except openai.APITimeoutError as error:
        return failed(TIMED_OUT, error)
    except openai.APIConnectionError as error:
        return failed(UNREACHABLE, error)
    except openai.RateLimitError as error:
        return failed(RATE_LIMITED, error)
    except (openai.AuthenticationError, openai.NotFoundError) as error:
        raise EndpointError(
            f"{endpoint.base_url} refuses model {endpoint.model!r}: {error}. Check the address (it usually ends in /v1), the model's name and the key."
        ) from error
    except openai.InternalServerError as error:
        return failed(SERVER_ERROR, error)
    except openai.APIStatusError as error:
        return failed(REJECTED, error)
    except (openai.APIError, json.JSONDecodeError) as error:
        return failed(SERVER_ERROR, error)
    return _judge(request.item_id, response, schema)


def _judge(item_id: str, response: Any, schema: Schema) -> Completion:
    """Sorts a response into content or a class of failure."""
    if not getattr(response, "choices", None):
        return Completion(item_id, None, SERVER_ERROR, "the response has no choices", "")
    choice, usage = response.choices[0], response.usage
    raw = choice.message.content or ""
    tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)

    def outcome(content: dict[str, Any] | None, failure: str | None, detail: str) -> Completion:
        return Completion(item_id, content, failure, detail, raw, *tokens)

    refusal = getattr(choice.message, "refusal", None)
    if refusal or choice.finish_reason == "content_filter":
        return outcome(None, REFUSED, refusal or "stopped by a content filter")
    if choice.finish_reason == "length":
        return outcome(None, TRUNCATED, f"the answer was cut off after {tokens[1]} tokens")
    try:
        content = json.loads(raw)
    except json.JSONDecodeError as error:
        return outcome(None, NOT_JSON, str(error))
    problem = schema.problem(content)
    return outcome(None, WRONG_CONTENT, problem) if problem else outcome(content, None, "")
