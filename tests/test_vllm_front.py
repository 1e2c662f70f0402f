"""`mm-coach serve` with a real engine: the command, chat with it, and what it finds, against transformers."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from engine_fixtures import Served, Server, in_transformers
from test_vllm import check_expertaf

from mm_adapter.cli import main as mm_coach
from mm_adapter.inference.answering import ANSWER_TOKENS
from mm_adapter.inference.chat import ChatSession
from mm_adapter.inference.experts import ExpertGallery, ExpertSearch, ranker_of
from mm_adapter.inference.own_clip import Stretch, decode_codes, learner_codes
from mm_adapter.serving.client import CoachClient
from mm_adapter.serving.http.answerer import EngineAnswerer
from mm_adapter.serving.http.exported_coach import Export
from mm_data.features import FeatureStore
from mm_data.release.read import load_pose_file
from mm_data.tasks.coaching import ASK_COMMENTARY
from mm_data.videos.frames import read_duration
from mm_tokenizers.codes import PoseCodeStore

pytest.importorskip("vllm")


@pytest.fixture(scope="module")
def own_clip(tiny: Path, videos: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("own")
    files = {name: folder / f"{name}.mp4" for name in ("ego", "exo")}
    for path, data in zip(files.values(), videos, strict=False):
        path.write_bytes(data)
    long = (p for p in sorted((tiny / "tuples" / "poses").glob("*.npy")) if len(np.load(p, mmap_mode="r")) > 90)
    return {**files, "pose": next(long)}


@pytest.fixture(scope="module")
def address(served: Served, server: Server, tiny: Path) -> Iterator[str]:
    """The command over the running engine, with a gallery."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mm-coach", "serve", str(served.folder), "--engine", str(server.client.base_url), "--port", str(port)]
    gallery = ["--gallery", "tuples", "--codes", "pose_codes", "--features", "features"]
    key = server.client.headers["Authorization"].removeprefix("Bearer ")
    environment = {**os.environ, "VLLM_API_KEY": key, "MM_COACH_API_KEY": ""}
    process = subprocess.Popen([*command, *gallery], cwd=tiny, env=environment, stdout=subprocess.DEVNULL)
    url, deadline, ready = f"http://127.0.0.1:{port}", time.monotonic() + 120, False
    while not ready and process.poll() is None and time.monotonic() < deadline:
        try:
            ready = httpx.get(f"{url}/health").status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
    yield url
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM, "it ends in good order, and what it started with it"


def test_a_conversation_through_the_server(
    served: Served, address: str, videos: list[bytes], own_clip: dict[str, Path], tmp_path: Path
) -> None:
    """What transformers answers about a clip, the server answers about its upload; and it shows and finds experts."""
    remote = CoachClient(address)
    uploaded = {view: own_clip[view] for view in ("ego", "exo")}
    clip = remote.upload(uploaded, own_clip["pose"], 0.0, None)
    session = ChatSession(remote, remote.poses, remote, clip=clip["id"])
    poses = Stretch.of(uploaded, 0.0, None).poses_of(load_pose_file(own_clip["pose"]), "poses")
    codes, joints = learner_codes(poses, served.coach.pose_tokenizer, served.coach.model.config.pose_frames)
    np.testing.assert_allclose(np.array(clip["joints"], float), joints[..., :3], atol=1e-3)
    assert "".join(session.ask()) == in_transformers(served, codes, videos[:2], limit=ANSWER_TOKENS)
    assert session.wants_to_see("show me")
    shown = session.show()
    decoded = decode_codes(served.coach.pose_tokenizer, shown.codes)
    np.testing.assert_allclose(remote.joints(shown.codes), decoded, atol=1e-3)
    assert "".join(session.ask("And now?")), "a demonstration is part of the conversation"
    best = session.find_experts(shown)[0][0]
    remote.save_expert(best, tmp_path / "expert.mp4")
    first, stop = best.rsplit(":", 1)[1].split("-")
    assert read_duration(tmp_path / "expert.mp4") == pytest.approx((int(stop) - int(first)) / 30, abs=0.05)
    with pytest.raises(FileNotFoundError, match="No expert 'nobody'"):
        remote.save_expert("nobody", tmp_path / "nobody.mp4")


def test_chat_with_a_server(
    address: str, own_clip: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"--{name}={path}" for name, path in own_clip.items()]
    questions = ["--ask", ASK_COMMENTARY, "show me", "--save", str(tmp_path / "saved")]
    assert mm_coach(["chat", address, *asked, *questions]) == 0, capsys.readouterr().err
    names = {path.name.removeprefix("demonstration-1") for path in (tmp_path / "saved").iterdir()}
    assert names == {".png", ".mp4", ".npy", ".bvh", "-expert-1.mp4", "-expert-2.mp4", "-expert-3.mp4"}
    assert mm_coach(["chat", address, *asked, "--gallery", "x", "--ask", "?"]) == 2
    assert "the server has its own" in capsys.readouterr().err
    assert mm_coach(["chat", "http://127.0.0.1:9", *asked, "--ask", "?"]) == 2
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_the_engine_ranks_as_transformers_does(served: Served, server: Server, tiny: Path) -> None:
    """The whole search, priors included, over HTTP."""
    codes, features = PoseCodeStore.load(tiny / "pose_codes"), FeatureStore(tiny / "features")
    gallery = ExpertGallery.open(tiny / "tuples", codes, features, None, looks=True)
    engine = EngineAnswerer(
        server.engine,
        Export.open(served.folder),
        codes,
        features,
    )
    learner, remark = served.coach.test[0].learner.clip_id, "Bend the knees."
    here = ExpertSearch(gallery, ranker_of(served.asked)).search(learner, remark)
    there = ExpertSearch(gallery, ranker_of(engine)).search(learner, remark)
    assert [clip for clip, _ in here] == [clip for clip, _ in there]
    np.testing.assert_allclose([score for _, score in there], [score for _, score in here], atol=1e-3)


def test_a_server_that_runs_already_answers_items(
    served: Served,
    server: Server,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", server.client.headers["Authorization"].removeprefix("Bearer "))
    inputs = ["--features", str(tiny / "features"), "--codes", str(tiny / "pose_codes"), "--max-items", "4"]
    command = ["answer", str(served.folder), str(tiny / "tuples"), str(tmp_path), *inputs]
    assert mm_coach([*command, "--engine", str(server.client.base_url).rstrip("/")]) == 0, capsys.readouterr().err
    check_expertaf(tmp_path, served, tiny)
    assert mm_coach([*command[:3], str(tmp_path / "b"), *inputs, "--engine", "http://127.0.0.1:9"]) == 2
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_a_bad_remark_is_refused_before_and_by_the_engine(address: str, own_clip: dict[str, Path]) -> None:
    remote = CoachClient(address)
    clip = remote.upload({"exo": own_clip["exo"]}, own_clip["pose"], 0.0, None)["id"]
    for remark, message in (
        ("<|ego_video|>", "placeholders"),
        ("see <|pose_01|>", "something else"),
        ("word " * 2000, "context length"),
    ):
        with pytest.raises(ValueError, match=message):
            remote.search(clip, remark)


def test_an_engine_that_does_not_start(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "serve",
        str(served.folder),
        "--port",
        "0",
        "--log",
        str(tmp_path / "log"),
        "--vllm.no-such-flag",
        "true",
    ]
    assert mm_coach(command) == 2
    error = capsys.readouterr().err
    assert "vLLM ended with status 2" in error and "--no-such-flag" in error, "the end of its log is shown"
