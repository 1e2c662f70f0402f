"""Exports: the coach's log-probabilities, its prompts through the chat template, proof, card and hashes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear
from safetensors.torch import load_file, save_file
from tiny_coach import TinyCoach, batch_of, perturb
from transformers import AutoModelForCausalLM, AutoTokenizer

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.export import write as export
from mm_adapter.export.prove import QUANTIZED_BOUND
from mm_adapter.export.read import check_export, open_encoder, open_llama, open_mappers
from mm_adapter.export.write import export_coach
from mm_adapter.features.encoder import encoder_hash
from mm_adapter.features.extract import as_trained_on
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.model.processor import CoachProcessor
from mm_data.tasks.coaching import ASK_COMMENTARY, ASK_DEMONSTRATION, SYSTEM, commentary_prompt, demonstration_prompt


def pretrained(coach: TinyCoach) -> SavedCoach:
    perturb(coach)
    return SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {"schedule": {"max_steps": 1}})


@pytest.mark.parametrize(
    ("mode", "pose_input", "quantization"),
    [("mappers", "mapper", None), ("lora", "rows", None), ("full", "mapper", None), ("lora", "mapper", "nf4")],
)
@torch.no_grad()
def test_an_export_gives_the_coachs_log_probabilities(
    tiny: Path, tmp_path: Path, mode: str, pose_input: str, quantization: str | None
) -> None:
    coach = TinyCoach(tiny, mode, pose_input, video=False, quantization=quantization)
    proof = export_coach(pretrained(coach), tmp_path / "export", "llama")
    bound = QUANTIZED_BOUND if quantization else 1e-3
    assert proof["largest_difference"] < bound == proof["bound"] and proof["same_most_likely_token"] > 0.98
    llama = AutoModelForCausalLM.from_pretrained(tmp_path / "export")  # as any engine would
    batch = batch_of(coach, ["dialogue"], count=2)
    ours = coach.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
    theirs = llama(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
    shown = batch["attention_mask"].bool()
    torch.testing.assert_close(theirs[shown], ours[shown], atol=bound, rtol=0)
    assert not llama.config.tie_word_embeddings and llama.config.vocab_size == coach.model.config.num_predictable


def test_in_16_bits_the_proof_is_about_what_is_said(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding moves unlikely tokens by more than any bound on single ones could allow; a lost adapter moves likely ones."""
    coach = TinyCoach(tiny, "lora", "mapper", video=False)
    with torch.no_grad():
        for name, parameter in coach.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
    pretrained(coach).save_pretrained(tmp_path / "coach")
    opened = SavedCoach.from_pretrained(tmp_path / "coach", torch.device("cpu"), torch.bfloat16)
    proof = export_coach(opened, tmp_path / "export", "llama")
    assert proof["bounded"] == "mean_divergence" and 0 < proof["mean_divergence"] < proof["bound"]
    merged = export.merged_weights

    def without_adapter(model: torch.nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        with monkeypatch.context() as patch:
            patch.setattr(Linear, "get_delta_weight", lambda layer, name: torch.zeros_like(layer.base_layer.weight))
            return merged(model, dtype)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "merged_weights", without_adapter)
    with pytest.raises(ValueError, match="does not say what the coach says: mean divergence"):
        export_coach(opened, tmp_path / "broken", "llama")
    assert not (tmp_path / "broken").exists()


def test_converters_know_the_tokenizer_by_its_base(coach: TinyCoach, tmp_path: Path) -> None:
    """What llama.cpp's converter looks at: how a text is cut, an id for every row, tokens that survive a round trip."""
    export_coach(pretrained(coach), tmp_path / "export", "llama")
    base, exported = (AutoTokenizer.from_pretrained(p) for p in (coach.folder / "language_model", tmp_path / "export"))
    text = (
        "\n \n\n \t\t (normal) 3 33 333.3 3...3 ------======= нещо '` ``\"\"......!!?? I've been 'told, 'RE you sure?"
    )
    assert exported.encode(text) == base.encode(text)
    config = json.loads((tmp_path / "export" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert sorted(exported.vocab.values()) == list(range(config["vocab_size"])), "no row without a token"
    for token in exported.get_added_vocab():
        assert exported.decode(exported.encode(token, add_special_tokens=False)) == token


@pytest.mark.parametrize("layout", ["coach", "llama"])
def test_tokenizer_of_an_export(coach: TinyCoach, tmp_path: Path, layout: str) -> None:
    export_coach(pretrained(coach), tmp_path / "export", layout)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    vocabulary = coach.processor.vocabulary
    ids = vocabulary.to_ids(coach.codes[coach.test[0].learner.clip_id])
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert "<|pose_end|>" in text, "pose tokens are shown"
    assert tokenizer.encode(text, add_special_tokens=False) == ids, "and read back"
    assert len(tokenizer) == open_llama(tmp_path / "export").config.vocab_size
    loaded = CoachProcessor.load(tmp_path / "export", coach.model.config)
    assert loaded.vocabulary == vocabulary


def parts(*contents: Any) -> list[dict[str, Any]]:
    return [{"type": "video"} if content is None else {"type": "text", "text": content} for content in contents]


def test_the_chat_template_renders_what_training_saw(coach: TinyCoach, tmp_path: Path) -> None:
    export_coach(pretrained(coach), tmp_path / "export", "coach")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    clip, config = coach.test[0].learner.clip_id, coach.model.config
    poses = coach.processor.pose_text(coach.codes[clip])
    question = {"role": "user", "content": parts(poses, None, None, ASK_COMMENTARY)}
    answered = [
        question,
        {"role": "assistant", "content": "Bend the knees."},
        {"role": "user", "content": ASK_DEMONSTRATION},
    ]
    for messages, prompt in (
        ([question], commentary_prompt(clip)),
        (answered, demonstration_prompt(clip, "Bend the knees.")),
    ):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        views = "<|ego_video|>" * config.video_tokens + "<|exo_video|>" * config.video_tokens
        ids = tokenizer.encode(text.replace("<|ego_video|>" * 2, views), add_special_tokens=False)
        assert ids == coach.processor.encode_prompt(prompt, coach.codes.__getitem__, "x").input_ids
    export_coach(pretrained(coach), tmp_path / "plain", "llama")
    plain = AutoTokenizer.from_pretrained(tmp_path / "plain")
    with pytest.raises(Exception, match="without video"):
        plain.apply_chat_template([question], tokenize=False)


def test_the_encoder_is_packed_only_if_it_is_the_coachs(coach: TinyCoach, tmp_path: Path) -> None:
    opened = pretrained(coach)
    with pytest.raises(ValueError, match="is another encoder, or has other weights"):
        export_coach(opened, tmp_path / "wrong", "coach", build_encoder("tiny", None, seed=1))
    encoder, name = build_encoder("tiny", None)
    coach.model.config.video_encoder = f"{name} {encoder_hash(encoder.to(torch.bfloat16))}"
    assert as_trained_on(encoder.float(), name, coach.model.config.video_encoder).cls_token.dtype == torch.bfloat16
    coach.model.config.video_encoder = f"{name} {encoder_hash(encoder.float())}"
    export_coach(opened, tmp_path / "export", "coach", (encoder, name))
    again = open_encoder(tmp_path / "export")
    assert again is not None and again[1]["name"] == name
    video = torch.rand(1, 3, encoder.config.frames, encoder.config.image_size, encoder.config.image_size)
    found, expected = again[0](video, again[1]["grid"]), encoder(video, again[1]["grid"])
    assert torch.equal(found["tokens"], expected["tokens"])
    assert found["tokens"].shape[1:] == (coach.model.config.video_tokens, coach.model.config.video_width)


def test_a_changed_export_is_refused(coach: TinyCoach, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export_coach(pretrained(coach), folder, "coach")
    check_export(folder)
    card = (folder / "README.md").read_text()
    assert "log-probabilities within" in card
    for name in ("README.md", "export.json", "config.json", "coach_config.json"):
        assert str(coach.folder) not in (folder / name).read_text(), "nobody's paths"
    (folder / "more.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"more\.safetensors was added"):
        check_export(folder)
    (folder / "more.safetensors").unlink()
    assert mm_coach(["checkpoint", "verify", str(folder)]) == 0
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1.0
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.safetensors was changed"):
        check_export(folder)
    export_coach(pretrained(coach), tmp_path / "second", "coach")
    manifest = json.loads((tmp_path / "second" / "complete.json").read_text())
    manifest["files"]["config.json"]["sha256"] = "0" * 64
    (tmp_path / "second" / "complete.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"config\.json was changed"):
        check_export(tmp_path / "second")


def test_an_export_that_differs_is_not_left_behind(
    coach: TinyCoach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = pretrained(coach)
    wide = coach.model.config.num_predictable
    monkeypatch.setattr(coach.model, "logits", lambda hidden: torch.randn(1, hidden.shape[1], wide))
    with pytest.raises(ValueError, match=r"largest difference of log-probabilities is .*, above"):
        export_coach(opened, tmp_path / "export", "coach")
    assert not (tmp_path / "export").exists()


def test_the_command_refuses_a_folder_in_use(
    coach: TinyCoach, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained(coach).save_pretrained(tmp_path / "coach")
    assert mm_coach(["export", str(tmp_path / "coach"), str(tmp_path / "out"), "--layout", "llama"]) == 0
    assert "log-probabilities differ by at most" in capsys.readouterr().out
    assert mm_coach(["export", str(tmp_path / "coach"), str(tmp_path / "out")]) == 2
    assert "is not empty" in capsys.readouterr().err


# --- several chat templates ------------------------------------------------------------------------------------------


def with_templates(tiny: Path, folder: Path, templates: dict[str, str]) -> Path:
    """The inputs of a tiny coach whose tokenizer has these named templates, as a list in its configuration."""
    for part in ("tuples", "features", "pose_tokenizer", "pose_codes"):
        (folder / part).symlink_to(tiny / part)
    shutil.copytree(tiny / "language_model", folder / "language_model")
    (folder / "language_model" / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "language_model" / "tokenizer_config.json"
    named = [{"name": name, "template": template} for name, template in templates.items()]
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": named}))
    assert AutoTokenizer.from_pretrained(folder / "language_model").chat_template == templates
    return folder


def template_of(tiny: Path) -> str:
    return str(AutoTokenizer.from_pretrained(tiny / "language_model").chat_template)


@pytest.mark.parametrize("others", [["tool_use"], ["a", "rag", "tool_use"], []])
@pytest.mark.parametrize("layout", ["coach", "llama"])
def test_of_several_templates_the_default_one_is_exported(
    tiny: Path, tmp_path: Path, layout: str, others: list[str]
) -> None:
    template = template_of(tiny)
    named = {**dict.fromkeys(others, "{{ 'another' }}"), "default": template}
    coach = TinyCoach(with_templates(tiny, tmp_path, named))
    export_coach(pretrained(coach), tmp_path / "export", layout)
    exported = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert isinstance(exported.chat_template, str) and exported.chat_template.endswith(template)
    assert not (tmp_path / "export" / "additional_chat_templates").exists()
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "hi"}]
    plain = AutoTokenizer.from_pretrained(tiny / "language_model")
    expected = plain.apply_chat_template(messages, tokenize=False)
    assert exported.apply_chat_template(messages, tokenize=False) == expected
    assert exported.apply_chat_template(messages[1:], tokenize=False) == expected
    pretrained(coach).save_pretrained(tmp_path / "coach")
    assert SavedCoach.from_pretrained(tmp_path / "coach").processor.tokenizer.chat_template == template


def test_templates_without_a_default_are_refused_when_training_begins(tiny: Path, tmp_path: Path) -> None:
    folder = with_templates(tiny, tmp_path, {"tool_use": template_of(tiny), "chat": template_of(tiny)})
    with pytest.raises(ValueError, match="has the chat templates chat, tool_use and none that is named default"):
        TinyCoach(folder)


@pytest.mark.parametrize(
    "template", ["{{ messages[0]['content'] }}", "{{ '{\\'default\\'' }}", "{{ raise_exception('no') }}"]
)
def test_an_export_that_renders_other_prompts_is_not_left_behind(
    coach: TinyCoach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    write = export.write_tokenizer

    def wrong(processor: CoachProcessor, out: Path, layout: str) -> None:
        write(processor, out, layout)
        (out / "chat_template.jinja").write_text(template)

    monkeypatch.setattr(export, "write_tokenizer", wrong)
    with pytest.raises(ValueError, match=r"exported chat template (renders another prompt|cannot render)"):
        export_coach(pretrained(coach), tmp_path / "export", "coach")
    assert not (tmp_path / "export").exists()


# --- poses alone, and other types ------------------------------------------------------------------------------------


def test_a_pose_only_coach_has_no_views_in_any_layout(tiny: Path, tmp_path: Path) -> None:
    coach = TinyCoach(tiny, video=False)
    assert coach.model.config.views == ["ego", "exo"] and coach.model.config.shown_views == []
    for layout in ("coach", "llama"):
        export_coach(pretrained(coach), tmp_path / layout, layout)
        assert open_mappers(tmp_path / layout) == {} and not (tmp_path / layout / "video").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_encoder_is_found_in_the_type_of_the_features(coach: TinyCoach, tmp_path: Path, dtype: torch.dtype) -> None:
    """As `features extract --dtype` runs it; what was tried before must not round what is tried next."""
    made, name = build_encoder("tiny", None, dtype=dtype)
    coach.model.config.video_encoder = f"{name} {encoder_hash(made)}"
    found = as_trained_on(build_encoder("tiny", None)[0], name, coach.model.config.video_encoder)
    assert {value.dtype for value in found.parameters()} == {dtype}
    for key, value in made.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key
    export_coach(pretrained(coach), tmp_path / "export", "coach", build_encoder("tiny", None))
    again = open_encoder(tmp_path / "export")
    assert again is not None and encoder_hash(again[0]) == encoder_hash(made)


def test_a_foreign_encoder_is_left_as_it_was(coach: TinyCoach) -> None:
    encoder, name = build_encoder("tiny", None, seed=1)
    before = encoder_hash(encoder)
    with pytest.raises(ValueError, match="is another encoder"):
        as_trained_on(encoder, name, coach.model.config.video_encoder)
    assert encoder_hash(encoder) == before
