"""A coach inside vLLM, through its installed entry point and spawned workers, against transformers."""

import asyncio
import io
import json
import os
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import av
import httpx
import numpy as np
import pytest
import torch
from engine_fixtures import LIMIT, Served, Server, embeds, in_transformers, text, video
from tiny_coach import TinyCoach, launch, perturb

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.evaluation.coach_system import RECORDS, SHARED
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.export.read import ARCHITECTURE
from mm_adapter.export.write import export_coach
from mm_adapter.features.internvideo2 import PRESETS
from mm_adapter.inference.asking import hold
from mm_adapter.inference.coach import Coach
from mm_adapter.model.mappers import FeatureMapper
from mm_adapter.serving.http.engine import MODEL
from mm_adapter.serving.vllm import plugin
from mm_adapter.serving.vllm.offline import PromptEmbeddings
from mm_data.ground.shared_records import SharedRecords
from mm_data.tasks.coaching import ASK_COMMENTARY, commentary_prompt
from mm_eval.answers.test_sets import read_answers
from mm_tokenizers import PoseCodeStore, PoseVocabulary

pytest.importorskip("vllm")


VLLM = ["--vllm.enforce-eager", "true", "--vllm.dtype", "float32", "--vllm.max-model-len", str(LIMIT)]


def test_expertaf_is_answered_as_transformers_does(served: Served, tiny: Path, tmp_path: Path) -> None:
    """Remark, ranking with its priors, and poses, through the command that starts vLLM."""
    inputs = ["--features", str(tiny / "features"), "--codes", str(tiny / "pose_codes"), "--max-items", "4"]
    launch("mm-coach", "answer", str(served.folder), str(tiny / "tuples"), str(tmp_path), *inputs, *VLLM, fresh=True)
    check_expertaf(tmp_path, served, tiny)


def check_expertaf(out: Path, served: Served, tiny: Path) -> None:
    """The records of four items are those of the same coach in transformers."""
    test = ItemSet.open(tiny / "tuples", None, 4)
    form, _ = test.form({})
    ours = hold({item.item_id: form.questions(item) for item in test.test}, served.asked)
    theirs = SharedRecords(out, RECORDS).read()
    assert len(ours) == 4 and theirs.keys() == ours.keys()
    for name, record in ours.items():
        other = theirs[name]
        assert (other["text"], other["poses"]) == (record["text"], record["poses"]) and other["poses"]
        assert other["scores"] == pytest.approx(record["scores"], abs=1e-3)
    prompts = SharedRecords(out, SHARED).read()
    here = hold(form.shared_questions(test.training), served.asked)
    assert prompts.keys() == here.keys()
    for name, record in here.items():
        assert prompts[name]["scores"] == pytest.approx(record["scores"], abs=1e-3)


@pytest.fixture(scope="module")
def blind(served: Served, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Coach, Path]:
    """A coach that sees poses alone, and its export in its own layout, whose configuration names views all the same."""
    coach = TinyCoach(served.coach.folder, video=False)
    perturb(coach)
    opened = SavedCoach(
        coach.model.eval(), coach.processor, coach.pose_tokenizer, {"tasks": {"nae": {"score_intervals": 2}}}
    )
    folder = tmp_path_factory.mktemp("blind") / "export"
    export_coach(opened, folder, "coach")
    return Coach(coach.model, coach.processor, coach.codes, None), folder


@pytest.mark.parametrize("task", ["nae", "cot-afa", "desccoach"])
def test_every_task_is_answered_as_transformers_does(
    task: str, blind: tuple[Coach, Path], tiny: Path, tmp_path: Path
) -> None:
    """Words, the class that is chosen first, confidence and expected score, through the commands; killed and run again, nothing is asked twice."""
    asked, export = blind
    items = tmp_path / "items"
    for command in (
        ["miniature", tmp_path / "release", "--task", task, "--takes", "32", "--workers", "1", "--no-videos"],
        ["task", "read", task, tmp_path / "release", items, *(["--poses", tmp_path / "release" / "poses"] if task != "desccoach" else [])],
        ["tokenizer", "encode", items, tiny / "pose_tokenizer" / "tokenizer", items / "pose_codes", "--frames", "3"],
    ):  # fmt: skip
        assert mm_coach([str(part) for part in command]) == 0
    flags = ["--max-items", "3", *VLLM]
    launch("mm-coach", "answer", str(export), str(items), str(tmp_path / "out"), *flags, fresh=True)
    test = ItemSet.open(items, None, 3)
    codes = PoseCodeStore.load(items / "pose_codes")
    here = Coach(asked.model, asked.processor, codes, None)
    form, _ = test.form({"score_intervals": 2} if task == "nae" else {})
    ours = hold({item.item_id: form.questions(item) for item in test.test}, here)
    theirs = SharedRecords(tmp_path / "out", RECORDS).read()
    for name, record in ours.items():
        other = theirs[name]
        assert other["text"] == record["text"]
        assert other["confidence"] == pytest.approx(record["confidence"], abs=1e-3)
        assert other["expected"] == pytest.approx(record["expected"], abs=1e-2)
        assert other.get("ranking") == pytest.approx(record.get("ranking"), abs=1e-2)
    assert (task == "cot-afa") == ("ranking" in next(iter(theirs.values())))
    (answered,) = {len(read_answers(tmp_path / "out")), len(ours)}
    assert answered == 3 and "backend" in json.loads((tmp_path / "out" / "run_config.json").read_text())["system"]


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


def test_videos_poses_and_caches_through_the_server(served: Served, server: Server, videos: list[bytes]) -> None:
    clip = served.coach.test[0].learner.clip_id
    poses = text(served.coach.processor.pose_text(served.coach.codes[clip]))
    question = text(ASK_COMMENTARY)
    first, swapped, other = videos[:2], videos[1::-1], videos[2:]
    words = {"vllm_xargs": {"coach_answer": "words"}}
    expected = {
        tuple(map(hash, data)): in_transformers(served, served.coach.codes[clip], data)
        for data in (first, swapped, other)
    }
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
        ([video(seconds(61)), good], "61.0 s long; at most 60 s"),
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
        async with httpx.AsyncClient(
            base_url=server.client.base_url, headers=server.client.headers, timeout=120
        ) as client:
            content = [video(videos[0]), video(videos[1]), text(ASK_COMMENTARY)]
            body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 8}
            replies = await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(32)))
        return [reply.status_code for reply in replies]

    assert asyncio.run(many()) == [200] * 32


# --- versions and hashes ---------------------------------------------------------------------------------------------


def test_pooled_features_are_one_token_per_view() -> None:
    from mm_adapter.serving.vllm.model import VllmModel

    mappers = torch.nn.ModuleDict({view: FeatureMapper(32, 16) for view in ("ego", "exo")})
    config = SimpleNamespace(video_tokens=1, video_width=32, shown_views=["ego", "exo"])
    pooled = torch.randn(2, 32)
    encoder = Mock(return_value={"pooled": pooled}, config=PRESETS["tiny"])
    stand_in: Any = SimpleNamespace(
        encoder=encoder,
        encoder_output={"output": "pooled", "grid": 1},
        config=config,
        mappers=mappers,
    )
    frames = torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8)
    embedded = VllmModel.embed_multimodal(stand_in, frames=frames, view=torch.tensor([0, 1]))
    for view, one, features in zip(config.shown_views, embedded, pooled, strict=True):
        assert one.shape == (1, 16)
        torch.testing.assert_close(one, mappers[view](features.half().float()[None, None])[0])


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


def test_the_grammar_reaches_no_other_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered for every model; a coach brings its own, and the model runner that knows it."""
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    assert not [e for e in entry_points(group="vllm.logits_processors") if e.value.startswith("mm_adapter")]
    plugin.register()
    monkeypatch.delenv("VLLM_USE_V2_MODEL_RUNNER", raising=False)
    config: Any = SimpleNamespace(logits_processors=["other:Processor", plugin.GRAMMAR])
    MODELS_CONFIG_MAP[ARCHITECTURE].verify_and_update_model_config(config)
    assert config.logits_processors == ["other:Processor", plugin.GRAMMAR]
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "0"
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    with pytest.raises(RuntimeError, match="first model runner"):
        MODELS_CONFIG_MAP[ARCHITECTURE].verify_and_update_model_config(config)
