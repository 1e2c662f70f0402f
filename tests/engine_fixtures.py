"""A tiny coach, exported, and vLLM's server with it: started once for all tests that ask it."""

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from tiny_coach import TinyCoach, perturb
from transformers import AutoTokenizer

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.export.write import export_coach
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.features.preprocessing import normalise
from mm_adapter.inference.coach import Coach
from mm_adapter.serving.http.engine import MODEL, RunningEngine
from mm_data.tasks.coaching import commentary_prompt

LIMIT = 1024
ENGINE = {"dtype": "float32", "enforce_eager": True}


class Served(SimpleNamespace):
    """An export in layout coach, the coach it was made of, and its answers in transformers."""

    coach: TinyCoach
    asked: Coach
    folder: Path
    plain: Path


@pytest.fixture(scope="session")
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
    opened = SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})
    out = tmp_path_factory.mktemp("served")
    export_coach(opened, out / "coach", "coach", build_encoder("tiny", None))
    export_coach(opened, out / "llama", "llama")
    asked = Coach(coach.model, coach.processor, coach.codes, coach.features)
    return Served(coach=coach, asked=asked, folder=out / "coach", plain=out / "llama")


class Server:
    """vLLM's own server, as `mm-coach serve` starts it."""

    def __init__(self, engine: RunningEngine) -> None:
        self.engine, self.client = engine, engine.blocking

    def ask(self, *parts: dict[str, Any], **options: Any) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": [*parts]}], "temperature": 0}
        return self.client.post("/v1/chat/completions", json={"max_tokens": 12, **body, **options})

    def answer(self, *parts: dict[str, Any], **options: Any) -> str:
        reply = self.ask(*parts, **options)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="session")
def server(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ["--max-model-len", str(LIMIT), "--dtype", "float32", "--enforce-eager"]
    log = tmp_path_factory.mktemp("server") / "log"
    with RunningEngine(served.folder, flags, log) as engine:
        deadline = time.monotonic() + 480
        while not engine.ready():
            engine.check()
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
        yield Server(engine)


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def video(data: bytes) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(data).decode()}"}}


def embeds(values: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(torch.as_tensor(values, dtype=torch.float32), buffer)
    return {"type": "video_embeds", "video_embeds": base64.b64encode(buffer.getvalue()).decode()}


@pytest.fixture(scope="session")
def videos(tiny: Path) -> list[bytes]:
    """Ego and exo video of one take, then of another."""
    folders = sorted((tiny / "miniature" / "takes").glob("*/frame_aligned_videos"))
    chosen = [f for f in folders if [*f.glob("aria*.mp4")]][:2]
    return [
        path.read_bytes() for f in chosen for path in (sorted(f.glob("aria*.mp4"))[0], sorted(f.glob("cam*.mp4"))[0])
    ]


def in_transformers(served: Served, codes: np.ndarray, data: list[bytes], limit: int = 12) -> str:
    """The same question about whole videos, encoded here."""
    from mm_adapter.serving.vllm.model import frames_of_file

    encoder, _ = build_encoder("tiny", None)
    frames = [frames_of_file(np.frombuffer(one, np.uint8), encoder.config) for one in data]
    features = encoder(normalise(torch.stack(frames), encoder.config), 1)["tokens"].half().numpy()
    prompt = served.asked.processor.encode_prompt(commentary_prompt("q"), lambda _: codes, "q")
    sample = {"sample_id": "q", "input_ids": prompt.input_ids, "labels": prompt.labels, "prompt": True}
    inputs = served.asked.inputs([sample | {"ego": features[:1], "exo": features[1:]}])
    out = served.coach.model.generate(  # type: ignore[operator]
        **inputs, max_new_tokens=limit, do_sample=False, pad_token_id=served.asked.pad_id,
        eos_token_id=[served.coach.processor.end_of_turn_id],
        bad_words_ids=[[i] for i in range(served.coach.model.config.first_pose_id, served.coach.model.config.num_predictable)],
    )  # fmt: skip
    ids = out[0, inputs["input_ids"].shape[1] :]
    return served.coach.processor.tokenizer.decode(ids, skip_special_tokens=True)  # type: ignore[return-value]
