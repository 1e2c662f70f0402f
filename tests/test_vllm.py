"""A coach inside vLLM, through its installed entry points and spawned workers, against transformers."""

import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import httpx
import numpy as np
import pytest
import torch
from tiny_coach import TinyCoach, perturb
from transformers import AutoTokenizer

from mm_adapter.checkpoint import PretrainedCoach
from mm_adapter.export import export_coach
from mm_adapter.inference.engine import PromptEmbeddings
from mm_adapter.inference.generation import Coach
from mm_adapter.inference.retrieval import rank_by_demonstration
from mm_adapter.internvideo2 import build_encoder, normalise
from mm_adapter.mappers import FeatureMapper
from mm_adapter.serving import plugin
from mm_data.expertaf_task import ASK_COMMENTARY, commentary_prompt
from mm_tokenizers import PoseVocabulary

pytest.importorskip("vllm")
LIMIT = 1024
ENGINE = {"dtype": "float32", "enforce_eager": True}
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


class Served(SimpleNamespace):
    """An export in layout coach, the coach it was made of, and its answers in transformers."""

    coach: TinyCoach
    asked: Coach
    folder: Path
    plain: Path


@pytest.fixture(scope="module")
def served(tiny: Path, make_tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Served:
    inputs = tmp_path_factory.mktemp("inputs")
    for part in ("tuples", "features", "pose_tokenizer", "pose_codes"):
        (inputs / part).symlink_to(tiny / part)
    tokenizer = AutoTokenizer.from_pretrained(tiny / "language_model")
    tokenizer.save_pretrained(inputs / "language_model")
    # Heads of 32: vLLM's attention on a CPU knows no smaller ones.
    llama = make_tiny.random_llama(tokenizer, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.2)
    llama.save_pretrained(inputs / "language_model")
    coach = TinyCoach(inputs)
    perturb(coach)
    opened = PretrainedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})
    out = tmp_path_factory.mktemp("served")
    export_coach(opened, out / "coach", "coach", build_encoder("tiny", None))
    export_coach(opened, out / "llama", "llama")
    asked = Coach(coach.model, coach.processor, coach.codes, coach.features)
    return Served(coach=coach, asked=asked, folder=out / "coach", plain=out / "llama")


def in_engine(script: str, *arguments: Any) -> Any:
    """Runs a script that prints JSON in a process of its own, as engines do not share one."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


ANSWERS = """
import json, sys
from pathlib import Path
from mm_adapter.inference.engine import EngineCoach
from mm_data.features import FeatureStore
from mm_data.tuple_store import read_tuples
from mm_tokenizers.codes import PoseCodeStore

if __name__ == "__main__":
    export, tiny = Path(sys.argv[1]), Path(sys.argv[2])
    tuples = read_tuples(tiny / "tuples", "test")[:4]
    codes, features = PoseCodeStore.load(tiny / "pose_codes"), FeatureStore(tiny / "features")
    coach = EngineCoach(export, codes, features, max_model_len=1024, dtype="float32", enforce_eager=True)
    learners, pool = [t.learner.clip_id for t in tuples], [t.expert.clip_id for t in tuples]
    remarks = list(coach.comment(learners, max_new_tokens=12))
    poses = [p.tolist() for p in coach.demonstrate(learners, ["Bend the knees."] * 4)]
    scores = coach.rank(learners[0], "Bend the knees.", pool).tolist()
    print(json.dumps({"remarks": remarks, "poses": poses, "scores": scores}))
"""


def test_the_engine_answers_as_transformers_does(served: Served, tiny: Path) -> None:
    found = in_engine(ANSWERS, served.folder, tiny)
    tuples = served.coach.test[:4]
    learners, pool = [t.learner.clip_id for t in tuples], [t.expert.clip_id for t in tuples]
    assert found["remarks"] == list(served.asked.comment(learners, max_new_tokens=12))
    np.testing.assert_array_equal(found["poses"], list(served.asked.demonstrate(learners, ["Bend the knees."] * 4)))  # type: ignore[arg-type]
    ours = rank_by_demonstration(served.asked, learners[0], "Bend the knees.", pool)
    torch.testing.assert_close(torch.tensor(found["scores"]).float(), ours, atol=1e-3, rtol=0)


@torch.no_grad()
def test_prompt_embeddings_are_the_coachs_own(served: Served) -> None:
    """The second route: plain Llama in the engine, everything else outside."""
    coach, clip = served.coach, served.coach.test[0].learner.clip_id
    assert coach.features is not None
    encoded = coach.processor.encode_prompt(commentary_prompt(clip), coach.codes.__getitem__, "q")
    videos = {v: torch.from_numpy(np.asarray(coach.features.get(clip, v), np.float32)) for v in ("ego", "exo")}
    found = PromptEmbeddings(served.plain, coach.model.config)(encoded.input_ids, [*videos.values()])
    ids = torch.tensor([encoded.input_ids])
    expected = coach.model.embed(ids, videos["ego"][None], videos["exo"][None])[0]
    torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-5, rtol=1e-5)


# --- the server ------------------------------------------------------------------------------------------------------


class Server:
    """vLLM's own server on a free port."""

    def __init__(self, folder: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
        flags = [
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--max-model-len",
            str(LIMIT),
            "--served-model-name",
            "coach",
        ]
        engine = ["--dtype", "float32", "--enforce-eager", "--enable-mm-embeds"]
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, *flags, *engine], env={**os.environ, **ENVIRONMENT}, stdout=file, stderr=file
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)

    def wait(self) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.client.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.5)
        raise AssertionError(self.log.read_text()[-4000:])

    def ask(self, *parts: dict[str, Any], **options: Any) -> httpx.Response:
        body = {"model": "coach", "messages": [{"role": "user", "content": [*parts]}], "temperature": 0}
        return self.client.post("/v1/chat/completions", json={"max_tokens": 12, **body, **options})

    def answer(self, *parts: dict[str, Any], **options: Any) -> str:
        reply = self.ask(*parts, **options)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def server(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(served.folder, tmp_path_factory.mktemp("server") / "log")
    try:
        made.wait()
        yield made
    finally:
        made.process.terminate()
        made.process.wait(timeout=60)


def seconds(count: int) -> bytes:
    """A black video of one frame per second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode())
    return buffer.getvalue()


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def video(data: bytes) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(data).decode()}"}}


def embeds(values: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(torch.as_tensor(values, dtype=torch.float32), buffer)
    return {"type": "video_embeds", "video_embeds": base64.b64encode(buffer.getvalue()).decode()}


@pytest.fixture(scope="module")
def videos(tiny: Path) -> list[bytes]:
    """Ego and exo video of one take, then of another."""
    folders = sorted((tiny / "miniature" / "takes").glob("*/frame_aligned_videos"))
    chosen = [f for f in folders if [*f.glob("aria*.mp4")]][:2]
    return [
        path.read_bytes() for f in chosen for path in (sorted(f.glob("aria*.mp4"))[0], sorted(f.glob("cam*.mp4"))[0])
    ]


def in_transformers(served: Served, clip: str, data: list[bytes], limit: int = 12) -> str:
    """The same question about whole videos, encoded here."""
    from mm_adapter.serving.vllm_model import frames_of_file

    encoder, _ = build_encoder("tiny", None)
    frames = [frames_of_file(np.frombuffer(one, np.uint8), encoder.config) for one in data]
    features = encoder(normalise(torch.stack(frames)), 1)["tokens"].half().numpy()
    prompt = served.asked.processor.encode_prompt(commentary_prompt(clip), served.coach.codes.__getitem__, "q")
    sample = {"sample_id": "q", "input_ids": prompt.input_ids, "labels": prompt.labels, "prompt": True}
    inputs = served.asked.inputs([sample | {"ego": features[:1], "exo": features[1:]}])
    out = served.coach.model.generate(  # type: ignore[operator]
        **inputs, max_new_tokens=limit, do_sample=False, pad_token_id=served.asked.pad_id,
        eos_token_id=served.coach.processor.end_of_turn_ids,
        bad_words_ids=[[i] for i in range(served.coach.model.config.first_pose_id, served.coach.model.config.num_predictable)],
    )  # fmt: skip
    ids = out[0, inputs["input_ids"].shape[1] :]
    return served.coach.processor.tokenizer.decode(ids, skip_special_tokens=True)  # type: ignore[return-value]


def test_videos_poses_and_caches_through_the_server(served: Served, server: Server, videos: list[bytes]) -> None:
    clip = served.coach.test[0].learner.clip_id
    poses = text(served.coach.processor._poses(served.coach.codes[clip]))
    question = text(ASK_COMMENTARY)
    first, swapped, other = videos[:2], videos[1::-1], videos[2:]
    words = {"vllm_xargs": {"coach_answer": "words"}}
    expected = {tuple(map(hash, data)): in_transformers(served, clip, data) for data in (first, swapped, other)}
    assert len(set(expected.values())) == 3, "this coach listens to its videos"
    for data in (first, swapped, other, first, swapped):  # the second time from vLLM's caches
        answer = server.answer(poses, *map(video, data), question, **words)
        assert answer.rstrip("�") == expected[tuple(map(hash, data))].rstrip("�"), "but for a cut character"
    shape = served.coach.model.config.video_tokens, served.coach.model.config.video_width
    zeros, ones = torch.zeros(shape), torch.linspace(-1, 1, shape[1]).expand(shape)
    equal_ids = [
        server.answer(poses, embeds(a), embeds(b), question, **words) for a, b in ((zeros, ones), (ones, zeros))
    ]
    assert equal_ids[0] != equal_ids[1], "prompts of equal ids with other media share nothing"
    shown = server.answer(poses, *map(video, first), text("Show me how it should look."), max_tokens=200, vllm_xargs={"coach_answer": "poses"})  # fmt: skip
    vocabulary: PoseVocabulary = served.coach.processor.vocabulary
    ids = served.coach.processor.tokenizer.encode(shown, add_special_tokens=False)
    assert vocabulary.parse(ids).shape == (vocabulary.frames, vocabulary.tokens_per_frame)


def test_bad_media_get_a_sentence_and_the_server_lives(served: Served, server: Server, videos: list[bytes]) -> None:
    shape = served.coach.model.config.video_tokens, served.coach.model.config.video_width
    good, question = video(videos[0]), text(ASK_COMMENTARY)
    features = torch.zeros(shape)
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([video(b"not a video"), good], "The video: cannot be opened"),
        ([video(videos[0][: len(videos[0]) // 3]), good], "The video: cannot be"),
        ([video(seconds(61)), good], "61.0 s long; at most 9,437,184 pixels and 60 s"),
        ([video(b"ffconcat version 1.0\nfile 'other.mp4'\n"), good], "The video: cannot be opened"),
        ([good] * 10, "At most 8 video"),
        ([good], "1 videos; this coach's clips have 2 each: ego and exo"),
        ([embeds(torch.zeros(shape[0] + 1, shape[1])), embeds(torch.zeros(shape[0] + 1, shape[1]))], "Video features have shape"),
        ([embeds(torch.full(shape, torch.nan)), embeds(features)], "not finite"),
    ]  # fmt: skip
    for parts, message in cases:
        reply = server.ask(*parts, question)
        assert reply.status_code == 400 and message in reply.text, reply.text
        assert "/tmp" not in reply.text
    reply = server.ask(question, vllm_xargs={"coach_answer": "songs"})
    assert reply.status_code == 400 and "Unknown answer 'songs'" in reply.text
    server.answer(good, video(videos[1]), question)


def test_concurrent_requests_complete(served: Served, server: Server, videos: list[bytes]) -> None:
    async def many() -> list[int]:
        async with httpx.AsyncClient(base_url=server.client.base_url, timeout=120) as client:
            content = [video(videos[0]), video(videos[1]), text(ASK_COMMENTARY)]
            body = {"model": "coach", "messages": [{"role": "user", "content": content}], "max_tokens": 8}
            replies = await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(32)))
        return [reply.status_code for reply in replies]

    assert asyncio.run(many()) == [200] * 32


def test_pooled_features_are_one_token_per_view() -> None:
    from mm_adapter.serving.vllm_model import ServedCoach

    mappers = torch.nn.ModuleDict({view: FeatureMapper(32, 16) for view in ("ego", "exo")})
    config = SimpleNamespace(video_tokens=1, video_width=32, views=["ego", "exo"])
    pooled = torch.randn(2, 32)
    stand_in: Any = SimpleNamespace(
        encoder=lambda frames, grid: {"pooled": pooled},
        read={"output": "pooled", "grid": 1},
        config=config,
        mappers=mappers,
    )
    frames = torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8)
    embedded = ServedCoach.embed_multimodal(stand_in, frames=frames, view=torch.tensor([0, 1]))
    for view, one, features in zip(config.views, embedded, pooled, strict=True):
        assert one.shape == (1, 16)
        torch.testing.assert_close(one, mappers[view](features.half().float()[None, None])[0])


# --- versions and hashes ---------------------------------------------------------------------------------------------


def test_other_versions_of_vllm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.check_vllm_version()
    monkeypatch.setattr(plugin, "version", lambda name: "0.47.1")
    with pytest.raises(RuntimeError, match=r"vLLM 0\.47\.1 is installed; coaches are served by 0\.32\.\*"):
        plugin.check_vllm_version()


def test_registering_twice_is_harmless() -> None:
    plugin.register()
    plugin.register()
    from vllm import ModelRegistry

    assert "MMCoachForConditionalGeneration" in ModelRegistry.get_supported_archs()
