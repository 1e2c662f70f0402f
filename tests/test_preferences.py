"""Preference tuning through TRL's trainer, on the real model and collator."""

import json
import math
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tiny_coach import TinyCoach, batch_of, collator, launch
from trl.trainer.dpo_config import DPOConfig

from mm_adapter.checkpoint.coach import SavedCoach, last_complete_checkpoint
from mm_adapter.training.preferences import CoachDPOTrainer, PreferenceCollator, read_pairs


def pairs_of(coach: TinyCoach, path: Path, count: int = 12) -> list[dict[str, str]]:
    lines = [{"tuple_id": t.tuple_id, "chosen": t.summary, "rejected": "Well done."} for t in coach.train[:count]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_pairs(path, coach.train)


def preference_trainer(tiny: Path, out: Path, pairs: list[dict[str, str]]) -> CoachDPOTrainer:
    policy, reference = TinyCoach(tiny), TinyCoach(tiny)
    reference.model.requires_grad_(False)
    settings = DPOConfig(
        output_dir=str(out), per_device_train_batch_size=4, max_steps=6, save_steps=3, logging_steps=1, learning_rate=1e-3,
        report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    collate = PreferenceCollator(policy.processor, policy.codes, policy.features, collator(policy, "right"), 512)
    made = CoachDPOTrainer(
        model=policy.model, reference=reference.model, args=settings, train_dataset=Dataset.from_list(pairs),
        data_collator=collate, processing_class=policy.processor.tokenizer,
    )  # fmt: skip
    made.complete_checkpoints(policy.processor, policy.pose_tokenizer, {"seed": 0})
    return made


def test_preferred_remarks_become_likelier_and_resuming_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    pairs = pairs_of(TinyCoach(tiny), tmp_path / "pairs.jsonl")
    runs = []
    for _ in range(2):
        made = preference_trainer(tiny, tmp_path / "run", pairs)
        checkpoint = last_complete_checkpoint(tmp_path / "run")
        made.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        runs.append([entry for entry in made.state.log_history if "loss" in entry])
        (tmp_path / "run" / "checkpoint-6" / "complete.json").unlink()
    losses = [[entry["loss"] for entry in run] for run in runs]
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-4), "policy and reference are the same at first"
    assert losses[0][-1] < losses[0][0] and runs[0][-1]["rewards/margins"] > 0
    assert losses[0] == losses[1]
    SavedCoach.from_pretrained(tmp_path / "run" / "checkpoint-3")


def test_the_recipe_on_two_processes(tiny: Path, tmp_path: Path) -> None:
    """As documented, with nothing said about precision or devices; the loss is TRL's over both processes' pairs."""
    coach = TinyCoach(tiny)
    pairs_of(coach, tmp_path / "pairs.jsonl", count=8)
    knows = {
        "coach": {"formats": ["commentary"]},
        "tasks": {"nae": {"difficulty": False}},
        "formats": ["dialogue", "commentary"],
    }
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, knows).save_pretrained(tmp_path / "coach")
    inputs = ["--coach", tmp_path / "coach", "--pairs", tmp_path / "pairs.jsonl", "--tuples", tiny / "tuples"]
    stores = ["--pose_codes", tiny / "pose_codes", "--features", tiny / "features", "--output_dir", tmp_path / "run"]
    settings = ["--per_device_train_batch_size", 4, "--max_steps", 2, "--logging_steps", 1, "--learning_rate", "1e-3"]
    ddp = ["accelerate", "launch", "--config_file", "recipes/accelerate/ddp.yaml", "recipes/preferences.py"]
    launch(*ddp, *map(str, [*inputs, *stores, *settings, "--report_to", "none"]))
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    first, second = (entry["loss"] for entry in state["log_history"] if "loss" in entry)
    assert first == pytest.approx(math.log(2), abs=1e-3) and second < first
    opened = SavedCoach.from_pretrained(tmp_path / "run" / "coach")
    assert opened.run_config["tasks"] == knows["tasks"] and opened.formats == ["dialogue", "commentary"]
    tuned = opened.model.state_dict()
    assert all(
        not torch.equal(value, tuned[name]) for name, value in coach.model.state_dict().items() if "lora_" in name
    )


def test_token_statistics_are_those_of_the_full_logits(coach: TinyCoach) -> None:
    batch = batch_of(coach, ["commentary", "demonstration"], count=2)
    coach.model.eval()
    found = coach.model(**batch, fused_lm_head=True)
    labels = batch.pop("labels")[:, 1:]
    logits = coach.model(**batch).logits[:, :-1].float()
    likely = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(found.log_probs, likely.where(labels != -100, 0.0))
    assert torch.equal(found.is_top1, (logits.argmax(-1) == labels) & (labels != -100))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not an object"),
        ('{"tuple_id": "x", "chosen": "a"}', "line 1: not an object"),
        ('{"tuple_id": "x", "chosen": "a", "rejected": "b"}', "line 1: tuple 'x' is not in the training split"),
        (
            '{"tuple_id": "KNOWN", "chosen": "a ", "rejected": "a"}',
            "line 1: chosen and rejected have to be two different",
        ),
        ("", "holds no pairs"),
    ],
)
def test_pairs_that_say_nothing_are_refused(coach: TinyCoach, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line.replace("KNOWN", coach.train[0].tuple_id))
    with pytest.raises(ValueError, match=message):
        read_pairs(path, coach.train)


def test_remarks_that_are_too_long_are_refused(coach: TinyCoach) -> None:
    collate = PreferenceCollator(coach.processor, coach.codes, coach.features, collator(coach, "right"), 50)
    clip = coach.train[0].learner.clip_id
    with pytest.raises(ValueError, match=r"makes \d+ tokens, more than max_length 50"):
        collate.encode(clip, "Bend the knees.")
