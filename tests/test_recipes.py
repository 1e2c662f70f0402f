"""Real launches through the real command line: equivalence over launchers, crash and resume, refusals, dry runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_coach import ROOT, launch

from mm_adapter.cli import main as mm_coach

CONFIG = ["--config", "recipes/configs/expertaf/tiny.yaml"]


def paths(tiny: Path, out: Path) -> list[str]:
    return [
        *("--language_model", str(tiny / "language_model")),
        *("--tuples", str(tiny / "tuples")),
        *("--pose_tokenizer", str(tiny / "pose_tokenizer" / "tokenizer")),
        *("--pose_codes", str(tiny / "pose_codes")),
        *("--features", str(tiny / "features")),
        *("--output_dir", str(out)),
    ]


def train(tiny: Path, out: Path, launcher: str, *options: str) -> list[float]:
    command = ["accelerate", "launch", "--config_file", f"recipes/accelerate/{launcher}.yaml", "recipes/expertaf.py"]
    launch(*command, *CONFIG, *paths(tiny, out), *options)
    return losses(out)


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


@pytest.mark.parametrize("launcher", ["ddp", "zero2", "zero3"])
def test_two_processes_equal_one(tiny: Path, one_process: Path, tmp_path: Path, launcher: str) -> None:
    found = train(tiny, tmp_path, launcher)
    assert found == pytest.approx(losses(one_process), rel=2e-4)
    reload = (
        "import sys, torch; from pathlib import Path; from mm_adapter.checkpoint import load_coach;"
        "models = [load_coach(Path(p), torch.device('cpu'), torch.float32)[0].state_dict() for p in sys.argv[1:]];"
        "print(max(float((models[0][k] - models[1][k]).abs().max()) for k in models[0]))"
    )
    done = launch(sys.executable, "-c", reload, str(tmp_path / "coach"), str(one_process / "coach"))
    assert float(done.stdout.split()[-1]) < 2e-3, "same weights after twelve steps (Adam amplifies rounding)"


def test_accumulation_equals_one_large_batch(tiny: Path, one_process: Path, tmp_path: Path) -> None:
    found = train(tiny, tmp_path, "cpu", "--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "4")
    assert found == pytest.approx(losses(one_process), rel=2e-4)


def test_kill_and_resume_equals_the_uninterrupted_run(tiny: Path, one_process: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "recipes/expertaf.py",
        *CONFIG,
        *paths(tiny, tmp_path),
        "--per_device_train_batch_size",
        "4",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (tmp_path / "checkpoint-4" / "trainer_state.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "coach").exists(), "killed before the end"
    (tmp_path / "checkpoint-5").mkdir()  # what a crash in the middle of saving leaves behind
    resumed = launch(*command)
    assert "Resuming from" in resumed.stdout
    assert not (tmp_path / "checkpoint-5").exists()
    assert losses(tmp_path) == pytest.approx(losses(one_process), rel=1e-6)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--expert_dorp", "0.1"], "expert_dorp"),
        (["--tuples", "/nowhere"], "/nowhere holds no finished tuples"),
        (["--features", "/nowhere"], "/nowhere holds no finished feature store"),
        (["--formats", "poetry"], "Unknown sample formats ['poetry']"),
        (["--pose_frames", "4"], "holds 3 frames per clip"),
        (["--mode", "magic"], "Unknown training mode 'magic'"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(
    tiny: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    command = [sys.executable, "recipes/expertaf.py", *CONFIG, *paths(tiny, tmp_path), *options]
    done = launch(*command, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_unknown_yaml_keys_are_refused(tiny: Path, tmp_path: Path) -> None:
    text = (ROOT / "recipes/configs/expertaf/tiny.yaml").read_text() + "learning_rat: 1.0\n"
    (tmp_path / "wrong.yaml").write_text(text)
    command = [sys.executable, "recipes/expertaf.py", "--config", str(tmp_path / "wrong.yaml")]
    done = launch(*command, check=False)
    assert done.returncode != 0 and "learning_rat" in done.stderr


@pytest.mark.parametrize(
    ("preset", "trainable"),
    [("llama3_8b_lora", "language_model LoRA"), ("llama3_8b_qlora", "nf4"), ("llama3_8b_paper", "72,398,336")],
)
def test_large_presets_build_on_the_meta_device(preset: str, trainable: str) -> None:
    done = launch(
        sys.executable, "recipes/expertaf.py", "--config", f"recipes/configs/expertaf/{preset}.yaml", "--dry-run"
    )
    assert "8,030,261,248" in done.stdout, "Llama-3-8B's parameters"
    assert "351 pose" in done.stdout and "Missing before a real run" in done.stdout
    assert trainable in done.stdout and "memory: total" in done.stdout


# --- the path to the report ------------------------------------------------------------------------------------------


def test_evaluation_and_report(
    tiny: Path, one_process: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", one_process / "coach", tiny / "tuples", tiny / "pose_codes", tmp_path / "evaluation"]
    options = ["--features", tiny / "features", "--max-tuples", "12"]
    assert mm_coach([str(part) for part in command + options]) == 0
    predictions = tmp_path / "evaluation" / "predictions.jsonl"
    lines = predictions.read_text().splitlines()
    assert len(lines) == 12
    first = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    # A crash half-way: the finished items stay, the cut line is done again, the result is the same.
    predictions.write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])
    (tmp_path / "evaluation" / "metrics.json").unlink()
    assert mm_coach([str(part) for part in command + options]) == 0
    assert predictions.read_text().splitlines()[:5] == lines[:5]
    again = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert again["summary"] == pytest.approx(first["summary"], rel=1e-4)
    assert first["synthetic_data"] and "random weights" in first["video_encoder"]
    assert first["summary"]["pose/well_formed"] == 1.0
    assert first["participants_also_in_training"] == []
    report = ["report", tmp_path / "evaluation", tmp_path / "report", "--training", one_process, "--started", "0"]
    assert mm_coach([str(part) for part in report]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Synthetic data" in page and "data:image/jpeg" in page and "src='http" not in page
    needed = {
        "commentary/error_named", "commentary/error_named_shuffled", "retrieval/recall@5_within_activity",
        "retrieval/chance@5_within_activity", "retrieval/median_rank", "retrieval/gallery_size", "pose/pa_mpjpe_mm",
        "pose/pa_mpjpe_random_expert_mm", "pose/pa_mpjpe_mean_pose_mm", "pose/pa_mpjpe_learner_mm", "pose/well_formed", "minutes",
    }  # fmt: skip
    assert needed <= set(json.loads((tmp_path / "report" / "metrics.json").read_text())["summary"])


def test_commands_explain_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mm_coach(["data", "build", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert mm_coach(["tokenizer", "encode", str(tmp_path), str(tmp_path), str(tmp_path / "codes")]) == 2
    assert "mm-coach data build" in capsys.readouterr().err


def test_doctor_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert mm_coach(["doctor"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "torch" in shown and "Java" in shown and "disk" in shown
