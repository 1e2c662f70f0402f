"""vLLM behind the front: its process, and the questions that are asked of it."""

import base64
import io
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch

from mm_adapter.serving import LOOPBACK
from mm_adapter.serving.memory import cache_flags

MODEL = "coach"
NO_ANSWER = "The engine does not answer; look at its log."
_AT_ONCE = 32
_PREFIX = re.compile(r"^(\x1b\[[\d;]*m)*(\([\w.-]+ pid=\d+\))?(\x1b\[[\d;]*m)*\s*(ERROR \S+ \S+ \[[^]]*\])?\s?")
_ERROR = re.compile(r"(([A-Za-z_]\w*\.)*\w*(Error|Exception): .|\S+\.py: error: .)")


class EngineError(RuntimeError):
    """The engine does not answer, or is broken."""


class Engine:
    """A vLLM server that serves an export.

    Args:
        url: Its address.
        key: Its API key, or "".

    Attributes:
        model: The name that it serves the export under.
        client: For the requests of many at a time.
        blocking: For questions that are asked from threads.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self.model = MODEL
        self._workers = ThreadPoolExecutor(_AT_ONCE)
        trusts = urlsplit(url).hostname not in LOOPBACK  # no proxy stands between two processes of one machine
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(600.0, connect=5.0)
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, limits=limits, trust_env=trusts)
        self.blocking = httpx.Client(base_url=url, headers=headers, timeout=timeout, limits=limits, trust_env=trusts)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self.blocking.get("/health", timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    def find_model(self) -> None:
        """Asks under which name the export is served.

        Raises:
            ValueError: No vLLM server answers, or not with this key.
        """
        try:
            reply = self.blocking.get("/v1/models", timeout=5.0)
        except httpx.TransportError as error:
            raise ValueError(f"No vLLM server answers at {self.blocking.base_url}.") from error
        if reply.status_code != 200:
            raise ValueError(
                f"{self.blocking.base_url} does not name its model (status {reply.status_code}); set VLLM_API_KEY."
            )
        self.model = reply.json()["data"][0]["id"]

    def complete(self, bodies: Sequence[dict[str, Any]]) -> list[tuple[str, list[int]]]:
        """Answers conversations, one engine request each.

        Args:
            bodies: Requests of OpenAI's protocol without a model.

        Returns:
            The texts, and their token ids.

        Raises:
            ValueError: The engine refuses a conversation, such as one that is too long.
            EngineError: The engine is not there, or broken.
        """

        def one(body: dict[str, Any]) -> tuple[str, list[int]]:
            choice = self._ask({**body, "return_token_ids": True})["choices"][0]
            return choice["message"]["content"] or "", choice["token_ids"]

        return list(self._workers.map(one, bodies))

    def likelihoods(
        self, messages: list[dict[str, Any]], answers: Sequence[str], answer_ids: Sequence[list[int]]
    ) -> list[np.ndarray]:
        """Scores answers to a conversation, one engine request each.

        Args:
            messages: The conversation, for the engine.
            answers: Texts of the answers.
            answer_ids: Token ids that are scored of each answer, its last ones.

        Returns:
            Log-likelihoods of these tokens ``[C]``, for each answer.

        Raises:
            ValueError: The conversation cannot be scored, such as one that is too long.
            EngineError: The engine is not there, or broken.
        """

        def one(answer: str, ids: list[int]) -> np.ndarray:
            turn = {"role": "assistant", "content": answer}
            reply = self._ask(
                {
                    "messages": [*messages, turn],
                    "add_generation_prompt": False,
                    "max_tokens": 1,
                    "prompt_logprobs": 0,
                }
            )
            entries = [entry and next(iter(entry.items())) for entry in reply["prompt_logprobs"]]
            prompt = [int(entry[0]) if entry else -1 for entry in entries]
            places = range(len(prompt) - len(ids), -1, -1)
            first = next((at for at in places if prompt[at : at + len(ids)] == ids), None)
            if first is None:
                raise ValueError(
                    f"The engine splits {answer!r} into other tokens than the coach does; export it again."
                )
            return np.array([entry[1]["logprob"] for entry in entries[first : first + len(ids)]])

        return list(self._workers.map(one, answers, answer_ids))

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the engine's reply to one request."""
        try:
            reply = self.blocking.post("/v1/chat/completions", json={"model": self.model, **body})
        except httpx.TransportError as error:
            raise EngineError(NO_ANSWER) from error
        if reply.status_code != 200:
            kind = ValueError if reply.status_code < 500 else EngineError
            raise kind(f"The engine does not answer: {reply.json()['error']['message']}")
        return reply.json()


class RunningEngine(Engine):
    """VLLM's server in a process of its own, on a free loopback port and with a key that nobody else knows.

    A context manager: the process ends with it.

    Args:
        export: Folder of the export that it serves.
        arguments: Further arguments for vLLM.
        log: File that its output is written to.
    """

    def __init__(self, export: Path, arguments: Sequence[str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        key = secrets.token_urlsafe(32)
        super().__init__(f"http://127.0.0.1:{port}", key)
        self.log, self._began = log, time.monotonic()
        command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", str(export)]
        place = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL, "--enable-mm-embeds"]
        cache = cache_flags(export, arguments, os.environ)
        with log.open("wb") as file:
            # -P: no folder of the working directory stands for a package. Its own session: an interrupt in the terminal reaches it through the front, after the requests.
            self.process = subprocess.Popen(
                [*command, *place, *cache, *arguments],
                env={**os.environ, "VLLM_API_KEY": key},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raises ``ChildProcessError`` with the cause, or else the end of the log, where the process has ended."""
        if not self.alive:
            ended = f"vLLM ended with status {self.process.returncode}"
            text = self.log.read_text(errors="replace")
            if cause := root_cause(text):
                raise ChildProcessError(f"{ended}: {cause}\nMore is in its log: {self.log}")
            tail = "\n".join(text.splitlines()[-15:])
            raise ChildProcessError(f"{ended}; the end of {self.log}:\n{tail}")

    def __enter__(self) -> "RunningEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=30)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # and whatever it left behind
        self.process.wait()


def root_cause(log: str) -> str | None:
    """Finds the line of vLLM's log that says why it ended: its first error, of which later ones are consequences.

    Args:
        log: Text of the log.

    Returns:
        The line, or None.
    """
    plain = [_PREFIX.sub("", line).strip() for line in log.splitlines()]
    return next((line for line in plain if _ERROR.match(line) and "root cause" not in line), None)


def features_part(features: np.ndarray) -> dict[str, Any]:
    """Precomputed features ``[V, C]`` of a video for the engine."""
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(np.asarray(features, np.float32)), buffer)
    return {"type": "video_embeds", "video_embeds": base64.b64encode(buffer.getvalue()).decode()}
