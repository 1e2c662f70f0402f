"""What a coach on disk promises: complete, verified, the same model, on the base model it was trained on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tiny_coach import TinyCoach, batch_of, dataset, perturb, trainer

from mm_adapter.checkpoint import coach as checkpoints
from mm_adapter.checkpoint.coach import (
    SavedCoach,
    check_same_coach,
    copy_coach,
    last_complete_checkpoint,
    load_trainable,
    trainable_state,
    write_coach,
)
from mm_adapter.checkpoint.folders import begin_checkpoint, checkpoint_folders, remove_older
from mm_adapter.checkpoint.run_record import write_run_record
from mm_adapter.checkpoint.seal import is_complete, problems, read_manifest, seal
from mm_adapter.cli import main as mm_coach
from mm_adapter.model.language_model import weights_fingerprint


def write(coach: TinyCoach, folder: Path) -> None:
    write_coach(folder, coach.model, trainable_state(coach.model), coach.processor, coach.pose_tokenizer, {"seed": 0})
    seal(folder)


@pytest.fixture
def saved(coach: TinyCoach, tmp_path: Path) -> Path:
    perturb(coach)
    write(coach, tmp_path / "coach")
    return tmp_path / "coach"


@pytest.mark.parametrize("mode", ["mappers", "lora", "qlora", "full"])
@torch.no_grad()
def test_a_saved_coach_gives_the_same_logits(tiny: Path, tmp_path: Path, mode: str) -> None:
    quantization = "nf4" if mode == "qlora" else None
    coach = TinyCoach(tiny, "lora" if quantization else mode, quantization=quantization)
    perturb(coach)
    write(coach, tmp_path / "coach")
    opened = SavedCoach.from_pretrained(tmp_path / "coach")
    batch = batch_of(coach, ["dialogue"])
    del batch["labels"]
    logits = coach.model.eval()(**batch).logits
    torch.testing.assert_close(opened.model(**batch).logits, logits, atol=1e-6, rtol=1e-6)
    assert opened.processor.vocabulary == coach.processor.vocabulary
    assert opened.processor.tokenizer.chat_template == coach.processor.tokenizer.chat_template
    opened.save_pretrained(tmp_path / "again")
    again = SavedCoach.from_pretrained(tmp_path / "again")
    torch.testing.assert_close(again.model(**batch).logits, logits, atol=1e-6, rtol=1e-6)
    assert again.run_config == {"seed": 0}


def test_a_coach_goes_to_the_hub_and_comes_back(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = tmp_path / "hub"

    class Api:
        def __init__(self, token: str | None) -> None: ...

        def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> None: ...

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> str:
            shutil.copytree(folder_path, hub / repo_id)
            return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr(checkpoints, "HfApi", Api)
    monkeypatch.setattr(checkpoints, "snapshot_download", lambda name, revision: str(hub / name))
    coach = SavedCoach.from_pretrained(saved)
    base = coach.model.config.base_model
    assert coach.push_to_hub("someone/coach").endswith("someone/coach")
    fetched = SavedCoach.from_pretrained("someone/coach", base_model=base)
    for name, value in coach.model.state_dict().items():
        assert torch.equal(value, fetched.model.state_dict()[name])


def test_files_that_changed_are_refused(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert problems(saved, everything=True) == []
    assert mm_coach(["checkpoint", "verify", str(saved)]) == 0
    weights, whole = saved / "coach.safetensors", (saved / "coach.safetensors").read_bytes()
    weights.write_bytes(whole[:-8])
    assert not is_complete(saved)
    with pytest.raises(ValueError, match=r"coach\.safetensors has \d+ bytes, \d+ were written"):
        SavedCoach.from_pretrained(saved)
    weights.write_bytes(whole[:-8] + b"\x00" * 8)
    assert is_complete(saved), "a glance sees sizes only"
    with pytest.raises(ValueError, match=r"coach\.safetensors was changed after it was written"):
        SavedCoach.from_pretrained(saved)
    assert mm_coach(["checkpoint", "verify", str(saved)]) == 1
    assert "coach.safetensors was changed" in capsys.readouterr().out
    weights.write_bytes(whole)
    (saved / "complete.json").unlink()
    with pytest.raises(FileNotFoundError, match="not a complete coach"):
        SavedCoach.from_pretrained(saved)
    with pytest.raises(FileNotFoundError, match="neither a folder nor a coach on the Hugging Face Hub"):
        SavedCoach.from_pretrained(saved / "nowhere")
    assert mm_coach(["checkpoint", "verify", str(saved)]) == 2


def test_foreign_parts_are_refused(saved: Path) -> None:
    config = json.loads((saved / "coach_config.json").read_text())
    (saved / "coach_config.json").write_text(json.dumps({**config, "pose_tokenizer": "0" * 64}))
    seal(saved)
    with pytest.raises(ValueError, match="was replaced"):
        SavedCoach.from_pretrained(saved)
    (saved / "coach_config.json").write_text(json.dumps(config))
    adapter = saved / "adapter" / "adapter_model.safetensors"
    state = load_file(adapter)
    state.pop(next(iter(state)))
    save_file(state, adapter)
    seal(saved)
    with pytest.raises(ValueError, match="do not match the model"):
        SavedCoach.from_pretrained(saved)


def test_another_base_model_is_refused(coach: TinyCoach, tiny: Path, tmp_path: Path) -> None:
    base = tmp_path / "language_model"
    shutil.copytree(tiny / "language_model", base)
    coach.model.config.base_model = str(base)
    write(coach, tmp_path / "coach")
    SavedCoach.from_pretrained(tmp_path / "coach")
    state = load_file(base / "model.safetensors")
    name = next(iter(state))
    state[name] = state[name] + 1e-3
    save_file(state, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"trained on .* with weights .{12}, but the weights at \S+ are .{12}\. Give"):
        SavedCoach.from_pretrained(tmp_path / "coach")


def test_a_fingerprint_does_not_depend_on_how_weights_are_cut_into_files(tiny: Path, tmp_path: Path) -> None:
    state = load_file(tiny / "language_model" / "model.safetensors")
    for number, (name, tensor) in enumerate(state.items()):
        save_file({name: tensor}, tmp_path / f"{number}.safetensors")
    assert weights_fingerprint(str(tmp_path)) == weights_fingerprint(str(tiny / "language_model"))
    with pytest.raises(FileNotFoundError, match="has no safetensors files"):
        weights_fingerprint(str(tiny))


@pytest.mark.parametrize(
    ("value", "message"), [(torch.nan, r"pose_head\.weight holds values that are not finite"), (0.0, "is all zero")]
)
def test_weights_that_cannot_be_right_are_not_saved(
    coach: TinyCoach, tmp_path: Path, value: float, message: str
) -> None:
    with torch.no_grad():
        coach.model.pose_head.weight.fill_(value)
    with pytest.raises(RuntimeError, match=message):
        write(coach, tmp_path)
    assert not is_complete(tmp_path)


@pytest.mark.parametrize(
    "failing", ["mm_adapter.checkpoint.coach.save_file", "mm_adapter.checkpoint.optimizer.save_file"]
)
def test_a_full_disk_costs_the_new_checkpoint_only(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    coach = TinyCoach(tiny)
    made = trainer(
        coach, tmp_path, dataset(coach, ["commentary"]), max_steps=6, save_strategy="steps", save_steps=2,
        save_total_limit=1,
    )  # fmt: skip
    whole = checkpoints.save_file

    def full(tensors: dict[str, Any], path: Path, *rest: Any) -> None:
        if made.state.global_step == 4:
            Path(path).write_bytes(b"cut")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        whole(tensors, path, *rest)

    monkeypatch.setattr(failing, full)
    with pytest.raises(
        OSError, match=r"checkpoint-4 could not be written.*No space left.*earlier checkpoints are as they"
    ):
        made.train()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-4").exists(), "what was cut is cleared away"


def test_a_damaged_checkpoint_is_passed_over_aloud(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coach = TinyCoach(tiny)
    trainer(coach, tmp_path, dataset(coach, ["commentary"]), max_steps=4, save_strategy="steps", save_steps=2).train()
    shard = tmp_path / "checkpoint-4" / "optimizer-1.safetensors"
    content = bytearray(shard.read_bytes())
    content[-4] ^= 1
    shard.write_bytes(bytes(content))
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert "checkpoint-4 is damaged and passed over: optimizer-1.safetensors was changed" in capsys.readouterr().out
    assert shard.is_file(), "kept for whoever wants to look"


def test_a_run_does_not_go_on_with_other_parts(saved: Path, coach: TinyCoach) -> None:
    check_same_coach(saved, coach.model.config)
    coach.model.config.video_encoder, coach.model.config.pose_tokenizer = "another", "0" * 64
    with pytest.raises(ValueError, match=r"other parts: pose_tokenizer was .*video_encoder was '.*', is 'another'"):
        check_same_coach(saved, coach.model.config)


def test_only_checkpoints_of_this_run_are_found_and_removed(tiny: Path, tmp_path: Path) -> None:
    """Beside another tool's, another run's and what has no number."""
    coach = TinyCoach(tiny)
    settings: dict[str, Any] = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    trainer(coach, tmp_path / "other", dataset(coach, ["commentary"]), **settings).train()
    run = tmp_path / "run"
    begin_checkpoint(run / "checkpoint-8", {"identity": "another run"})
    shutil.copytree(tmp_path / "other" / "checkpoint-3", run / "checkpoint-9")
    (run / "checkpoint-9" / "run_config.json").write_text(json.dumps({"identity": "another run"}))
    seal(run / "checkpoint-9")
    (run / "checkpoint-1").mkdir(parents=True)
    (run / "checkpoint-2-from-cluster").mkdir()
    (run / "checkpoint-7").mkdir()
    (run / "checkpoint-7" / "model.bin").write_bytes(b"theirs")
    (run / "checkpoint-latest").symlink_to(run / "checkpoint-9")
    (run / "checkpoint-best.tar").write_bytes(b"theirs")
    before = {path.name for path in run.iterdir()}
    assert last_complete_checkpoint(run) is None
    made = trainer(coach, run, dataset(coach, ["commentary"]), **settings)
    made.train()
    assert last_complete_checkpoint(run) == run / "checkpoint-3"
    assert {path.name for path in run.iterdir()} == (before - {"checkpoint-1"}) | {"checkpoint-3"}
    later: dict[str, Any] = settings | {"max_steps": 7, "save_steps": 7}
    made = trainer(coach, run, dataset(coach, ["commentary"]), **later)
    with pytest.raises(OSError, match=r"checkpoint-7 could not be written: .* was not written by this run"):
        made.train()
    assert [path.name for path in (run / "checkpoint-7").iterdir()] == ["model.bin"]


def test_a_manifest_that_cannot_be_read_is_damage(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coach = TinyCoach(tiny)
    trainer(coach, tmp_path, dataset(coach, ["commentary"]), max_steps=2, save_strategy="steps", save_steps=1).train()
    for content in ("{", "[]", "{}"):
        (tmp_path / "checkpoint-2" / "complete.json").write_text(content)
        assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
        assert "complete.json is damaged" in capsys.readouterr().out


def test_the_best_and_the_last_checkpoint_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        write_run_record(tmp_path / f"checkpoint-{step}", {"identity": "mine"})
    for keep, left in ((None, [1, 2, 3, 10]), (0, [1, 2, 3, 10]), (3, [1, 3, 10]), (1, [1, 10])):
        remove_older(tmp_path, "mine", keep, str(tmp_path / "checkpoint-1"))
        assert [path.name for path in checkpoint_folders(tmp_path)] == [f"checkpoint-{step}" for step in left]


def test_old_checkpoints_go_after_the_new_one_is_complete(tiny: Path, tmp_path: Path) -> None:
    coach = TinyCoach(tiny)
    data = dataset(coach, ["commentary"])
    made = trainer(
        coach, tmp_path, data, max_steps=6, save_strategy="steps", save_steps=1, save_total_limit=2,
    )  # fmt: skip
    made.train()
    assert sorted(folder.name for folder in tmp_path.glob("checkpoint-*")) == ["checkpoint-5", "checkpoint-6"]
    assert read_manifest(tmp_path / "checkpoint-6")["step"] == 6
    copy_coach(tmp_path / "checkpoint-6", tmp_path / "coach")
    assert problems(tmp_path / "coach", everything=True) == []
    assert not list((tmp_path / "coach").glob("optimizer*"))
    opened = SavedCoach.from_pretrained(tmp_path / "coach")
    assert torch.equal(opened.model.pose_head.weight, coach.model.pose_head.weight)


def test_the_next_stage_takes_over_the_new_parts(tiny: Path, tmp_path: Path) -> None:
    aligned = TinyCoach(tiny, "mappers")
    perturb(aligned)
    write(aligned, tmp_path)
    tuned = TinyCoach(tiny, "lora")
    load_trainable(tmp_path, tuned.model, new_parts_only=True)
    new = {n: p for n, p in tuned.model.named_parameters() if not n.startswith("language_model.")}
    assert new and all(torch.equal(p, dict(aligned.model.named_parameters())[n]) for n, p in new.items())


def test_inspect_tells_what_a_checkpoint_is(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mm_coach(["checkpoint", "inspect", str(saved)]) == 0
    shown = capsys.readouterr().out
    assert "lora" in shown and "language_model" in shown and "coach.safetensors" in shown
    assert mm_coach(["checkpoint", "inspect", str(tmp_path / "none")]) == 2
