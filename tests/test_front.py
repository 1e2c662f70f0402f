"""The front before the engine is asked: who may ask, what is refused, what becomes of uploads."""

import asyncio
import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_coach import TinyCoach, perturb

from mm_adapter.checkpoint import PretrainedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.export import export_coach
from mm_adapter.front.app import Front, Limits, front_app
from mm_adapter.front.clips import BusyError, ClipShelf, ClipWorkers, Upload
from mm_adapter.front.coach import ExportedCoach
from mm_adapter.front.engine import Engine
from mm_adapter.front.experts import ClipParts
from mm_adapter.front.preparation import PreparedClip
from mm_adapter.internvideo2 import build_encoder
from mm_data.video import VideoError
from mm_tokenizers.vocabulary import SEQUENCE_END

MEGABYTES = 1


@pytest.fixture(scope="module")
def export(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    coach = TinyCoach(tiny)
    perturb(coach)
    out = tmp_path_factory.mktemp("front") / "export"
    opened = PretrainedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})
    export_coach(opened, out, "coach", build_encoder("tiny", None))
    return out


@pytest.fixture(scope="module")
def workers(export: Path) -> Iterator[ClipWorkers]:
    made = ClipWorkers(export, None, workers=1, waiting=1)
    yield made
    made.close()


class Scripted(Engine):
    """An engine that keeps what it was asked and answers the same to everybody."""

    def __init__(self) -> None:
        super().__init__("http://engine")
        self.asked: list[dict[str, Any]] = []
        self.client = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        return httpx.Response(200, json={"choices": [{"message": {"content": "Bend the knees."}}]})

    def ready(self) -> bool:
        return True


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


def client_of(front: Front, host: str = "127.0.0.1", key: str | None = None) -> TestClient:
    return TestClient(front_app(front, host, key), base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def front(export: Path, workers: ClipWorkers, engine: Scripted) -> Front:
    coach = ExportedCoach.open(export)
    return Front(coach, engine, ClipParts(coach, ClipShelf(workers), None, None), limits=Limits(MEGABYTES))


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


@pytest.fixture(scope="module")
def poses(tiny: Path) -> np.ndarray:
    """Two seconds of a take."""
    return np.load(sorted((tiny / "tuples" / "poses").glob("*.npy"))[0])[:60]


def error_of(reply: Any) -> str:
    assert 400 <= reply.status_code < 500, reply.text
    message = reply.json()["error"]["message"]
    assert "/tmp" not in message and "Traceback" not in message
    return message


def test_a_clip_is_prepared_once_and_its_files_are_gone(
    client: TestClient, front: Front, poses: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = {"exo": ("mine.mp4", video()), "pose": ("mine.npy", array(poses))}
    made = client.post("/v1/clips", files=files, data={"stop": "1.5"})
    assert made.status_code == 201, made.text
    clip = made.json()
    config = front.coach.config
    assert clip["seconds"] == 1.5 and "No ego video" in clip["notes"][0]
    assert {view: len(frames) for view, frames in clip["frames"].items()} == dict.fromkeys(config.views, 2)
    assert np.array(clip["joints"][0]).shape == (17, 3) and len(clip["joints"]) == config.pose_frames
    assert not [*tmp_path.glob("mm-coach-upload-*")], "uploads are deleted"
    assert client.post("/v1/clips", files=files, data={"stop": "1.5"}).json()["id"] == clip["id"]
    assert client.delete(f"/v1/clips/{clip['id']}").status_code == 204
    assert client.delete(f"/v1/clips/{clip['id']}").status_code == 404


def test_what_the_engine_is_asked(client: TestClient, front: Front, engine: Scripted, poses: np.ndarray) -> None:
    """A clip inside a message, and the same clip by its id, are the same request: poses as tokens, frames as pictures."""

    def data(kind: str, content: bytes) -> dict[str, str]:
        return {"url": f"data:{kind};base64,{base64.b64encode(content).decode()}"}

    question = {"type": "text", "text": "What should I improve?"}
    inline = [
        {"type": "video_url", "video_url": data("video/mp4", video())},
        {"type": "pose_file", "pose_file": data("application/octet-stream", array(poses))},
        question,
    ]
    files = {"exo": ("mine.mp4", video()), "pose": ("mine.npy", array(poses))}
    clip = client.post("/v1/clips", files=files).json()["id"]
    for content in (inline, [{"type": "clip", "clip_id": clip}, question]):
        body = {"model": "coach", "messages": [{"role": "user", "content": content}], "temperature": 0}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert engine.asked[0] == engine.asked[1]
    tokens, *videos, text = engine.asked[0]["messages"][0]["content"]
    kept = front.shelf.get(clip)
    assert kept is not None and kept.codes is not None
    assert tokens["text"] == front.parts.conversations.pose_tokens(kept.codes) and text == question
    assert len(videos) == 2 and all(v["video_url"]["url"].startswith("data:video/jpeg;base64,") for v in videos)
    codes = kept.codes.tolist()
    shown = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "pose", "codes": codes}]}]
    assert client.post("/v1/chat/completions", json={"messages": shown}).status_code == 200
    assert engine.asked[2]["messages"][1]["content"] == [tokens], "a demonstration goes back as tokens"
    decoded = client.post("/v1/poses", json={"text": tokens["text"]}).json()
    assert decoded["codes"] == codes and np.shape(decoded["joints"]) == (len(codes), 17, 3)


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        ({"exo": b"not a video"}, {}, "The exo video: cannot be opened"),
        ({"exo": b""}, {}, "The exo video: cannot be opened"),
        ({"exo": "CUT"}, {}, "The exo video: cannot be opened"),
        ({"exo": b"ffconcat version 1.0\nfile '/etc/passwd'\n"}, {}, "The exo video: cannot be opened"),
        ({"exo": "HOURS"}, {}, "7200 s are more than 60 s"),
        ({"exo": "WIDE"}, {}, "16000 × 16 pixels; at most"),
        ({"exo": "GOOD"}, {}, "needs poses and the server finds none"),
        ({"exo": "GOOD"}, {"start": "nan"}, "start is 'nan'"),
        ({"exo": "GOOD"}, {"start": "900"}, "no part of the videos (exo 2.00 s)"),
        ({"exo": "GOOD", "pose": "NAN"}, {}, "The poses: frame 0, joint 0 is visible but not finite"),
        ({"exo": "GOOD", "pose": "SHAPE"}, {}, "The poses: shape (60, 16, 3)"),
        ({"exo": "GOOD", "pose": "SHORT"}, {}, "The pose file has 3 frames"),
        ({"exo": "GOOD", "pose": "OBJECTS"}, {}, "The poses: holds Python objects"),
        ({"exo": "GOOD", "pose": b"[1, 2"}, {}, "The poses: not valid JSON"),
        ({"pose": "SHORT"}, {}, "Give the learner's video"),
        ({"exo": "GOOD", "song": b"la"}, {}, "Unknown or repeated 'song'"),
        ({"exo": "HUGE"}, {}, "at most 1,000,000 are taken"),
    ],
)
def test_bad_uploads_get_a_sentence_and_the_server_lives(
    client: TestClient, files: dict[str, Any], fields: dict[str, str], message: str
) -> None:
    nan = np.full((60, 17, 4), np.nan)
    nan[..., 3] = 1
    made = {
        "GOOD": video,
        "CUT": lambda: video()[:500],
        "HOURS": lambda: video(16, 16, 7200),
        "WIDE": lambda: video(16000, 16),
        "HUGE": lambda: bytes(2 * 10**6),
        "NAN": lambda: array(nan),
        "SHAPE": lambda: array(np.zeros((60, 16, 3))),
        "SHORT": lambda: array(np.zeros((3, 17, 3))),
        "OBJECTS": lambda: array(np.array([{"a": 1}], dtype=object)),
    }
    sent = {name: (name, made[what]() if isinstance(what, str) else what) for name, what in files.items()}
    assert message in error_of(client.post("/v1/clips", files=sent, data=fields))
    assert client.get("/health").status_code == 200


def test_file_names_are_no_paths(client: TestClient) -> None:
    reply = client.post("/v1/clips", files={"exo": ("../../etc/passwd", video())})
    assert "'../../etc/passwd' holds a path" in error_of(reply)


POSE = {"type": "text", "text": f"<|pose_01|>{SEQUENCE_END}"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "Message 0: needs a role"),
        ({"messages": [{"role": "user", "content": 5}]}, "Message 0: content has to be"),
        ({"messages": [{"role": "user", "content": [POSE]}]}, "Message 0: The last frame does not end in"),
        ({"messages": [{"role": "user", "content": f"see <|pose_01|>{SEQUENCE_END}"}]}, "hold something else"),
        ({"messages": [{"role": "user", "content": [{"type": "pose", "codes": [[1], [2, 3]]}]}]}, "a grid of integers"),
        ({"messages": [{"role": "user", "content": [{"type": "pose", "codes": [[1]]}]}]}, "have shape (1, 1)"),
        ({"messages": [{"role": "user", "content": "<|ego_video|>"}]}, "may not hold video placeholders"),
        ({"messages": [{"role": "user", "content": [{"type": "clip", "clip_id": "no"}]}]}, "No clip 'no' is here"),
        ({"messages": [{"role": "user", "content": [{"type": "video_embeds"}]}]}, "'video_embeds' cannot be read"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "file:///x"}}]}]},
            "other addresses are not fetched",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:v;base64,@"}}]}]},
            "base64 of a file is broken",
        ),
        ({"messages": [{"role": "user", "content": "x"}], "mm_processor_kwargs": {}}, "cannot be set here"),
        ({"messages": [{"role": "user", "content": "x"}], "model": "other"}, "'other' is not served here"),
        ([], "has to be a JSON object"),
    ],
)  # fmt: skip
def test_bad_questions_never_reach_the_engine(client: TestClient, engine: Scripted, body: Any, message: str) -> None:
    assert message in error_of(client.post("/v1/chat/completions", json=body))
    assert not engine.asked


def test_who_may_ask(front: Front) -> None:
    open_to_others = client_of(front, "0.0.0.0", "secret")
    assert open_to_others.get("/").status_code == 200, "the page asks for the key"
    for given in ({}, {"Authorization": "Bearer wrong"}):
        reply = open_to_others.get("/v1/coach", headers=given)
        assert reply.status_code == 401 and "API key is missing or wrong" in error_of(reply)
    assert open_to_others.get("/v1/coach", headers={"Authorization": "Bearer secret"}).status_code == 200
    here = client_of(front)
    assert here.get("/v1/coach").status_code == 200
    assert here.get("/v1/coach", headers={"Host": "evil.example"}).status_code == 400, "DNS rebinding"
    assert here.get("/v1/coach", headers={"Origin": "http://evil.example"}).status_code == 403
    assert here.get("/v1/coach", headers={"Origin": "http://127.0.0.1"}).status_code == 200


def test_bodies_of_unknown_length_are_cut_off(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="exo"; filename="a.mp4"\r\n\r\n'
        for _ in range(30):
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/clips", content=pieces(), headers=headers).status_code == 413


def test_one_question_too_many(front: Front) -> None:
    front.limits = Limits(MEGABYTES, requests=0)
    reply = client_of(front).post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert reply.status_code == 429 and reply.headers["Retry-After"]


def test_an_engine_that_does_not_answer(front: Front, engine: Scripted) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    engine.client = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(gone))
    reply = client_of(front).post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert reply.status_code == 503 and "engine does not answer" in reply.json()["error"]["message"]


def sleep_for(seconds: float) -> None:
    time.sleep(seconds)


def take_memory(gib: int) -> int:
    return len(bytearray(gib * 2**30))


def test_workers_have_limits(workers: ClipWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, memory and the number of those who wait; a process that was ended is replaced."""
    monkeypatch.setattr(workers, "seconds", 1.0)

    async def all_of_it() -> None:
        with pytest.raises(VideoError, match="more than 4 GiB"):
            await workers.run(take_memory, 6)
        endless = asyncio.ensure_future(workers.run(sleep_for, 30.0))
        waiting = asyncio.ensure_future(workers.run(take_memory, 0))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 clips are being prepared; at most 2"):
            await workers.run(sleep_for, 0.0)
        with pytest.raises(VideoError, match="more than 1 s"):
            await endless
        assert await waiting == 0

    asyncio.run(all_of_it())


def test_the_shelf_forgets(workers: ClipWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def prepared(*_: object) -> PreparedClip:
        return PreparedClip(1.0, {}, None, None, [])

    monkeypatch.setattr(workers, "run", prepared)
    shelf = ClipShelf(workers, capacity=2, seconds=10.0)
    ids = [asyncio.run(shelf.add(Upload({"exo": bytes([k])})))[0] for k in range(3)]
    assert [shelf.get(one) is not None for one in ids] == [False, True, True], "the oldest makes room"
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 11)
    assert shelf.get(ids[2]) is None, "nobody asked about it for too long"


def test_what_serve_refuses(
    export: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MM_COACH_API_KEY", raising=False)
    cases = {
        ("--host", "0.0.0.0"): "set an API key",
        ("--pose-model", "none.task"): "Pose model none.task does not exist",
        ("--gallery", str(tiny / "tuples")): "--gallery needs the --codes",
        ("--gallery", str(tiny / "tuples"), "--codes", str(tiny / "pose_codes")): "--gallery needs the --features",
        ("--engine", "http://127.0.0.1:9"): "No vLLM server answers",
    }
    for flags, message in cases.items():
        assert mm_coach(["serve", str(export), *flags]) == 2
        assert message in capsys.readouterr().err
    assert mm_coach(["serve", str(tmp_path)]) == 2
    assert "complete" in capsys.readouterr().err
