"""Structured answers from any OpenAI-compatible endpoint: bounded concurrency, retries, classes of failure.

An append-only log of all answers is cache, resume file and audit at once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_data.asking.prompts import Messages
from mm_data.asking.replies import (
    FILTERED,
    NOT_JSON,
    REFUSED,
    SERVER_ERROR,
    TRUNCATED,
    WRONG_CONTENT,
    Completion,
    is_web_page,
    read_reply,
    refusal,
)
from mm_data.asking.settings import Settings
from mm_data.ground.digests import hash_of
from mm_data.ground.jsonl import append_record, read_records

REJECTED = "request rejected"
RATE_LIMITED, TIMED_OUT, UNREACHABLE = "rate limited", "timed out", "unreachable"
UNANSWERED = frozenset({RATE_LIMITED, SERVER_ERROR, TIMED_OUT, UNREACHABLE, REJECTED})
"""Failures of the endpoint, its limits or its settings rather than of the answer: the next run asks again."""

_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_ANSWER = 90  # where the log has none to learn from
_TOKENS_PER_IMAGE = 300  # between one tile of the large hosted models and a small open one
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
class Schema:
    """What an answer must look like.

    Attributes:
        name: Letters, digits and dashes; a version in it keeps answers apart that were checked by other rules.
        json_schema: Sent to the endpoint, which constrains decoding where it can.
        problem: Says what is wrong with a parsed answer, or None; endpoints do not always honour the schema.
    """

    name: str
    json_schema: dict[str, Any]
    problem: Callable[[Any], str | None]


@dataclass(frozen=True)
class Request:
    """One question about one item.

    Attributes:
        item_id: Unique within a run.
        messages: What is asked.
        schema: What an answer must look like.
        repeat: Which of several independent answers; it is added to the seed.
        about: Noted in the log beside the answer, such as the version of the prompt.
    """

    item_id: str
    messages: Messages
    schema: Schema
    repeat: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Budget:
    """What a whole command may spend, over all its calls of `complete`.

    Attributes:
        input_price: Per million prompt tokens.
        output_price: Per million answer tokens.
        most: In the currency of the prices.
        spent: So far.
    """

    input_price: float
    output_price: float
    most: float
    spent: float = 0.0

    def pay(self, completion: Completion) -> None:
        """Counts an answer's tokens.

        Args:
            completion: The answer.

        Raises:
            EndpointError: More has been spent than may be.
        """
        self.spent += (
            completion.prompt_tokens * self.input_price + completion.completion_tokens * self.output_price
        ) / 1e6
        if self.spent > self.most:
            raise EndpointError(
                f"Stopped at {self.spent:.4f}, above the limit of {self.most:g}. Finished answers are kept: "
                "run the same command with a higher limit to go on."
            )


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


def request_key(endpoint: Endpoint, request: Request) -> str:
    """Hash of everything that decides an answer; the address of the server does not."""
    schema = [request.schema.name, request.schema.json_schema]
    return hash_of([endpoint.model, _sampling(endpoint, request), request.messages, schema])


def _sampling(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """Parameters of a request; each of several answers has a seed of its own."""
    parameters = dict(endpoint.parameters)
    if request.repeat:
        parameters["seed"] = int(parameters.get("seed", 0)) + 1000 * request.repeat
    return parameters


def estimate(endpoint: Endpoint, requests: Iterable[Request], log: Path) -> Estimate:
    """Counts what is left to ask before the first call.

    Args:
        endpoint: Endpoint that would be asked.
        requests: All requests of the run.
        log: The run's log; answers in it cost nothing.

    Returns:
        Numbers of requests and tokens.
    """
    finished = read_completions(log)
    lengths = [c.completion_tokens for c in finished.values() if c.completion_tokens]
    average = sum(lengths) / len(lengths) if lengths else _TOKENS_PER_ANSWER
    seen: set[str] = set()
    left, tokens = 0, 0.0
    for request in requests:  # one at a time: some hold pictures
        key = request_key(endpoint, request)
        if key not in seen and key not in finished:
            left += 1
            tokens += sum(_prompt_tokens(message["content"]) for message in request.messages)
        seen.add(key)
    return Estimate(len(seen), len(seen) - left, round(tokens), round(left * average))


def _prompt_tokens(content: str | list[dict[str, Any]]) -> float:
    if isinstance(content, str):
        return len(content) / _CHARACTERS_PER_TOKEN
    return sum(
        len(part["text"]) / _CHARACTERS_PER_TOKEN if part["type"] == "text" else _TOKENS_PER_IMAGE for part in content
    )


def complete(
    endpoint: Endpoint,
    requests: Sequence[Request],
    log: Path,
    progress: Callable[[int], None] = lambda done: None,
    budget: Budget | None = None,
) -> dict[str, Completion]:
    """Answers every request, from the log where it can.

    Every answer is appended to the log the moment it arrives, so an interrupted run repeats no finished call.

    Args:
        endpoint: Where to ask.
        requests: What to ask; item ids are unique.
        log: Append-only JSON lines.
        progress: Called with the number of items that have an outcome.
        budget: Stops the run once it is spent; answers out of the log cost nothing.

    Returns:
        Item id to its completion, failures included, in the order of the requests.

    Raises:
        EndpointError: Wrong key, unknown model, an address of web pages, many requests in a row that the endpoint could not
            answer, all requests of a run rejected, or the budget is spent.
        ModuleNotFoundError: The ``llm`` extra is not installed.
        ValueError: Two requests have one item id.
    """
    if repeated := [item for item, count in Counter(r.item_id for r in requests).items() if count > 1]:
        raise ValueError(
            f"{len(repeated)} item ids are asked about twice, such as {repeated[0]!r}; ids have to be unique."
        )
    answers = read_completions(log)
    keys = {request.item_id: request_key(endpoint, request) for request in requests}
    # Equal questions are asked once: commentators repeat themselves.
    waiting = {keys[r.item_id]: r for r in reversed(requests) if keys[r.item_id] not in answers}
    sharing = Counter(keys.values())
    done = sum(count for key, count in sharing.items() if key in answers)
    progress(done)

    def record(request: Request, completion: Completion) -> None:
        nonlocal done
        key = keys[completion.item_id]
        answers[key] = completion
        noted = {"key": key, "model": endpoint.model, "at": round(time.time(), 3), "about": dict(request.about)}
        append_record(log, {**noted, **asdict(completion)})
        done += sharing[key]
        progress(done)
        if budget is not None:
            budget.pay(completion)

    asyncio.run(_run(endpoint, iter(list(waiting.values())[::-1]), record))
    return {request.item_id: replace(answers[keys[request.item_id]], item_id=request.item_id) for request in requests}


def read_completions(log: Path) -> dict[str, Completion]:
    """Key to completion, where there was an answer."""
    records, _ = read_records(log)
    fields = Completion.__dataclass_fields__
    return {
        record["key"]: Completion(**{name: record[name] for name in fields if name in record})
        for record in records
        if record.get("failure") not in UNANSWERED
    }


async def _run(endpoint: Endpoint, waiting: Iterator[Request], record: Callable[[Request, Completion], None]) -> None:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Asking a language model needs the extra: pip install 'mm-coach[llm]'.") from error
    answers = rejections = troubles = 0
    last: Completion | None = None
    settings = Settings()

    async with openai.AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.api_key, timeout=endpoint.timeout, max_retries=endpoint.retries
    ) as client:

        async def work() -> None:
            nonlocal answers, rejections, troubles, last
            for request in waiting:
                completion = await _ask(client, endpoint, settings, request)
                record(request, completion)
                answers, rejections, last = answers + 1, rejections + (completion.failure == REJECTED), completion
                troubles = troubles + 1 if completion.failure in UNANSWERED else 0
                if troubles >= _PATIENCE:
                    raise EndpointError(_unusable(endpoint, f"{troubles} requests in a row", completion))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(endpoint.concurrency):
                    group.create_task(work())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the first failure ends the others; one message is enough
    if last is not None and rejections == answers:  # asking again changes nothing
        raise EndpointError(_unusable(endpoint, f"all {answers} requests" if answers > 1 else "the only request", last))


def _unusable(endpoint: Endpoint, what: str, last: Completion) -> str:
    return (
        f"{endpoint.base_url}: {what} failed, the last one: {last.failure} ({last.detail}). "
        "Check the server and run the same command again; finished answers are kept."
    )


async def _ask(client: Any, endpoint: Endpoint, settings: Settings, request: Request) -> Completion:
    """Asks until an answer is good, or the attempts are used up."""
    begun = time.monotonic()
    completion = await _ask_once(client, endpoint, settings, request, attempt=0)
    for attempt in range(1, endpoint.answer_attempts):
        if completion.failure not in (REFUSED, FILTERED, TRUNCATED, NOT_JSON, WRONG_CONTENT):
            break
        earlier, completion = completion, await _ask_once(client, endpoint, settings, request, attempt)
        completion = replace(
            completion,
            prompt_tokens=earlier.prompt_tokens + completion.prompt_tokens,
            completion_tokens=earlier.completion_tokens + completion.completion_tokens,
        )
    return replace(completion, seconds=round(time.monotonic() - begun, 3))


async def _ask_once(client: Any, endpoint: Endpoint, settings: Settings, request: Request, attempt: int) -> Completion:
    import openai

    def failed(failure: str, error: Exception) -> Completion:
        return Completion(request.item_id, None, failure, " ".join(refusal(error).split())[:300], "")

    parameters = _sampling(endpoint, request)
    if attempt:
        parameters["seed"] = int(parameters.get("seed", 0)) + attempt
        parameters["temperature"] = max(0.3, float(parameters.get("temperature", 0.0)))
    while True:
        adapted = settings.adapted
        body = settings.request(request.messages, request.schema.name, request.schema.json_schema, parameters)
        try:
            response = await client.chat.completions.with_raw_response.create(model=endpoint.model, **body)
        except openai.APITimeoutError as error:
            return failed(TIMED_OUT, error)
        except openai.APIConnectionError as error:
            return failed(UNREACHABLE, error)
        except openai.RateLimitError as error:
            return failed(RATE_LIMITED, error)
        except (openai.AuthenticationError, openai.NotFoundError) as error:
            raise EndpointError(
                f"{endpoint.base_url} refuses model {endpoint.model!r}: {refusal(error)}. "
                "Check the address (it usually ends in /v1), the model's name and the key."
            ) from error
        except openai.InternalServerError as error:
            return failed(SERVER_ERROR, error)
        except openai.APIStatusError as error:
            if settings.adapted != adapted or settings.adapt(refusal(error), body):
                continue  # another request has just found out, or this one has
            return failed(REJECTED, error)
        except (openai.APIError, ValueError) as error:
            return failed(SERVER_ERROR, error)
        return _checked(endpoint, request, response.http_response.content, adapted)


def _checked(endpoint: Endpoint, request: Request, body: bytes, adapted: Sequence[str]) -> Completion:
    """Content that has the right form, or a class of failure; ``EndpointError`` where the address gives web pages."""
    if is_web_page(body):
        raise EndpointError(f"{endpoint.base_url} answers with a web page. The address of an API usually ends in /v1.")
    completion = replace(read_reply(body, request.item_id), adapted=adapted)
    if completion.content is not None and (problem := request.schema.problem(completion.content)):
        return replace(completion, content=None, failure=WRONG_CONTENT, detail=problem)
    return completion
