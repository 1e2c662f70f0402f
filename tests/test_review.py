"""The review page: what its server refuses, and the page itself in a real browser."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from tiny_coach import launch

from mm_data.tuples.review.decisions import Decision, content_key, read_decisions, record_decision
from mm_data.tuples.review.server import review_app
from mm_data.tuples.store import read_tuples

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def decisions(tmp_path: Path) -> Path:
    return tmp_path / "review.jsonl"


@pytest.fixture
def client(tiny: Path, decisions: Path) -> TestClient:
    return TestClient(review_app(tiny / "tuples", decisions), base_url="http://127.0.0.1")


def body(tiny: Path, number: int = 0, **changes: Any) -> dict[str, Any]:
    item = read_tuples(tiny / "tuples", "test")[number]
    return {"tuple_id": item.tuple_id, "content": content_key(item), "verdict": "accept", "reviewer": "ada", **changes}


def test_decisions_are_stored_and_shown(client: TestClient, decisions: Path, tiny: Path) -> None:
    overview = client.get("/api/tuples").json()
    assert overview["synthetic"] and not overview["decisions"]
    assert len(overview["tuples"]) == len(read_tuples(tiny / "tuples", "test"))
    sent = body(tiny)
    assert client.post("/api/decisions", json=sent).json()[sent["tuple_id"]][0]["verdict"] == "accept"
    other = read_tuples(tiny / "tuples", "test")[1]
    record_decision(decisions, Decision(other.tuple_id, content_key(other), "reject", "bob", time.time()))
    assert client.get("/api/decisions").json()[other.tuple_id][0]["reviewer"] == "bob", "somebody else's process"
    details = client.get("/api/tuples/0").json()
    frames = details["learner"]["stop"] - details["learner"]["start"]
    assert [len(details["poses"][side]) for side in ("learner", "expert")] == [frames, frames]
    assert len(details["poses"]["learner"][0]) == 17


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"verdict": "maybe"}, 422, "choose from accept"),
        ({"verdict": "fix"}, 422, "has to change"),
        ({"verdict": "fix", "regions": ["tail"]}, 422, "choose at least one"),
        ({"verdict": "fix", "expert_start": 999999}, 422, "cannot start at 999999"),
        ({"at": 1, "cmd": "rm"}, 422, "unexpected keyword"),
        ({"reviewer": {"x": 1}}, 422, "reviewer is"),
        ({"content": "0"}, 409, "reload the page"),
        ({"tuple_id": "nobody"}, 409, "reload the page"),
        ({"reviewer": "a" * 30_000}, 413, "20000 bytes"),
    ],
)
def test_bad_decisions_are_refused_and_nothing_is_written(
    client: TestClient, decisions: Path, tiny: Path, changes: dict, status: int, message: str
) -> None:
    answer = client.post("/api/decisions", json=body(tiny, **changes))
    assert answer.status_code == status and message in answer.json()["error"]
    assert not decisions.exists()


def test_a_spoilt_decisions_file_is_explained(client: TestClient, decisions: Path) -> None:
    decisions.write_text('{"tuple_id": "t"}\n')
    answer = client.get("/api/tuples")
    assert answer.status_code == 500 and "record 1: not a decision" in answer.json()["error"]


def test_other_hosts_and_forms_are_refused(client: TestClient, decisions: Path, tiny: Path) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400, "DNS rebinding"
    form = {"Content-Type": "text/plain"}
    assert client.post("/api/decisions", content=json.dumps(body(tiny)), headers=form).status_code == 415
    assert not decisions.exists()
    assert client.get("/").headers["content-security-policy"] == "default-src 'self'"


def test_videos_seek_and_stay_inside_the_folder(client: TestClient, tiny: Path, tmp_path: Path) -> None:
    part = client.get("/videos/0/learner/exo.mp4", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and len(part.content) == 100
    assert client.get("/videos/9999/learner/exo.mp4").status_code == 404
    copied = tmp_path / "tuples"
    shutil.copytree(tiny / "tuples", copied)
    manifest = json.loads((copied / "items.json").read_text())
    manifest["source"] = str(tmp_path)
    (copied / "items.json").write_text(json.dumps(manifest))
    elsewhere = TestClient(review_app(copied, tmp_path / "r.jsonl"), base_url="http://127.0.0.1")
    missing = elsewhere.get("/videos/0/learner/exo.mp4")
    assert missing.status_code == 404 and "not downloaded" in missing.json()["error"]
    takes = tmp_path / "takes"
    takes.symlink_to(tiny / "miniature" / "takes")  # a link that leads out of the data set's folder
    assert elsewhere.get("/videos/0/learner/exo.mp4").status_code == 404


@contextmanager
def served(folder: Path, decisions: Path) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(review_app(folder, decisions), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
def test_page_in_a_browser(tiny: Path, decisions: Path) -> None:
    from playwright.sync_api import sync_playwright

    tuples = read_tuples(tiny / "tuples", "test")
    with served(tiny / "tuples", decisions) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))

        def until(expression: str) -> None:
            deadline = time.monotonic() + 20
            while not page.evaluate(expression):
                assert time.monotonic() < deadline, expression
                page.wait_for_timeout(20)

        page.goto(url)
        until("[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)")
        assert page.inner_text("#summary") == tuples[0].summary

        page.keyboard.press(" ")
        until("Number(document.querySelector('#seek').value) >= 10")
        times = page.evaluate("[...document.querySelectorAll('video')].map((v) => v.currentTime)")
        apart = (times[0] - tuples[0].learner.start / 30) - (times[1] - tuples[0].expert.start / 30)
        assert abs(apart) < 0.3, "the clips play in step"
        page.keyboard.press(" ")
        page.evaluate("s = document.querySelector('#seek'); s.value = 30; s.dispatchEvent(new Event('input'))")
        wanted = [tuples[0].learner.start / 30 + 1, tuples[0].expert.start / 30 + 1]
        until(
            f"[...document.querySelectorAll('video')].every((v, i) => Math.abs(v.currentTime - {wanted}[i]) < 0.02 && !v.seeking)"
        )
        page.keyboard.press("ArrowRight")
        until("document.querySelector('#frame').textContent.startsWith('frame 32 ')")

        page.keyboard.press("a")
        until("!document.querySelector('#error').hidden")
        assert "who you are" in page.inner_text("#error") and not decisions.exists()
        page.fill("#reviewer", "ada")
        page.keyboard.press("Enter")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("a")
        until("state.number === 1")
        page.keyboard.press("r")
        until("state.number === 2")
        page.keyboard.press("f")
        page.fill("textarea", "Say it <b>better</b>.")
        before = page.is_checked("[value=head]")
        page.focus("[value=head]")
        page.keyboard.press(" ")
        page.keyboard.press("r")  # a slip in the form decides nothing
        assert page.is_checked("[value=head]") is not before and page.is_visible("#fix")
        page.keyboard.press("Control+Enter")
        until("state.number === 3")

        page.reload()
        until("document.querySelector('#progress').textContent.startsWith('3 decided')")
        assert page.input_value("#reviewer") == "ada"
        item = tuples[3]
        record_decision(decisions, Decision(item.tuple_id, content_key(item), "reject", "bob", time.time()))
        until("document.querySelector('#decisions').textContent === 'bob: reject'")
        browser.close()
    assert not errors
    standing = read_decisions(decisions)
    verdicts = [standing[t.tuple_id][0].verdict for t in tuples[:3]]
    assert verdicts == ["accept", "reject", "fix"]
    assert standing[tuples[2].tuple_id][0].summary == "Say it <b>better</b>."


def test_the_command_needs_a_finished_folder(tmp_path: Path) -> None:
    done = launch("mm-coach", "data", "review", str(tmp_path), check=False)
    assert done.returncode == 2 and "holds no finished items" in done.stderr
