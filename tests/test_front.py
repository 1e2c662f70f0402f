"""The front before the engine is asked: who may ask, what is refused, what becomes of uploads."""

import asyncio
import base64
import json
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from front_fixtures import MEGABYTES, Scripted, archive, array, client_of, error_of, video
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from mm_adapter.cli import main as mm_coach
from mm_adapter.serving.http.app import Front, Limits, front_app
from mm_adapter.serving.http.clips import BusyError, ClipShelf, ClipWorkers, LimitError, Upload
from mm_adapter.serving.http.engine import Engine
from mm_adapter.serving.http.passing import pass_on
from mm_adapter.serving.http.preparation import PreparedClip


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
        reply = client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200
        if content is inline:
            assert "No ego video" in reply.headers["Coach-Notes"], "what stands in for what is said here too"
    assert engine.asked[0] == engine.asked[1]
    tokens, *videos, text = engine.asked[0]["messages"][0]["content"]
    kept = front.shelf.get(clip)
    assert kept is not None and kept.codes is not None
    assert tokens["text"] == front.coach.processor.pose_text(kept.codes) and text == question
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
        (
            {"exo": b"not a video"},
            {},
            "The exo video: cannot be opened: it is damaged or no video. Download it again, or export it again as an mp4.",
        ),
        (
            {"exo": b""},
            {},
            "The exo video: cannot be opened: it is damaged or no video. Download it again, or export it again as an mp4.",
        ),
        (
            {"exo": "CUT"},
            {},
            "The exo video: cannot be opened: it is damaged or no video. Download it again, or export it again as an mp4.",
        ),
        ({"exo": b"ffconcat version 1.0\nfile '/etc/passwd'\n"}, {}, "The exo video: cannot be opened"),
        ({"exo": b"\x89PNG\r\n\x1a\n" + bytes(50)}, {}, "The exo video: cannot be opened: it is damaged or no video"),
        ({"exo": "HOURS"}, {}, "7200 s are more than 60 s"),
        ({"exo": "WIDE"}, {}, "16000 × 16 pixels; at most"),
        ({"exo": "GOOD"}, {}, "needs poses and the server finds none"),
        ({"exo": "GOOD"}, {"start": "nan"}, "start is 'nan'"),
        ({"exo": "GOOD"}, {"start": "900"}, "no part of the videos (exo 2.00 s)"),
        ({"exo": "GOOD", "pose": "NAN"}, {}, "The poses: frame 0, joint 0 is visible but not finite"),
        ({"exo": "GOOD", "pose": "SHAPE"}, {}, "The poses: shape (60, 16, 3)"),
        ({"exo": "GOOD", "pose": "SHORT"}, {}, "The pose file has 3 frames"),
        ({"exo": "GOOD", "pose": "LONG"}, {}, "has 120 frames, 4.0 s at 30 fps, but the video is 2.0 s long"),
        ({"exo": "GOOD", "pose": "FAR"}, {}, "frame 7, joint 3 is 1e+30 m from the origin"),
        ({"exo": "GOOD", "pose": "COMPLEX"}, {}, "The poses: holds values of type complex128"),
        ({"exo": "GOOD", "pose": "OBJECTS"}, {}, "The poses: holds Python objects"),
        ({"exo": "GOOD", "pose": b"[1, 2"}, {}, "The poses: not valid JSON"),
        ({"exo": "GOOD", "pose": "MILLIMETRES"}, {}, "The poses: legs are"),
        ({"exo": "GOOD", "pose": "Y_UP"}, {}, "so z is not up"),
        ({"exo": "GOOD", "pose": "ZEROS"}, {}, "The poses: every joint of every frame is at (0, 0, 0)"),
        ({"exo": "GOOD", "pose": "TWO"}, {}, "The poses: holds 2 arrays"),
        ({"exo": "GOOD", "pose": b"x,y,z"}, {}, "The poses: this is no pose file"),
        ({"exo": "GOOD"}, {"start": "1", "stop": "1.01"}, "less than a frame"),
        ({"pose": "SHORT"}, {}, "Give the learner's video"),
        ({"exo": "GOOD", "song": b"la"}, {}, "Unknown or repeated 'song'"),
        ({"exo": "HUGE"}, {}, "at most 1,000,000 are taken"),
    ],
)
def test_bad_uploads_get_a_sentence_and_the_server_lives(
    client: TestClient, files: dict[str, Any], fields: dict[str, str], message: str, poses: np.ndarray
) -> None:
    nan = np.full((60, 17, 4), np.nan)
    nan[..., 3] = 1
    far = np.zeros((60, 17, 3))
    far[7, 3] = 1e30
    made = {
        "GOOD": video,
        "CUT": lambda: video()[:500],
        "HOURS": lambda: video(16, 16, 7200),
        "WIDE": lambda: video(16000, 16),
        "HUGE": lambda: bytes(2 * 10**6),
        "NAN": lambda: array(nan),
        "SHAPE": lambda: array(np.zeros((60, 16, 3))),
        "LONG": lambda: array(np.concatenate([poses, poses])),
        "MILLIMETRES": lambda: array(poses[..., :3] * 1000),
        "Y_UP": lambda: array(poses[..., [0, 2, 1]]),
        "ZEROS": lambda: array(np.zeros((60, 17, 3))),
        "TWO": lambda: archive(a=poses, b=poses),
        "FAR": lambda: array(far),
        "COMPLEX": lambda: array(np.zeros((60, 17, 3), complex)),
        "SHORT": lambda: array(poses[30:33]),
        "OBJECTS": lambda: array(np.array([{"a": 1}], dtype=object)),
    }
    sent = {name: (name, made[what]() if isinstance(what, str) else what) for name, what in files.items()}
    assert message in error_of(client.post("/v1/clips", files=sent, data=fields))
    assert client.get("/health").status_code == 200


def test_poses_may_come_as_npz_and_lack_joints(client: TestClient, poses: np.ndarray) -> None:
    lacking, shown = poses.copy(), int((poses[:, 9, 3] > 0).sum())
    lacking[:, 9, :3] = 0.0
    whole = client.post("/v1/clips", files={"exo": ("exo", video()), "pose": ("a.npy", array(poses))}).json()
    packed = client.post("/v1/clips", files={"exo": ("exo", video()), "pose": ("a.npz", archive(a=poses))}).json()
    less = client.post("/v1/clips", files={"exo": ("exo", video()), "pose": ("a.npy", array(lacking))}).json()
    assert packed["joints"] == whole["joints"]
    assert (
        f"{shown} joints at (0, 0, 0), taken as absent." in less["notes"]
        and less["joints"][0][9] != whole["joints"][0][9]
    )


def test_file_names_are_no_paths(client: TestClient) -> None:
    reply = client.post("/v1/clips", files={"exo": ("../../etc/passwd", video())})
    assert "'../../etc/passwd' holds a path" in error_of(reply)


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


def test_questions_give_their_place_back(front: Front, engine: Scripted) -> None:
    """Whether they are answered, streamed, refused by the engine or given up."""
    front.limits = Limits(MEGABYTES, requests=1)
    client = client_of(front)
    body = {"messages": [{"role": "user", "content": "x"}]}
    for further in ({}, {"stream": True}, {}):
        reply = client.post("/v1/chat/completions", json=body | further)
        assert reply.status_code == 200 and "Bend the knees." in reply.text
    answer = engine.answer
    engine.says = {}
    with pytest.raises(KeyError):
        answer(httpx.Request("POST", "http://engine/", json=body))
    assert client.post("/v1/chat/completions", json=body).status_code == 500
    engine.says = {"words": "Look up."}
    assert "Look up." in client.post("/v1/chat/completions", json=body).text


def test_a_question_ends_with_its_client() -> None:
    """Nobody waits for an answer that nobody reads."""

    class Gone:
        async def is_disconnected(self) -> bool:
            return True

    async def ask() -> None:
        begun, given_up = asyncio.Event(), asyncio.Event()

        async def endless(request: httpx.Request) -> httpx.Response:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                given_up.set()
            raise AssertionError

        engine = Engine("http://engine")
        engine.client = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(endless))
        gone: Any = Gone()
        with ExitStack() as slot, pytest.raises(HTTPException) as left:
            await pass_on(engine, {}, gone, slot)
        await asyncio.wait_for(given_up.wait(), 5)
        assert left.value.status_code == 499 and begun.is_set()

    asyncio.run(ask())


def test_large_bodies_of_many_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mm_adapter.serving.http.guard._BODIES_AT_ONCE", 0.5)
    files = {"exo": ("a.mp4", bytes(600_000))}
    reply = client.post("/v1/clips", files=files)
    assert reply.status_code == 429 and "Others are sending" in error_of(reply)
    assert client.post("/v1/clips", files={"exo": ("a.mp4", b"x")}).status_code == 400, "what was held is let go"


def test_an_engine_that_does_not_answer(front: Front, engine: Scripted) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    engine.client = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(gone))
    reply = client_of(front).post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]})
    assert reply.status_code == 503 and "engine does not answer" in reply.json()["error"]["message"]


def test_an_engine_that_fails_or_dies_in_the_middle(front: Front, engine: Scripted) -> None:
    class Dying(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'data: {"choices": [{"delta": {"content": "Bend"}}]}\n\ndata: {"cho'
            raise httpx.RemoteProtocolError("peer closed connection")

    def answer(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content).get("stream"):
            return httpx.Response(200, stream=Dying())
        return httpx.Response(500, text="Internal Server Error")

    engine.client = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(answer))
    asked = {"messages": [{"role": "user", "content": "x"}]}
    failed = client_of(front).post("/v1/chat/completions", json=asked)
    assert (failed.status_code, failed.json()["error"]["type"]) == (502, "server_error")
    assert failed.json()["error"]["message"] == "The engine failed (status 500); look at its log."
    events = client_of(front).post("/v1/chat/completions", json={**asked, "stream": True}).text.split("\n\n")
    assert "Bend" in events[0]
    last = json.loads(events[1].strip().removeprefix("data: "))
    assert last["error"]["message"] == "The engine does not answer; look at its log." and events[2:] == [""]


def sleep_for(seconds: float) -> None:
    time.sleep(seconds)


def take_memory(gib: int) -> int:
    return len(bytearray(gib * 2**30))


def test_workers_have_limits(workers: ClipWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, memory and the number of those who wait; a process that was ended is replaced."""
    monkeypatch.setattr(workers, "seconds", 1.0)

    async def all_of_it() -> None:
        with pytest.raises(LimitError, match="more than 4 GiB"):
            await workers.run(take_memory, 6)
        endless = asyncio.ensure_future(workers.run(sleep_for, 30.0))
        waiting = asyncio.ensure_future(workers.run(take_memory, 0))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 clips are being prepared; at most 2"):
            await workers.run(sleep_for, 0.0)
        with pytest.raises(LimitError, match="more than 1 s"):
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
        ("--codes", str(tiny / "pose_codes")): "--codes belongs to a --gallery",
        ("--max-requests", "0"): "--max-requests is 0",
        ("--gallery", str(tiny / "tuples")): "--gallery needs the --codes",
        ("--gallery", str(tiny / "tuples"), "--codes", str(tiny / "pose_codes")): "--gallery needs the --features",
        ("--engine", "http://127.0.0.1:9"): "No vLLM server answers",
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert mm_coach(["serve", str(export), "--port", str(taken.getsockname()[1])]) == 2
        assert "choose another --port" in capsys.readouterr().err
    for flags, message in cases.items():
        assert mm_coach(["serve", str(export), *flags]) == 2
        assert message in capsys.readouterr().err
    assert mm_coach(["serve", str(tmp_path)]) == 2
    assert "complete" in capsys.readouterr().err


WATCH_PROGRESS = """
window.told = [];
const box = document.querySelector("#progress");
new MutationObserver(() => box.hidden || window.told.push(box.innerText)).observe(box, { attributes: true });
"""


def in_view(page: Any, selector: str) -> bool:
    """Whether an element is on the screen as it is scrolled now."""
    inside = "e => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= window.innerHeight + 1; }"
    return page.eval_on_selector(selector, inside)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium (apt-get install chromium)")
def test_the_page_in_a_browser(front: Front, engine: Scripted, poses: np.ndarray, tmp_path: Path) -> None:
    """Send a clip, ask, see the correction; then another clip begins anew."""
    from playwright.sync_api import sync_playwright

    vocabulary = front.coach.config
    codes = np.zeros((vocabulary.pose_frames, vocabulary.pose_tokens_per_frame), np.int64)
    engine.says["poses"] = front.coach.processor.pose_text(codes)
    (tmp_path / "mine.mp4").write_bytes(video())
    np.save(tmp_path / "mine.npy", poses)
    server = uvicorn.Server(uvicorn.Config(front_app(front, "127.0.0.1", "secret"), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 700})
        page.set_default_timeout(120_000)  # the first clip waits for its worker to load
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/")
        page.fill("#key [name=key]", "secret")
        page.keyboard.press("Enter")
        page.wait_for_selector("main:not([hidden])")
        page.click("#send")
        page.wait_for_selector("#error:not([hidden])")
        assert "Choose a video" in page.inner_text("#error") and in_view(page, "#error")
        (tmp_path / "damaged.mp4").write_bytes(video()[:500])
        page.set_input_files("#clip [name=exo]", tmp_path / "damaged.mp4")
        page.evaluate(WATCH_PROGRESS)
        page.click("#send")
        page.wait_for_selector("#error:not([hidden])")
        assert "reading the clip" in page.evaluate("window.told[0]")
        assert page.inner_text("#error").startswith("The exo video: cannot be opened: it is damaged or no video")
        assert in_view(page, "#error") and page.is_hidden("#progress")
        page.set_input_files("#clip [name=exo]", tmp_path / "mine.mp4")
        page.set_input_files("#clip [name=pose]", tmp_path / "mine.npy")
        page.click("#send")
        page.wait_for_selector("#talk:not([hidden])")
        assert page.locator("#strips img").count() == 4 and "No ego video" in page.inner_text("#notes")
        page.click("#show")
        page.wait_for_selector("#error:not([hidden])")
        assert "Ask what to improve first" in page.inner_text("#error") and in_view(page, "#error")
        assert page.evaluate("document.querySelector('#error').previousElementSibling.id") == "ask"
        page.click("#ask button:not([type])")
        page.wait_for_selector(".assistant:not(.waiting)")
        assert page.inner_text(".assistant") == "Bend the knees." and page.is_hidden("#error")
        page.wait_for_function("document.activeElement.name === 'question'")
        assert in_view(page, "#ask [name=question]")
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing is wider than a phone"
        page.click("#show")
        page.wait_for_selector("#shown:not([hidden])")
        drawn = (
            "[...document.querySelector('#corrected').getContext('2d').getImageData(0, 0, 360, 300).data].some(Boolean)"
        )
        assert page.evaluate(drawn), "the correction is drawn"
        page.click("#send")
        page.wait_for_selector("#shown", state="hidden")
        assert page.locator("#messages li").count() == 0 and not errors
        browser.close()
    server.should_exit = True
    thread.join()
    roles = [message["role"] for message in engine.asked[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"], "the conversation goes along"
