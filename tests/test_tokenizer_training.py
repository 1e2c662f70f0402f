"""The tokenizer's recipe through the real command line, and the measurements made of its result."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_coach import launch

from mm_adapter.checkpoint.folders import begin_checkpoint
from mm_adapter.checkpoint.run_record import write_run_record
from mm_adapter.training.pose_tokenizer import PoseArguments, PoseDataset, last_checkpoint, vary
from mm_data.folders import pose_files
from mm_data.poses.skeleton import MIRRORED_JOINTS
from mm_eval.metrics.pose_round_trip import Motion, evaluate_tokenizer, read_motions
from mm_tokenizers import canonical_poses, fingerprint, load_tokenizer, numpy_codec, save_tokenizer
from mm_tokenizers.canonical import has_hips

RECIPE = ["recipes/pose_tokenizer.py", "--config", "recipes/configs/pose_tokenizer/tiny.yaml"]


def train(tiny: Path, out: Path, *flags: str, processes: int = 1) -> list[dict[str, Any]]:
    """Runs the recipe; returns its log."""
    inputs = ["--poses", str(tiny / "tuples"), "--output_dir", str(out), "--test_frames", "20", "--logging_steps", "5"]
    launcher = (
        [sys.executable]
        if processes == 1
        else ["accelerate", "launch", "--config_file", "recipes/accelerate/ddp.yaml", "--num_processes", str(processes)]
    )
    launch(*launcher, *RECIPE, *inputs, *flags)
    return json.loads((out / "trainer_state.json").read_text())["log_history"]


def codes_of(tiny: Path, run: Path) -> np.ndarray:
    (motion, *_) = read_motions(pose_files(tiny / "tuples", "test"), has_hips, canonical_poses, 50)
    return numpy_codec(load_tokenizer(run / "tokenizer"))[0](motion.poses)


def test_two_processes_equal_one_on_the_same_global_batch(tiny: Path, tmp_path: Path) -> None:
    flags = ("--max_steps", "20", "--joint_drop", "0.2")  # into the second epoch, whose variations are others
    one = train(tiny, tmp_path / "one", *flags, "--per_device_train_batch_size", "256")
    two = train(tiny, tmp_path / "two", *flags, "--per_device_train_batch_size", "128", processes=2)
    assert one[-1]["epoch"] > 1
    for key in ("joint_loss", "commitment_loss", "codes_used", "perplexity", "held_out_mpjpe_mm"):
        assert [e[key] for e in two if key in e] == pytest.approx([e[key] for e in one if key in e], rel=2e-3), key
    first, second = (load_file(tmp_path / run / "tokenizer" / "model.safetensors") for run in ("one", "two"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=5e-3, rtol=5e-3, msg=name)


@pytest.mark.parametrize("quantizer", [(), ("--fsq_levels", "4", "4", "4")])
def test_resumed_training_equals_straight_training(tiny: Path, tmp_path: Path, quantizer: tuple[str, ...]) -> None:
    """Resumed inside the second epoch, and into the third."""
    flags = ("--max_steps", "32", "--save_steps", "16", "--save_total_limit", "5", "--joint_drop", "0.2", *quantizer)
    flags = (*flags, "--per_device_train_batch_size", "256", "--logging_steps", "4")
    straight = train(tiny, tmp_path / "straight", *flags)
    assert 1 < json.loads((tmp_path / "straight" / "checkpoint-16" / "trainer_state.json").read_text())["epoch"] < 1.9
    shutil.copytree(tmp_path / "straight" / "checkpoint-16", tmp_path / "resumed" / "checkpoint-16")
    # A checkpoint that a crash cut short has no state yet and is passed over.
    shutil.copytree(tmp_path / "straight" / "checkpoint-32", tmp_path / "resumed" / "checkpoint-32")
    (tmp_path / "resumed" / "checkpoint-32" / "trainer_state.json").write_text('{"global_')
    resumed = train(tiny, tmp_path / "resumed", *flags)
    assert [e["loss"] for e in resumed if "loss" in e] == [e["loss"] for e in straight if "loss" in e]
    unchanged = codes_of(tiny, tmp_path / "resumed") == codes_of(tiny, tmp_path / "straight")
    assert unchanged.mean() >= 0.999
    assert fingerprint(load_tokenizer(tmp_path / "resumed" / "tokenizer")) == fingerprint(load_tokenizer(tmp_path / "straight" / "tokenizer"))  # fmt: skip


def test_a_run_does_not_go_on_under_other_settings(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "pose_tokenizer", tmp_path / "run")
    inputs = ["--poses", str(tiny / "tuples"), "--output_dir", str(tmp_path / "run")]
    done = launch(sys.executable, *RECIPE, *inputs, "--coordinate_scale", "1", "--mirror", "0.25", "--learning_rate", "0.5", check=False)  # fmt: skip
    assert done.returncode and "was begun with other settings: mirror was 0.5, is 0.25; coordinate_scale was 10.0, is 1.0; learning_rate was " in done.stderr  # fmt: skip


def test_checkpoints_of_others_are_not_resumed(tmp_path: Path) -> None:
    """Another tool's and another run's are refused; links, copies and files beside the run's own are passed over."""
    record = {"data": {}, "architecture": {}, "schedule": {}, "identity": "mine"}
    assert last_checkpoint(tmp_path, record) is None
    for step in (2, 10):
        write_run_record(tmp_path / f"checkpoint-{step}", record)
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    for name in ("checkpoint-best", "checkpoint-20-from-cluster"):
        shutil.copytree(tmp_path / "checkpoint-2", tmp_path / name)
    (tmp_path / "checkpoint-latest").symlink_to("checkpoint-2")
    (tmp_path / "checkpoint-5.zip").write_bytes(b"zip")
    assert last_checkpoint(tmp_path, record) == str(tmp_path / "checkpoint-10")
    begin_checkpoint(tmp_path / "checkpoint-10", record)
    assert last_checkpoint(tmp_path, record) == str(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match="holds checkpoint-10, checkpoint-2, which this run did not write"):
        last_checkpoint(tmp_path, {**record, "identity": "another"})
    (tmp_path / "checkpoint-400").mkdir()
    (tmp_path / "checkpoint-400" / "trainer_state.json").write_text("{}")
    with pytest.raises(ValueError, match="holds checkpoint-400, which this run did not write"):
        last_checkpoint(tmp_path, record)


def test_poses_are_varied_by_row_and_epoch_alone(tiny: Path) -> None:
    options = PoseArguments(poses=[str(tiny / "tuples")], joint_drop=0.3, intact=0.5)
    motions = read_motions(pose_files(tiny / "tuples", "train"), has_hips, canonical_poses)
    dataset = PoseDataset(torch.from_numpy(np.concatenate([m.poses for m in motions])), options, seed=0)
    rows = list(range(0, 600, 2))
    batch = dataset.__getitems__(rows)
    part = dataset.__getitems__(rows[10:20])
    assert torch.equal(batch["poses"][10:20], part["poses"]) and torch.equal(batch["hidden"][10:20], part["hidden"])
    whole = (~batch["hidden"].any(1)).float().mean().item()
    assert 0.4 < whole < 0.62 and 0.1 < batch["hidden"].float().mean() < 0.2
    dataset.set_epoch(1)
    assert not torch.equal(dataset.__getitems__(rows)["poses"], batch["poses"])


def test_variations_keep_the_body(tiny: Path) -> None:
    (motion, *_) = read_motions(pose_files(tiny / "tuples", "test"), has_hips, canonical_poses, 6)
    poses = torch.from_numpy(motion.poses)
    still = PoseArguments(poses=[], mirror=0.0, size_jitter=0.0, yaw_jitter=0.0, tilt_jitter=0.0)
    draws = torch.rand(len(poses), 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(vary(poses, draws, still), poses)
    options = PoseArguments(poses=[], mirror=1.0, size_jitter=0.1, yaw_jitter=20.0, tilt_jitter=0.0)
    varied = vary(poses, draws, options)
    size = 1 + 0.1 * (2 * draws[:, 1] - 1)
    lengths = (varied[:, 5, :3] - varied[:, 9, :3]).norm(dim=-1) / size  # left shoulder to left wrist, was right
    torch.testing.assert_close(lengths, (poses[:, 6, :3] - poses[:, 10, :3]).norm(dim=-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(varied[:, :, 2], poses[:, MIRRORED_JOINTS, 2] * size[:, None], atol=1e-5, rtol=1e-4)
    across = varied[:, 12, :3] - varied[:, 11, :3]
    turned = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    torch.testing.assert_close(turned, 20 * (2 * draws[:, 2] - 1), atol=1e-2, rtol=1e-3)


# --- measurements ----------------------------------------------------------------------------------------------------


def walking(frames: int = 40) -> list[Motion]:
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.3, (17, 3)) + 0.1 * rng.normal(0, 1, (frames, 17, 3)).cumsum(0) / 5
    poses = np.concatenate([poses, np.ones((frames, 17, 1))], -1).astype(np.float32)
    poses[:10, 3] = 0
    numbers = np.arange(frames)
    return [Motion("a", poses[:25], numbers[:25]), Motion("b", poses[25:], np.r_[0:5, 7:17])]


def test_a_perfect_codec_has_no_error_and_a_known_one_has_its_own() -> None:
    motions = walking()
    poses = np.concatenate([m.poses for m in motions])
    store: list[np.ndarray] = []

    def encode(batch: np.ndarray) -> np.ndarray:
        store[:] = [batch]
        return np.arange(len(batch))[:, None] % 4

    perfect = evaluate_tokenizer(motions, encode, lambda codes: store[0][..., :3], 4, max_hidden=2)
    assert perfect["mpjpe_mm"]["value"] == 0 and perfect["pa_mpjpe_mm"]["value"] < 1e-3
    assert perfect["velocity_error_mm_s"] == 0 and perfect["mirror_gap_mm"] < 1e-3
    assert perfect["codes_used"] == 1 and perfect["perplexity"] == pytest.approx(4) and perfect["codes_unchanged"] == 1
    assert perfect["hidden_joints"][0]["shown_mm"] == 0 < perfect["hidden_joints"][0]["hidden_mm"]
    assert perfect["frames"] == 40 and perfect["sequences"] == 2
    mean = np.nanmean(np.where(poses[..., 3:] > 0, poses[..., :3], np.nan), 0)
    error = np.linalg.norm(mean - poses[..., :3], axis=-1)[poses[..., 3] > 0].mean() * 1000
    assert perfect["mean_pose"]["mpjpe_mm"] == pytest.approx(error, rel=1e-4)

    # Every joint 10 mm to the right, every other frame: MPJPE 5 or 10, no error after alignment, velocity error known.
    shift = np.zeros((40, 1, 3), np.float32)
    shift[::2, 0, 0] = 0.01
    shifted = evaluate_tokenizer(motions, encode, lambda codes: store[0][..., :3] + shift, 4, max_hidden=1)
    assert shifted["mpjpe_mm"]["value"] == pytest.approx(5, rel=1e-3)
    assert shifted["mpjpe_mm_per_joint"]["left-wrist"] == pytest.approx(5, rel=1e-3)
    assert shifted["mpjpe_mm_per_region"]["legs"] == pytest.approx(5, rel=1e-3)
    assert shifted["pa_mpjpe_mm"]["value"] < 1e-2
    assert shifted["velocity_error_mm_s"] == pytest.approx(10 * 30, rel=1e-3)


def test_trained_tokenizer_is_measured_drawn_and_round_trips_files(tiny: Path, tmp_path: Path) -> None:
    tokenizer = tiny / "pose_tokenizer" / "tokenizer"
    trained = json.loads((tiny / "pose_tokenizer" / "metrics.json").read_text())
    assert trained["fingerprint"] == fingerprint(load_tokenizer(tokenizer))
    assert 0 < trained["pa_mpjpe_mm"]["value"] < trained["mean_pose"]["pa_mpjpe_mm"]
    done = launch("mm-coach", "tokenizer", "eval", str(tokenizer), str(tiny / "tuples"), str(tmp_path / "eval"), "--max-frames", "30")  # fmt: skip
    assert "PA-MPJPE mm" in done.stdout and "Hidden joints" in done.stdout
    result = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert len(result["hidden_joints"]) == 8 and result["fingerprint"] == trained["fingerprint"]
    page = (tmp_path / "eval" / "index.html").read_text()
    assert "Synthetic data" in page and result["synthetic_data"] is True
    assert page.count("<figure>") == 12 and "$" not in page.split("<style>")[1].split("</style>")[1]

    take = next(iter(pose_files(tiny / "tuples", "test").values()))
    launch("mm-coach", "tokenizer", "encode", str(take), str(tokenizer), str(tmp_path / "codes.npz"))
    launch("mm-coach", "tokenizer", "decode", str(tmp_path / "codes.npz"), str(tokenizer), str(tmp_path / "poses.npy"))
    decoded, raw = np.load(tmp_path / "poses.npy"), np.load(take)
    encode, decode = numpy_codec(load_tokenizer(tokenizer))
    canonical = canonical_poses(raw[has_hips(raw)])
    seen = canonical[..., 3] > 0
    np.testing.assert_allclose(decoded[..., :3], np.where(seen[..., None], decode(encode(canonical)), 0), atol=1e-6)
    assert np.array_equal(decoded[..., 3] > 0, seen)

    launch("mm-coach", "tokenizer", "decode", str(tiny / "pose_codes"), str(tokenizer), str(tmp_path / "clips.npz"))
    assert next(iter(np.load(tmp_path / "clips.npz").values())).shape == (3, 17, 4)
    other = load_tokenizer(tokenizer)
    other.quantizer.codebook[0] += 1  # type: ignore[operator]
    save_tokenizer(other, tmp_path / "other")
    refused = launch("mm-coach", "tokenizer", "decode", str(tmp_path / "codes.npz"), str(tmp_path / "other"), str(tmp_path / "x.npy"), check=False)  # fmt: skip
    assert refused.returncode == 2 and "give the one that made it" in refused.stderr


@pytest.fixture(scope="module")
def trained(big_tuples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `mm-coach tokenizer eval` says of the quickstart's preset after a third of its steps."""
    out = tmp_path_factory.mktemp("trained")
    preset = ["--config", "recipes/configs/pose_tokenizer/quickstart.yaml", "--max_steps", "1000", "--use_cpu", "true"]
    launch(
        sys.executable, RECIPE[0], *preset, "--poses", str(big_tuples), "--output_dir", str(out), "--test_frames", "60"
    )
    return json.loads((out / "metrics.json").read_text())


def test_trained_tokenizer_keeps_what_it_should(trained: dict[str, Any]) -> None:
    """Bounds stated in docs/encoders.md, relative to the round trip's own error."""
    error = trained["mpjpe_mm"]["value"]
    assert error < 45 and trained["pa_mpjpe_mm"]["value"] < 0.3 * trained["mean_pose"]["pa_mpjpe_mm"]
    assert trained["codes_used"] >= 0.8
    assert trained["codes_unchanged"] >= 0.8
    assert trained["mirrored_mpjpe_mm"] == pytest.approx(error, rel=0.15)
    assert trained["mirror_gap_mm"] <= 1.5 * error
    one, *_, eight = trained["hidden_joints"]
    assert one["shown_moved_mm"] <= error
    assert one["shown_mm"] <= 1.15 * error and eight["shown_mm"] <= 1.6 * error
