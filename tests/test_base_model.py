"""Where a coach's base model and a coach itself may be: moved, on the Hub, named by an argument; and which ones are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_coach import FRAMES, TinyCoach, perturb
from transformers import AutoModelForCausalLM as AnyCausalLM
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaModel, MistralConfig, Qwen2Config

from mm_adapter.checkpoint import coach as checkpoints
from mm_adapter.checkpoint.coach import SavedCoach, copy_for_everybody
from mm_adapter.checkpoint.public_names import without_places
from mm_adapter.checkpoint.seal import problems, seal
from mm_adapter.cli import main as mm_coach
from mm_adapter.evaluation.matcher import Matcher, MatcherConfig, save_matcher
from mm_adapter.export.write import export_coach
from mm_adapter.inference.coach import Coach
from mm_adapter.model.language_model import (
    load_language_model,
    public_name,
    recorded_name,
    text_config,
    weights_fingerprint,
    word_embeddings,
)
from mm_adapter.model.lora import LORA_TARGETS
from mm_adapter.training.arguments import CoachArguments
from mm_adapter.training.build import build_coach
from mm_data.features import FeatureStore
from mm_eval.answers.test_sets import OURS, read_answers


def save(coach: TinyCoach, folder: Path, base: str, run: dict[str, Any] | None = None) -> Path:
    coach.model.config.base_model = base
    perturb(coach)
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, run or {}).save_pretrained(folder)
    return folder


def inputs(tiny: Path) -> list[str]:
    """What `answer` needs beside tuples for two of them."""
    return ["--codes", str(tiny / "pose_codes"), "--features", str(tiny / "features"), "--max-items", "2"]


# --- the base model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recorded", ["runs/first/language_model", "elsewhere/language_model", "/gone/first/language_model"]
)
def test_a_run_that_moved_as_a_whole_opens_from_anywhere(
    coach: TinyCoach, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str
) -> None:
    moved = tmp_path / "moved" / "first"
    shutil.copytree(tiny / "language_model", moved / "language_model")
    folder = save(coach, moved / "training" / "coach", recorded)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    opened = SavedCoach.from_pretrained(folder)
    assert torch.equal(opened.model.pose_head.weight, coach.model.pose_head.weight)
    monkeypatch.chdir(moved)
    SavedCoach.from_pretrained(Path("training/coach"))


def test_the_weights_decide_not_the_name(coach: TinyCoach, tiny: Path, tmp_path: Path) -> None:
    """A folder of the right name with other weights does not hide the right one; alone it is refused."""
    other = tmp_path / "run" / "language_model"
    shutil.copytree(tiny / "language_model", other)
    state = load_file(other / "model.safetensors")
    save_file({k: v + 1e-3 for k, v in state.items()}, other / "model.safetensors", {"format": "pt"})
    folder = save(coach, tmp_path / "run" / "coach", "/gone/language_model")
    with pytest.raises(
        ValueError, match=r"weights .{12}, but the weights at .*run/language_model are .{12}\. Give the original"
    ):
        SavedCoach.from_pretrained(folder)
    with pytest.raises(ValueError, match="the weights at"):
        SavedCoach.from_pretrained(folder, base_model=other)
    shutil.copytree(tiny / "language_model", tmp_path / "language_model")
    SavedCoach.from_pretrained(folder)
    assert SavedCoach.from_pretrained(folder, base_model=str(tiny / "language_model")).run_config == {}


@pytest.mark.parametrize("recorded", ["one", "two/parts", "run/three/parts", "/an/absolute/path", "./dotted/one"])
def test_a_base_that_is_nowhere_is_asked_for(
    coach: TinyCoach, tmp_path: Path, capsys: pytest.CaptureFixture[str], recorded: str
) -> None:
    folder = save(coach, tmp_path / "coach", recorded)
    with pytest.raises(
        FileNotFoundError, match=rf"(?s)base model folder {recorded} is not here.*give --base-model FOLDER"
    ):
        SavedCoach.from_pretrained(folder)
    with pytest.raises(FileNotFoundError, match="base model folder no/such/one is not here"):
        SavedCoach.from_pretrained(folder, base_model="no/such/one")
    video = tmp_path / "x.mp4"
    video.touch()
    for command in (["export", str(folder), str(tmp_path / "export")], ["chat", str(folder), "--exo", str(video)]):
        assert mm_coach(command) == 2
        assert "give --base-model FOLDER" in capsys.readouterr().err
    assert mm_coach(["checkpoint", "verify", str(folder)]) == 0
    assert "was not checked; --base-model says where it is" in capsys.readouterr().out.replace("\n", " ")
    assert mm_coach(["checkpoint", "verify", str(folder), "--base-model", str(tmp_path / "none")]) == 2


def test_every_command_that_opens_a_coach_takes_the_base(
    coach: TinyCoach, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, base = save(coach, tmp_path / "coach", "gone"), ["--base-model", str(tiny / "language_model")]
    command = ["answer", str(folder), str(tiny / "tuples"), str(tmp_path / "answers"), *inputs(tiny)]
    assert mm_coach(command) == 2
    assert "give --base-model FOLDER" in capsys.readouterr().err
    assert mm_coach([*command, *base]) == 0
    assert mm_coach(["export", str(folder), str(tmp_path / "export"), "--layout", "llama", *base]) == 0
    assert mm_coach(["checkpoint", "verify", str(folder), *base]) == 0
    for file in ("config.json", "coach_config.json", "export.json", "README.md"):
        assert str(tiny) not in (tmp_path / "export" / file).read_text()


def test_training_notes_a_folder_so_that_it_is_found_from_everywhere(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny)
    assert (
        recorded_name("language_model") == str(tiny / "language_model") == recorded_name(str(tiny / "language_model"))
    )
    assert recorded_name("someone/model") == "someone/model"


def test_names_for_everybody(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert public_name(str(tiny / "language_model")) == "language_model"
    assert public_name("/moved/away/model") == "model" and public_name("../model") == "model"
    assert public_name("someone/model") == "someone/model"
    monkeypatch.chdir(tiny.parent)
    assert public_name(f"{tiny.name}/language_model") == "language_model"


def test_twins_of_the_weights_are_not_read(tiny: Path, tmp_path: Path) -> None:
    whole = weights_fingerprint(str(tiny / "language_model"))
    base = tmp_path / "base"
    shutil.copytree(tiny / "language_model", base)
    save_file({"tok_embeddings.weight": torch.ones(2)}, base / "consolidated.safetensors")
    (base / "._model.safetensors").write_bytes(b"\x00\x05\x16\x07")
    assert weights_fingerprint(str(base)) == whole
    state = load_file(base / "model.safetensors")
    names = sorted(state)
    (base / "model.safetensors").unlink()
    parts = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for file, part in parts.items():
        save_file({name: state[name] for name in part}, base / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_fingerprint(str(base)) == whole
    (base / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks model-00002-of-00002"):
        weights_fingerprint(str(base))


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 64, (8).to_bytes(8, "little") + b"not json"])
def test_damaged_weights_of_a_base_get_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is no readable safetensors file"):
        weights_fingerprint(str(tmp_path))


# --- which models are taken ------------------------------------------------------------------------------------------


def small(**changes: Any) -> dict[str, Any]:
    return {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 64, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(("config", "name"), [(Qwen2Config, "qwen2"), (MistralConfig, "mistral")])
def test_another_architecture_is_refused_when_training_begins(tmp_path: Path, config: Any, name: str) -> None:
    AnyCausalLM.from_config(config(**small())).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"is no Llama language model: its config.json says model_type {name}"):
        load_language_model(str(tmp_path), torch.float32)
    with pytest.raises(ValueError, match=f"model_type {name}"):
        text_config(str(tmp_path))  # what a dry run asks first


def test_a_llama_without_output_head_is_refused(tmp_path: Path) -> None:
    LlamaModel(LlamaConfig(**small())).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="architecture LlamaModel"):
        load_language_model(str(tmp_path), torch.float32)


def test_another_architecture_is_refused_at_the_export(coach: TinyCoach, tmp_path: Path) -> None:
    coach.model.config.text_config.model_type = "qwen2"
    opened = SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})
    with pytest.raises(ValueError, match="model_type qwen2"):
        export_coach(opened, tmp_path / "export", "llama")
    assert not (tmp_path / "export").exists()


def test_biases_and_scaled_positions_of_a_llama_are_exported(tiny: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for part in ("tuples", "features", "pose_tokenizer", "pose_codes"):
        (inputs / part).symlink_to(tiny / part)
    tokenizer = AutoTokenizer.from_pretrained(tiny / "language_model")
    tokenizer.save_pretrained(inputs / "language_model")
    scaling = {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }  # fmt: skip
    config = small(vocab_size=len(tokenizer), hidden_size=32, max_position_embeddings=512)
    llama = LlamaForCausalLM(LlamaConfig(**config, attention_bias=True, mlp_bias=True, rope_parameters=scaling))
    with torch.no_grad():
        for name, value in llama.named_parameters():
            if name.endswith(".bias"):
                value.normal_()
    llama.save_pretrained(inputs / "language_model")
    coach = TinyCoach(inputs)
    perturb(coach)
    opened = SavedCoach(coach.model.eval(), coach.processor, coach.pose_tokenizer, {})
    assert export_coach(opened, tmp_path / "export", "llama")["largest_difference"] < 1e-3
    written = json.loads((tmp_path / "export" / "config.json").read_text())
    assert written["attention_bias"] and written["mlp_bias"] and written["rope_parameters"]["rope_type"] == "llama3"
    weights = load_file(tmp_path / "export" / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.bias"
    assert torch.equal(weights[name], llama.state_dict()[name])


# --- coaches on the Hub ----------------------------------------------------------------------------------------------


def test_commands_take_a_coach_from_the_hub(
    coach: TinyCoach, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(coach, tmp_path / "hub" / "snapshot", str(tiny / "language_model"))
    asked = []

    def fetch(name: str, revision: str | None = None) -> str:
        asked.append(name)
        return str(folder)

    monkeypatch.setattr(checkpoints, "snapshot_download", fetch)
    command = ["answer", "someone/coach", str(tiny / "tuples"), str(tmp_path / "answers"), *inputs(tiny)]
    assert mm_coach(command) == 0, capsys.readouterr().err
    assert asked == ["someone/coach"]
    monkeypatch.setattr(Coach, "answer_words", None)  # whoever asks, fails
    assert mm_coach(["answer", str(folder), *command[2:]]) == 0, "the same coach under another name"


@pytest.mark.parametrize("mode", ["lora", "mappers"])
def test_training_starts_from_a_coach_on_the_hub(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    earlier = TinyCoach(tiny, mode, lora_targets=LORA_TARGETS)
    folder = save(earlier, tmp_path / "hub", "gone")  # the recipe says where the base is
    monkeypatch.setattr(checkpoints, "snapshot_download", lambda name, revision=None: str(folder))
    args = CoachArguments(
        language_model=str(tiny / "language_model"),
        start_from="someone/coach",
        lora_r=4,
        lora_alpha=8,
        pose_frames=FRAMES,
    )
    model, _ = build_coach(args, earlier.pose_tokenizer, earlier.features.manifest, ["ego", "exo"], torch.float32)  # type: ignore[union-attr]
    assert model.config.base_model == str(tiny / "language_model")
    trained = {n: p for n, p in earlier.model.named_parameters() if p.requires_grad}
    assert trained and all(torch.equal(p, model.get_parameter(name)) for name, p in trained.items())
    other = tmp_path / "other"
    shutil.copytree(tiny / "language_model", other)
    state = load_file(other / "model.safetensors")
    save_file({k: v + 1e-3 for k, v in state.items()}, other / "model.safetensors", {"format": "pt"})
    args.language_model = str(other)
    with pytest.raises(
        ValueError, match=r"someone/coach was trained on a language model with weights .{12}, .*other has .{12}"
    ):
        build_coach(args, earlier.pose_tokenizer, earlier.features.manifest, ["ego", "exo"], torch.float32)  # type: ignore[union-attr]


def test_a_matcher_finds_its_words_too(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    base, features = tiny / "language_model", FeatureStore(tiny / "features").manifest
    width, print_ = word_embeddings(str(base)).shape[1], weights_fingerprint(str(base))
    torch.manual_seed(0)
    matcher = Matcher(
        MatcherConfig(features.width, features.views, width, 8, features.made_by, "runs/language_model", print_)
    )
    save_matcher(matcher, tmp_path / "run" / "coach")
    seal(tmp_path / "run" / "coach")
    command = ["answer", str(tmp_path / "run" / "coach"), str(tiny / "tuples")]
    assert mm_coach([*command, str(tmp_path / "a"), *inputs(tiny)]) == 2
    assert "give --base-model FOLDER" in capsys.readouterr().err
    assert mm_coach([*command, str(tmp_path / "a"), *inputs(tiny), "--base-model", str(base)]) == 0
    shutil.copytree(base, tmp_path / "run" / "language_model")
    assert mm_coach([*command, str(tmp_path / "b"), *inputs(tiny)]) == 0
    one, other = (read_answers(tmp_path / name) for name in ("a", "b"))
    assert one == other and one[0].answers[OURS].ranking


def test_what_is_uploaded_names_no_places(coach: TinyCoach, tiny: Path, tmp_path: Path) -> None:
    home = tmp_path / "home of jane"
    run = {
        "coach": {
            "language_model": str(tiny / "language_model"), "tuples": str(home / "tuples"), "start_from": "someone/coach",
            "mix": [f"{home}/items,features={home}/more features,pose_codes={home}/codes"],
            "stages": [f"--features '{home}/features' --max_steps 3", {"features": f"{home}/features"}], "lora_r": 4,
        },
        "training": {"output_dir": "runs/first", "hub_model_id": "jane/coach", "learning_rate": 1e-3},
    }  # fmt: skip
    folder = save(coach, home / "coach", str(tiny / "language_model"), run)
    (folder / ".DS_Store").write_text(str(home))
    copy_for_everybody(folder, tmp_path / "public")
    public = tmp_path / "public"
    for path in public.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"home of jane" not in content and str(tiny).encode() not in content, path
    assert not (public / ".DS_Store").exists()
    assert problems(public, everything=True) == []
    assert json.loads((public / "run_config.json").read_text()) == {
        "coach": {
            "language_model": "language_model", "tuples": "tuples", "start_from": "someone/coach",
            "mix": ["items,features=more features,pose_codes=codes"],
            "stages": ["--features features --max_steps 3", {"features": "features"}], "lora_r": 4,
        },
        "training": {"output_dir": "first", "hub_model_id": "jane/coach", "learning_rate": 1e-3},
    }  # fmt: skip
    assert (public / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    opened = SavedCoach.from_pretrained(public, base_model=tiny / "language_model")
    assert torch.equal(opened.model.pose_head.weight, coach.model.pose_head.weight)


def test_texts_that_are_no_places_stay() -> None:
    content = {"eos_token": "end", "lr": 1e-3, "names": ["a", None, True], "C:\\Users\\jane\\x": "C:\\Users\\jane\\x"}
    assert without_places(content)["names"] == ["a", None, True]
    assert without_places("C:\\Users\\jane\\tuples") == "tuples"
    assert without_places("~/tuples/") == "tuples" and without_places("../tuples") == "tuples"
    assert without_places("owner/name", "base_model") == "owner/name"
    assert without_places("/owner/name", "base_model") == "name"
