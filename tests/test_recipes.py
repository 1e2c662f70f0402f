"""Real launches through the real command line: equivalence over launchers, crash and resume, refusals, dry runs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_coach import CONFIG, ROOT, launch, paths

from mm_adapter.checkpoint.coach import SavedCoach, last_complete_checkpoint
from mm_adapter.checkpoint.folders import begin_checkpoint
from mm_adapter.checkpoint.seal import read_manifest
from mm_adapter.cli import main as mm_coach
from mm_eval.statistics.metric import records_of
from mm_eval.statistics.storage import read_metrics


def train(tiny: Path, out: Path, launcher: str, *options: str) -> None:
    command = ["accelerate", "launch", "--config_file", f"recipes/accelerate/{launcher}.yaml", "recipes/expertaf.py"]
    done = launch(*command, *CONFIG, *paths(tiny, out), *options)
    (out / "stdout").write_text(done.stdout)


def start(*command: str, stdout: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """A command in the background, to be interrupted."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.DEVNULL)


def losses(out: Path) -> list[float]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [float(entry["loss"]) for entry in history if "loss" in entry]


@pytest.fixture(scope="session")
def one_process(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference: one process on global batches of four."""
    out = tmp_path_factory.mktemp("one")
    train(tiny, out, "cpu", "--per_device_train_batch_size", "4")
    return out


def test_a_run_leaves_a_complete_record(one_process: Path) -> None:
    record = json.loads((one_process / "run_config.json").read_text())
    assert record["coach"]["mode"] == "lora" and record["training"]["max_steps"] == 12 and record["seed"] == 0
    assert record["versions"]["torch"].startswith("2.13") and record["git_commit"]
    assert len(losses(one_process)) == 12
    assert (one_process / "coach" / "complete.json").is_file()
    assert (one_process / "checkpoint-12" / "complete.json").is_file()


def test_a_run_leaves_the_printed_table(one_process: Path) -> None:
    """What the log calls trainable is what the checkpoint holds."""
    files = read_manifest(one_process / "coach")["files"]
    held = sum(
        tensor.numel() for name in files if name.endswith(".safetensors") and "pose_tokenizer" not in name
        for tensor in load_file(one_process / "coach" / name).values()
    )  # fmt: skip
    assert f"[trainable] {held:,} parameters" in (one_process / "stdout").read_text()


@cache
def sum_of_logits(folder: Path) -> float:
    """What a checkpoint says, opened by a process that did not write it."""
    model = SavedCoach.from_pretrained(folder).model
    config = model.config
    ids = torch.randint(0, config.num_predictable, (2, 40), generator=torch.Generator().manual_seed(0))
    ids[:, 3 : 3 + config.video_tokens], ids[:, 12 : 12 + config.video_tokens] = config.ego_id, config.exo_id
    features = torch.randn(2, config.video_tokens, config.video_width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(input_ids=ids, ego_features=features, exo_features=features).logits.double().pow(2).sum().item()


@pytest.fixture(scope="session")
def two_processes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same run under a launcher with two processes, done once."""

    @cache
    def run(launcher: str) -> Path:
        out = tmp_path_factory.mktemp(launcher)
        train(tiny, out, launcher)
        return out

    return run


@pytest.mark.parametrize("launcher", ["ddp", "zero2", "zero3", "fsdp2"])
def test_two_processes_equal_one_at_every_checkpoint(
    two_processes: Callable[[str], Path], one_process: Path, launcher: str
) -> None:
    """LoRA, mappers and pose rows; every intermediate checkpoint opens in another process as the same model."""
    found = two_processes(launcher)
    assert losses(found) == pytest.approx(losses(one_process), rel=1e-5)
    names = ("checkpoint-4", "checkpoint-8", "coach")
    sums, expected = ([sum_of_logits(run / name) for name in names] for run in (found, one_process))
    assert sums == pytest.approx(expected, rel=1e-4) and len(set(sums)) == 3


@pytest.mark.parametrize(("wrote", "goes_on"), [("zero2", "fsdp2"), ("fsdp2", "cpu"), ("cpu", "zero3")])
def test_a_run_goes_on_under_another_launcher_on_other_ranks(
    tiny: Path,
    one_process: Path,
    two_processes: Callable[[str], Path],
    tmp_path: Path,
    wrote: str,
    goes_on: str,
) -> None:
    """Ended after the second checkpoint, gone on elsewhere with the same number of samples per step."""
    begun = one_process if wrote == "cpu" else two_processes(wrote)
    shutil.copytree(begun / "checkpoint-8", tmp_path / "checkpoint-8")
    shutil.copy(begun / "run_config.json", tmp_path)
    if goes_on == "cpu":
        options = ("--per_device_train_batch_size", "4")
        launch(sys.executable, "recipes/expertaf.py", *CONFIG, *paths(tiny, tmp_path), *options)
    else:
        train(tiny, tmp_path, goes_on)
    assert losses(tmp_path) == pytest.approx(losses(one_process), rel=1e-5)


def test_kill_and_resume_equals_the_uninterrupted_run(tiny: Path, one_process: Path, tmp_path: Path) -> None:
    options = [*CONFIG, *paths(tiny, tmp_path), "--per_device_train_batch_size", "4"]
    command = [sys.executable, "recipes/expertaf.py", *options]
    process = start(*command)
    deadline = time.monotonic() + 200
    while not (tmp_path / "checkpoint-4" / "complete.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "coach").exists(), "killed before the end"
    cut = tmp_path / "checkpoint-5"  # what a crash in the middle of saving leaves behind
    begin_checkpoint(cut, json.loads((tmp_path / "run_config.json").read_text()))
    (cut / "coach.safetensors").write_bytes(b"cut")
    refused = launch(*command, "--learning_rate", "0.5", check=False)
    assert refused.returncode and "learning_rate was 0.001, is 0.5" in refused.stderr
    resumed = launch(*command)
    assert "Resuming from" in resumed.stdout
    assert not (tmp_path / "checkpoint-5").exists()
    assert losses(tmp_path) == pytest.approx(losses(one_process), rel=1e-6)


def test_a_signal_to_all_ranks_saves_and_the_run_goes_on(tiny: Path, one_process: Path, tmp_path: Path) -> None:
    """Two processes get SIGTERM in the middle of an epoch, as before a node is taken."""
    command = ["accelerate", "launch", "--config_file", "recipes/accelerate/ddp.yaml", "recipes/expertaf.py"]
    options = [*CONFIG, *paths(tiny, tmp_path), "--max_steps", "60", "--save_steps", "10"]
    with (tmp_path / "said").open("w") as said:
        process = start(*command, *options, stdout=said)
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("checkpoint-*/complete.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.wait()
    step = int(re.findall(r"Stopped by SIGTERM after step (\d+)", (tmp_path / "said").read_text())[0])
    assert step < 60 and (tmp_path / f"checkpoint-{step}" / "complete.json").is_file()
    launch(*command, *options)
    # The longer schedule's rates differ from the reference's, at first by little.
    assert losses(tmp_path)[:4] == pytest.approx(losses(one_process)[:4], rel=2e-3)
    assert len(losses(tmp_path)) == 60


def test_a_rank_that_dies_ends_the_run(tiny: Path, tmp_path: Path) -> None:
    command = ["accelerate", "launch", "--config_file", "recipes/accelerate/ddp.yaml", "recipes/expertaf.py"]
    process = start(*command, *CONFIG, *paths(tiny, tmp_path), "--max_steps", "4000", "--save_steps", "10")
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("checkpoint-*/complete.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    assert last_complete_checkpoint(tmp_path) is not None


def test_stages_follow_each_other(tiny: Path, tmp_path: Path) -> None:
    """Mappers first, then LoRA from where they ended; evaluation on held-out learners while it trains."""
    first = ["--stages.0.mode", "mappers", "--stages.0.max_steps", "4"]
    second = ["--stages.1.mode", "lora", "--stages.1.max_steps=4", "--stages.1.eval_strategy", "steps"]
    extra = ["--validation_share", "0.2", "--eval_commentaries", "2", *first, *second, "--stages.1.eval_steps", "2"]
    run = [*paths(tiny, tmp_path), *extra]
    shown = launch(sys.executable, "recipes/expertaf.py", *CONFIG, *run).stdout
    assert "held out" in shown
    aligned, tuned = (load_file(f / "coach" / "coach.safetensors") for f in (tmp_path / "stage-1", tmp_path))
    assert not (tmp_path / "stage-1" / "coach" / "adapter").exists() and (tmp_path / "coach" / "adapter").exists()
    assert all(float((aligned[name] - tuned[name]).abs().max()) < 0.1 for name in aligned), "began where stage 1 ended"
    written = [json.loads(line) for line in (tmp_path / "commentaries.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in written] == [2, 2, 4, 4] and all(entry["coach"] is not None for entry in written)
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert sum("eval_loss" in entry for entry in history) == 2
    again = launch(sys.executable, "recipes/expertaf.py", *CONFIG, *run)
    assert "[trainable]" not in again.stdout, "both stages are complete"


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--expert_dorp", "0.1"], "expert_dorp"),
        (["--tuples", "/nowhere"], "/nowhere holds no finished items"),
        (["--features", "/nowhere"], "/nowhere holds no finished feature store"),
        (["--formats", "poetry"], "Unknown sample format 'poetry'"),
        (["--pose_frames", "4"], "holds 3 frames per clip"),
        (["--mode", "magic"], "argument --mode: invalid choice: 'magic' (choose from"),
        (["--dtype", "float16"], "argument --dtype: invalid choice: 'float16' (choose from"),
        (
            ["--format_weights", "1"],
            "2 formats in --formats, 1 numbers in --format_weights; give one weight per format.",
        ),
        (["--formats", "commentary", "commentary"], "name at least one format, and each once"),
        (["--formats", "commentary", "--format_weights", "1", "2"], "1 formats in --formats, 2 numbers"),
        (["--validation_share", "1.5"], "--validation_share 1.5 has to be at least 0 and below 1"),
        (["--validation_share", "-0.1"], "--validation_share -0.1 has to be at least 0 and below 1"),
        (["--max_train_tuples", "0"], "--max_train_tuples 0 has to be at least 1"),
        (["--plan_world_size", "0", "--dry_run"], "--plan_world_size 0 has to be at least 1"),
        (["--mode", "contrastive"], "argument --mode: invalid choice: 'contrastive'"),
        (["--mix.0.items", "/nowhere"], "mix: /nowhere does not exist"),
        (["--mix", "/nowhere"], "'/nowhere' is no mapping; write it in the configuration, or as --mix.0.KEY VALUE"),
        (["--mix.0.weight", "1"], "mix: each part needs either items or tuples"),
        (["--mix.0.itms", "/nowhere"], "mix: unknown key itms. Did you mean items?"),
        (["--mix.0.items", "/nowhere", "--mix.0.weight", "much"], "mix, /nowhere: weight 'much' is no number"),
        (["--stages.0.max_stepz", "3"], "Stage 1 has the unknown setting max_stepz. Did you mean max_steps?"),
        (
            ["--stages.0.mode", "mappers", "--stages.1.max_steps", "x"],
            "Stage 2: argument --max_steps/--max-steps: invalid",
        ),
        (["--stages.0.stages", "3"], "Stage 1 has the unknown setting stages."),
        (["--eval_on_start", "true"], "--eval_on_start needs a --validation_share above 0"),
        (["--resume_from_checkpoint", "true"], "--resume_from_checkpoint true: a run goes on"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(
    tiny: Path,
    tmp_path: Path,
    run_recipe: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    with pytest.raises((SystemExit, ValueError, FileNotFoundError)) as refusal:
        run_recipe(*CONFIG, *paths(tiny, tmp_path), *options)
    assert message in f"{refusal.value}{capsys.readouterr().err}"


def test_unknown_yaml_keys_are_refused(tmp_path: Path, run_recipe: Callable[..., None]) -> None:
    text = (ROOT / "recipes/configs/expertaf/tiny.yaml").read_text() + "learning_rat: 1.0\n"
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match="learning_rat"):
        run_recipe("--config", str(tmp_path / "wrong.yaml"))


def planned(shown: str, row: str) -> list[int]:
    """Numbers in the rows of this name of a printed plan."""
    return [int(number) for number in re.findall(rf"│ {row} +│ (\d+) +│", shown)]


def test_a_dry_run_plans_every_stage_and_its_steps(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    stages = ["--stages.0.mode", "mappers", "--stages.0.num_train_epochs", "2", "--stages.1.mode", "lora"]
    stages += ["--stages.1.max_steps", "5"]
    flags = ["--max_steps", "-1", "--num_train_epochs", "3", "--max_train_tuples", "15", "--formats", "commentary"]
    sizes = ["--per_device_train_batch_size", "5", "--plan_world_size", "2"]
    run_recipe(*CONFIG, *paths(tiny, tmp_path / "run"), *flags, *sizes, "--dry_run", *stages)
    shown = capsys.readouterr().out
    assert (
        "Stage 1 of 2: mode mappers, num_train_epochs 2\n" in shown
        and "Stage 2 of 2: mode lora, max_steps 5\n" in shown
    )
    assert planned(shown, "samples per epoch") == [15, 15]
    assert planned(shown, "optimizer steps") == [4, 5]
    assert re.findall(r"│ mode +│ (\w+)", shown) == ["mappers", "lora"]
    assert not (tmp_path / "run").exists()


def test_a_matcher_is_planned_and_a_finished_one_is_left_as_it_is(
    tiny: Path, tmp_path: Path, run_recipe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [f"--{name}={tiny / name}" for name in ("language_model", "tuples", "features")]
    run = ["--config", "recipes/configs/matcher/tiny.yaml", *inputs, "--output_dir", str(tmp_path / "run")]
    sizes = ["--max_train_tuples", "15", "--per_device_train_batch_size", "5", "--plan_world_size", "2"]
    run_recipe(*run, *sizes, "--max_steps", "-1", "--dry_run", recipe="matcher")
    shown = capsys.readouterr().out
    assert planned(shown, "samples per epoch") == [15] and planned(shown, "optimizer steps") == [6]
    assert not (tmp_path / "run").exists()
    run_recipe(*run, recipe="matcher")
    assert "[trainable]" in capsys.readouterr().out and len(losses(tmp_path / "run")) == 4
    run_recipe(*run, recipe="matcher")
    assert "run/coach is trained" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001, is 0\.5"):
        run_recipe(*run, "--learning_rate", "0.5", recipe="matcher")


@pytest.mark.parametrize(
    ("preset", "trainable"),
    [("llama3_8b_lora", "language_model LoRA"), ("llama3_8b_qlora", "nf4"), ("llama3_8b_paper", "72,398,336")],
)
def test_large_presets_build_on_the_meta_device(
    run_recipe: Callable[..., None], capsys: pytest.CaptureFixture[str], preset: str, trainable: str
) -> None:
    run_recipe("--config", f"recipes/configs/expertaf/{preset}.yaml", "--dry-run")
    shown = capsys.readouterr().out
    assert "8,030,261,248" in shown, "Llama-3-8B's parameters"
    assert "351 pose" in shown and "Missing before a real run" in shown
    assert trainable in shown and re.search(r"fits \S+GB +│ +yes", shown)


# --- the path to the report ------------------------------------------------------------------------------------------


def test_answers_and_report(tiny: Path, one_process: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    inputs = [one_process / "coach", tiny / "tuples", answers, "--codes", tiny / "pose_codes"]
    options = ["--features", tiny / "features", "--max-items", "12"]
    assert mm_coach(["answer", *map(str, inputs + options)]) == 0
    report = ["report", answers, tmp_path / "report", "--training", one_process, "--started", "0"]
    assert mm_coach([str(part) for part in report]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Synthetic data" in page and "data:image/jpeg" in page and 'src="http' not in page
    metrics = read_metrics(tmp_path / "report")
    tables = records_of(metrics)
    assert metrics["minutes"] > 0 and metrics["gallery_size"] > 1 and "recall@5" in metrics["chance"]
    assert tables["pose"]["ours"]["malformed"].value == 0
    for name, metric, rivals in (
        ("commentary", "error_named", ["shuffled", "constant per category", "random of the category"]),
        ("retrieval", "recall@5", ["shuffled within activity", "pose nearest neighbour (ceiling)"]),
        (
            "pose",
            "pa_mpjpe",
            ["mean pose of the activity", "random expert of the activity", "tokenizer round trip (floor)"],
        ),
    ):
        assert {"ours", *rivals} <= {row for row, of_row in tables[name].items() if of_row[metric].n == 12}, name


def test_commands_explain_mistakes(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mm_coach(["data", "build", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "tuples").mkdir()
    tokenizer = str(tiny / "pose_tokenizer" / "tokenizer")
    assert mm_coach(["tokenizer", "encode", str(tmp_path / "tuples"), tokenizer, str(tmp_path / "codes")]) == 2
    assert "mm-coach data build" in capsys.readouterr().err


def test_doctor_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert mm_coach(["doctor"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "torch" in shown and "Java" in shown and "disk" in shown
