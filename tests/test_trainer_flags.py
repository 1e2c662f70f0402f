"""Flags of the trainer: each is honoured, replaced aloud or refused with a sentence, in every recipe."""

import dataclasses
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_coach import CONFIG, ROOT, TinyCoach, dataset, load_script, trainer
from transformers import TrainingArguments

from mm_adapter.training.trainer_flags import (
    COACH,
    MATCHER,
    PREFERENCES,
    TOKENIZER,
    Flags,
    changed_flags,
    check_flags,
    settle,
)


def preference_config() -> type[TrainingArguments]:
    return load_script(ROOT / "recipes" / "preferences.py").PreferenceConfig


@pytest.mark.parametrize(
    "flags", [COACH, MATCHER, TOKENIZER, PREFERENCES], ids=["coach", "matcher", "tokenizer", "dpo"]
)
def test_every_flag_is_in_exactly_one_group(flags: Flags) -> None:
    """A flag that a new version of transformers or TRL brings has to be looked at before it is accepted."""
    arguments = preference_config() if flags is PREFERENCES else TrainingArguments
    names = [field.name for field in dataclasses.fields(arguments)]
    groups = [set(flags.honoured), set(flags.replaced), set(flags.refused)]
    assert {name: sum(name in group for group in groups) for name in names} == dict.fromkeys(names, 1)
    assert set.union(*groups) == set(names), "no name that is no flag"
    assert all(reason.strip() for reason in [*flags.replaced.values(), *flags.refused.values()])


@pytest.mark.parametrize(
    "asked",
    [
        {"label_smoothing_factor": 0.1}, {"resume_from_checkpoint": "elsewhere/checkpoint-4"}, {"resume_from_checkpoint": "true"},
        {"data_seed": 3}, {"data_seed": 0}, {"fp16": True}, {"bf16_full_eval": True}, {"average_tokens_across_devices": False},
        {"auto_find_batch_size": True}, {"neftune_noise_alpha": 5.0}, {"torch_compile": True},
        {"torch_compile_mode": "reduce-overhead"}, {"use_liger_kernel": True}, {"include_num_input_tokens_seen": "all"},
        {"include_for_metrics": ["loss"]}, {"batch_eval_metrics": True}, {"eval_accumulation_steps": 2},
        {"save_only_model": True}, {"save_on_each_node": True}, {"hub_strategy": "checkpoint"}, {"hub_always_push": True},
        {"ignore_data_skip": True}, {"restore_callback_states_from_checkpoint": True},
        {"accelerator_config": {"split_batches": True}}, {"dataloader_in_order": False},
        {"dataloader_persistent_workers": True, "dataloader_num_workers": 1},
        {"train_sampling_strategy": "group_by_length"}, {"label_names": ["labels"]}, {"do_predict": True},
        {"optim_target_modules": ["q_proj"]}, {"use_cache": True},
    ],
    ids=lambda asked: next(iter(asked)),
)  # fmt: skip
def test_what_would_not_be_done_is_refused_by_every_recipe(tmp_path: Path, asked: dict[str, Any]) -> None:
    training = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **asked)
    for flags in (COACH, MATCHER, TOKENIZER, PREFERENCES):
        with pytest.raises(ValueError, match=rf"cannot be honoured here: .*--{next(iter(asked))} "):
            check_flags(training, flags)


def test_all_wrong_flags_are_named_at_once_with_the_way_out(tmp_path: Path) -> None:
    training = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        data_seed=1,
        resume_from_checkpoint="x",
        optim="galore_adamw",
        do_eval=True,
    )
    with pytest.raises(ValueError, match=r"--resume_from_checkpoint x: .*--start_from") as refusal:
        check_flags(training, COACH)
    assert all(part in str(refusal.value) for part in ("--data_seed 1:", "--optim galore_adamw:", "--do_eval True:"))
    held_out = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, eval_strategy="steps", eval_steps=2)
    check_flags(held_out, COACH)
    for flags in (MATCHER, TOKENIZER, PREFERENCES):
        with pytest.raises(ValueError, match=r"--eval_strategy .*holds nothing out"):
            check_flags(held_out, flags)


def test_defaults_are_accepted_also_where_they_are_written_down(tmp_path: Path) -> None:
    plain = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    derived = {"output_dir", "use_cpu", "dataloader_pin_memory", "report_to", "disable_tqdm"}  # by transformers
    assert set(changed_flags(plain)) <= derived
    written = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, label_smoothing_factor=0.0, fp16=False, report_to="none", optim="adamw_torch",
        accelerator_config={}, hub_strategy="every_save", torch_compile=False,
    )  # fmt: skip
    for flags in (COACH, MATCHER, TOKENIZER):
        check_flags(written, flags)
    check_flags(preference_config()(output_dir=str(tmp_path), use_cpu=True), PREFERENCES)
    for field, value in {"padding_free": True, "sync_ref_model": True, "truncation_mode": "keep_end"}.items():
        with pytest.raises(ValueError, match=f"--{field} {value}: "):
            check_flags(preference_config()(output_dir=str(tmp_path), use_cpu=True, **{field: value}), PREFERENCES)


def test_what_a_recipe_sets_itself_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mm_adapter")
    training = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, bf16=True, ddp_find_unused_parameters=True)
    settled = settle(training, COACH, bf16=False, ddp_find_unused_parameters=False, remove_unused_columns=False)
    assert (settled.bf16, settled.ddp_find_unused_parameters, settled.remove_unused_columns) == (False, False, False)
    assert "--bf16 True is not followed: mixed precision follows" in caplog.text
    assert "--ddp_find_unused_parameters True is not followed" in caplog.text
    assert "remove_unused_columns" not in caplog.text
    caplog.clear()
    settle(training, COACH, bf16=True, ddp_find_unused_parameters=True)
    assert not caplog.text, "what is followed needs no word"


def test_one_process_that_sees_several_gpus_trains_on_the_first(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers would multiply the batch and wrap the model in `DataParallel`, in every recipe alike."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    caplog.set_level("INFO", "mm_adapter")
    training = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=3, report_to="none")
    assert training.n_gpu == 4 and training.train_batch_size == 12
    for flags in (COACH, MATCHER, TOKENIZER):
        settled = settle(training, flags, remove_unused_columns=False)
        assert settled.n_gpu == 1 and settled.train_batch_size == 3
        assert "This process sees 4 GPUs and trains on the first" in caplog.text
        caplog.clear()
    settled = settle(preference_config()(output_dir=str(tmp_path)), PREFERENCES)
    assert settled.n_gpu == 1


@pytest.fixture
def run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a recipe in this process, into a fresh folder."""

    def run(recipe: str, *arguments: str) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [recipe, *arguments, "--output_dir", str(tmp_path / "run")])
        runpy.run_path(f"recipes/{recipe}.py", run_name="__main__")

    return run


@pytest.mark.parametrize(
    "recipe", ["expertaf", "matcher", "nae", "cot_afa", "desccoach", "pose_tokenizer", "preferences"]
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_recipes_check_their_flags_before_anything_else(
    run: Callable[..., None], tmp_path: Path, recipe: str, dry_run: bool
) -> None:
    inputs = {
        "expertaf": ["--tuples", "none", "--pose_codes", "none", "--language_model", "none"],
        "matcher": ["--tuples", "none", "--features", "none", "--language_model", "none"],
        "pose_tokenizer": ["--poses", "none"],
        "preferences": ["--coach", "none", "--pairs", "none", "--tuples", "none", "--pose_codes", "none"],
    }.get(recipe, ["--items", "none", "--language_model", "none"])
    if dry_run and recipe == "preferences":
        pytest.skip("has no dry run")
    with pytest.raises(ValueError, match=r"--label_smoothing_factor 0\.1: .*repeat the current token"):
        run(recipe, *inputs, "--label_smoothing_factor", "0.1", "--use_cpu", "true", *["--dry_run"] * dry_run)
    assert not (tmp_path / "run").exists()


def test_flags_of_one_stage_are_checked_before_the_first_begins(
    run: Callable[..., None], tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="--data_seed 7: "):
        run("expertaf", *CONFIG, "--stages.0.mode", "mappers", "--stages.1.data_seed", "7")
    assert not (tmp_path / "run").exists()


def test_workers_prepare_batches_as_they_are_told(coach: TinyCoach, tmp_path: Path) -> None:
    settings = {
        "dataloader_num_workers": 1,
        "dataloader_prefetch_factor": 3,
        "dataloader_multiprocessing_context": "spawn",
    }
    made = trainer(coach, tmp_path, dataset(coach, ["commentary"]), **settings)
    loader: Any = made.get_train_dataloader()
    assert loader.prefetch_factor == 3 and loader.multiprocessing_context.get_start_method() == "spawn"
