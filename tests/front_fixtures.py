"""A small coach's export behind the front, with an engine that answers by script, and what is sent to it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_coach import TinyCoach, perturb

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.export.write import export_coach
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.serving.http.app import Front, Limits, front_app
from mm_adapter.serving.http.clips import ClipShelf, ClipWorkers
from mm_adapter.serving.http.engine import Engine
from mm_adapter.serving.http.exported_coach import Export

MEGABYTES = 1


@pytest.fixture(scope="session")
def export(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    coach = TinyCoach(tiny)
    perturb(coach)
    out = tmp_path_factory.mktemp("front") / "export"
    opened = SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})
    export_coach(opened, out, "coach", build_encoder("tiny", None))
    return out


@pytest.fixture(scope="session")
def workers(export: Path) -> Iterator[ClipWorkers]:
    made = ClipWorkers(export, None, workers=1, waiting=1)
    yield made
    made.close()


class Scripted(Engine):
    """An engine that keeps what it was asked and answers the same to everybody."""

    def __init__(self) -> None:
        super().__init__("http://engine")
        self.asked: list[dict[str, Any]] = []
        self.says = {"words": "Bend the knees."}
        self.client = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200)
        asked = json.loads(request.content)
        self.asked.append(asked)
        content = self.says[asked.get("vllm_xargs", {}).get("coach_answer", "words")]
        if not asked.get("stream"):
            return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})
        event = json.dumps({"choices": [{"delta": {"content": content}}]})
        return httpx.Response(200, stream=httpx.ByteStream(f"data: {event}\n\ndata: [DONE]\n\n".encode()))


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


def client_of(front: Front, host: str = "127.0.0.1", key: str | None = None) -> TestClient:
    return TestClient(front_app(front, host, key), base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def front(export: Path, workers: ClipWorkers, engine: Scripted) -> Front:
    return Front(Export.open(export), engine, ClipShelf(workers), limits=Limits(MEGABYTES))


@pytest.fixture
def client(front: Front) -> TestClient:
    return client_of(front)


def video(width: int = 64, height: int = 64, frames: int = 2, rate: int = 1) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(frames):
            grey = np.full((height, width, 3), 40 * k % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey)))
        container.mux(stream.encode())
    return buffer.getvalue()


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


@pytest.fixture(scope="session")
def poses(tiny: Path) -> np.ndarray:
    """Two seconds of a take."""
    return np.load(sorted((tiny / "tuples" / "poses").glob("*.npy"))[0])[:60]


def error_of(reply: Any) -> str:
    assert 400 <= reply.status_code < 500, reply.text
    message = reply.json()["error"]["message"]
    assert "/tmp" not in message and "Traceback" not in message
    return message
