"""The client of a coach behind `mm-coach serve`, which stands where a local one does."""

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import numpy as np

from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import JoinedPoses
from mm_adapter.serving import LOOPBACK
from mm_data.conversation import Message
from mm_data.ground.files import write_atomically
from mm_data.items.answer import Answer

KEY = "MM_COACH_API_KEY"
"""Environment variable that holds the server's API key, on both sides."""


class CoachClient:
    """A coach, its decoder and its experts behind a server.

    Args:
        url: Address of the server.
        key: API key of the server, or "".

    Raises:
        ConnectionError: Nobody answers there, or it is another server.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        trusts = urlsplit(self.url).hostname not in LOOPBACK  # no proxy on the way to oneself
        timeout = httpx.Timeout(600.0, connect=5.0)
        self.client = httpx.Client(base_url=self.url, timeout=timeout, trust_env=trusts)
        if key:
            self.client.headers["Authorization"] = f"Bearer {key}"
        self.poses = JoinedPoses(None, {})
        self.about: dict[str, Any] = self._ask("GET", "/v1/coach").json()

    def upload(
        self, videos: Mapping[str, Path], poses: Path | None, start: float, stop: float | None
    ) -> dict[str, Any]:
        """Sends a clip.

        Args:
            videos: View to its video.
            poses: Poses as ``.npy`` or Ego-Exo4D's JSON, or None where the server finds them.
            start: First second that is looked at.
            stop: End in seconds; None is the end of the shortest video.

        Returns:
            The server's description of the clip (`serving.http.app.Front.upload`).

        Raises:
            FileNotFoundError: A file does not exist.
            ValueError: The server refuses it.
        """
        paths = {**videos, **({"pose": poses} if poses else {})}
        for path in paths.values():
            if not path.is_file():
                raise FileNotFoundError(f"{path} does not exist.")
        times = {"start": str(start), **({"stop": str(stop)} if stop is not None else {})}
        files = {name: (path.name, path.read_bytes()) for name, path in paths.items()}
        return self._ask("POST", "/v1/clips", data=times, files=files).json()

    def stream(self, messages: list[Message], sample_id: str, sampling: Sampling = GREEDY) -> Generator[str]:
        """Answers a conversation in words, as `Coach.stream` does.

        openai's client takes an event without data, such as a proxy's ``retry:``, for a broken answer, so streams are read here.

        Args:
            messages: Messages up to the question.
            sample_id: Id of the conversation, which the server has no use for.
            sampling: How tokens are drawn.

        Yields:
            Pieces of the answer.

        Raises:
            ConnectionError: The server does not answer.
            ValueError: The server refuses the question, or sends something else than an answer.
        """
        body = {**self._body(messages, sampling, "words"), "stream": True}
        try:
            with self.client.stream("POST", "/v1/chat/completions", json=body) as reply:
                if reply.status_code != 200:
                    reply.read()
                self._check(reply)
                yield from self._words(reply.iter_lines())
        except httpx.TransportError as error:
            raise ConnectionError(f"{self.url} does not answer: {error}.") from error

    def _words(self, lines: Iterable[str]) -> Iterator[str]:
        """Yields the words of a stream of server-sent events; comments and chunks without a choice, such as usage, hold none."""
        events = 0
        for line in lines:
            name, _, data = line.partition(":")
            if name != "data":
                continue
            if data.strip() == "[DONE]":
                return
            events += 1
            yield self._word(data)
        if not events:
            raise ValueError(f"{self.url} sends no answer; is this `mm-coach serve`?")

    def _word(self, data: str) -> str:
        try:
            event = json.loads(data)
            problem = event.get("error")
            delta = (event.get("choices") or [{}])[0].get("delta") or {}
            word = delta.get("content") or ""
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.url} sends what is no piece of an answer: {data.strip()[:80]!r}.") from error
        if problem:
            raise ValueError(f"{self.url}: {problem.get('message', problem) if isinstance(problem, dict) else problem}")
        return word

    def demonstrate_after(self, messages: list[Message], sample_id: str) -> np.ndarray:
        """Returns codes ``[T, M]`` of corrected poses, as `Coach.demonstrate_after` does."""
        reply = self._ask("POST", "/v1/chat/completions", json=self._body(messages, GREEDY, "poses")).json()
        text = reply["choices"][0]["message"]["content"]
        return np.array(self._ask("POST", "/v1/poses", json={"text": text}).json()["codes"])

    @property
    def phrases(self) -> dict[str, str]:
        """What a person says to be answered in one of the coach's tasks, to the task's name."""
        return {phrase: name for name, phrase in self.about.get("tasks", {}).items()}

    def assess(self, clip_id: str, task: str) -> Answer:
        """Answers a task's questions about a clip that the server keeps."""
        reply = self._ask("POST", "/v1/assess", json={"clip_id": clip_id, "task": task}).json()
        return Answer(**reply["answer"])

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Returns the server's three best experts with their scores."""
        reply = self._ask("POST", "/v1/experts", json={"clip_id": learner, "remark": remark}).json()
        return [(expert["clip_id"], expert["score"]) for expert in reply["experts"]]

    def joints(self, codes: np.ndarray) -> np.ndarray:
        """Decodes codes ``[T, M]`` to joints ``[T, 17, 3]`` in metres."""
        return np.array(self._ask("POST", "/v1/poses", json={"codes": codes.tolist()}).json()["joints"])

    def save_expert(self, clip_id: str, out: Path) -> None:
        """Writes an expert's clip.

        Args:
            clip_id: Id of the clip.
            out: Video file, ``.mp4``.

        Raises:
            FileNotFoundError: The server has no video of it.
        """
        reply = self._ask("GET", f"/v1/experts/{quote(clip_id, safe='')}/video", may_lack=True)
        if reply.status_code == 404:
            raise FileNotFoundError(_message(reply))
        write_atomically(out, reply.content)

    def _body(self, messages: list[Message], sampling: Sampling, answer: str) -> dict[str, Any]:
        poses = self.poses

        def with_codes(part: dict[str, Any]) -> dict[str, Any]:
            return {"type": "pose", "codes": poses[part["clip_id"]].tolist()} if part["type"] == "pose" else part

        return {
            "model": self.about["model"],
            "messages": [{**turn, "content": [with_codes(part) for part in turn["content"]]} for turn in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "vllm_xargs": {"coach_answer": answer},
        }

    def _ask(self, method: str, path: str, may_lack: bool = False, **content: Any) -> httpx.Response:
        try:
            reply = self.client.request(method, path, **content)
        except httpx.TransportError as error:
            raise ConnectionError(f"{self.url} does not answer: {error}.") from error
        if not (may_lack and reply.status_code == 404):
            self._check(reply)
        return reply

    def _check(self, reply: httpx.Response) -> None:
        if reply.status_code >= 400:
            raise ValueError(f"{self.url}: {_message(reply)}")


def _message(reply: httpx.Response) -> str:
    try:
        return reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}; is this `mm-coach serve`?"
