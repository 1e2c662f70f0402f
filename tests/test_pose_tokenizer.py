"""Pose tokenizer: published size, quantiser state, vocabulary grammar, storage."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from mm_tokenizers import (
    PoseTokenizer,
    PoseTokenizerConfig,
    PoseVocabulary,
    canonical_poses,
    fingerprint,
    load_tokenizer,
    sample_frames,
    save_tokenizer,
)
from mm_tokenizers.quantizer import EmaQuantizer

SMALL = PoseTokenizerConfig(4, 16, 8, 1, 16, 1, 16, 8, joint_drop=0.0)


def random_poses(count: int) -> torch.Tensor:
    poses = torch.randn(count, 17, 4)
    poses[..., 3] = 1
    return torch.from_numpy(canonical_poses(poses.numpy()))


def test_published_size() -> None:
    model = PoseTokenizer(PoseTokenizerConfig())
    assert sum(p.numel() for p in model.parameters()) == 2_409_071
    state = {n: b for n, b in model.quantizer.named_buffers() if b.is_floating_point()}
    assert sum(b.numel() for b in state.values()) == 2_099_200
    assert PoseVocabulary(0, 2048, 34, 10).clip_length == 351


def test_training_reduces_the_loss_and_uses_codes() -> None:
    torch.manual_seed(0)
    model = PoseTokenizer(SMALL)
    poses = random_poses(8).repeat(8, 1, 1)
    poses[..., :3] += 0.05 * torch.randn(64, 17, 3)  # eight postures with small variation
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(300):
        loss = model(poses)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    codes = model.encode(poses)
    assert len(codes.unique()) >= 0.8 * SMALL.num_codes
    torch.testing.assert_close(model.decode(codes), model(poses)["joints"])


def test_resuming_keeps_the_codebook(tmp_path: Path) -> None:
    """The initialised flag is state: the first step after loading must not start the codebook over."""
    torch.manual_seed(0)
    model, poses = PoseTokenizer(SMALL), random_poses(64)
    for _ in range(20):
        model(poses)
    save_tokenizer(model, tmp_path)
    resumed = PoseTokenizer(SMALL)
    resumed.load_state_dict(load_file(tmp_path / "model.safetensors"))
    before = resumed.eval().encode(poses)
    resumed.train()
    resumed(poses)
    assert (resumed.eval().encode(poses) == before).float().mean() > 0.9
    assert bool(resumed.quantizer.initialised)


def test_dead_codes_are_revived() -> None:
    torch.manual_seed(0)
    quantizer = EmaQuantizer(8, 4, decay=0.5, revive_below=0.05).train()
    data = torch.randn(256, 4)
    quantizer(data)
    quantizer.codebook[:4] = 1000.0
    quantizer.ema_cluster_size[:4] = 0.0
    quantizer.ema_w[:4] = 0.0
    quantizer(data)
    assert (quantizer.codebook.abs() < 100).all()


def _quantize(rank: int, world: int, data: torch.Tensor, folder: str) -> None:
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    quantizer = EmaQuantizer(16, 4, decay=0.9, revive_below=0.05).train()
    quantizer.codebook.zero_()
    for step in data:
        quantizer(step.chunk(world)[rank])
    if rank == 0:
        torch.save(quantizer.state_dict(), f"{folder}/{world}.pt")
    if world > 1:
        dist.destroy_process_group()


def test_two_ranks_equal_one_on_the_same_global_batch(tmp_path: Path) -> None:
    data = torch.randn(6, 64, 4, generator=torch.Generator().manual_seed(0))
    _quantize(0, 1, data, str(tmp_path))
    mp.spawn(_quantize, args=(2, data, str(tmp_path)), nprocs=2)  # type: ignore[attr-defined]
    one, two = (torch.load(tmp_path / f"{world}.pt", weights_only=True) for world in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-5)


def test_loss_is_float32_under_autocast() -> None:
    model = PoseTokenizer(SMALL).eval()
    poses = random_poses(8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(poses)["joints"]
    torch.testing.assert_close(inside, model(poses)["joints"], atol=0, rtol=0)


def test_absent_joints_carry_no_loss_and_no_nan() -> None:
    poses = torch.randn(4, 17, 4).numpy()
    poses[..., 3] = 1
    poses[:, 0, 3] = 0
    poses[:, 0, :3] = np.nan
    canonical = torch.from_numpy(canonical_poses(poses))
    model = PoseTokenizer(SMALL).eval()
    assert torch.isfinite(model(canonical)["loss"])
    moved = canonical.clone()
    moved[:, 0, :3] = 7.0
    assert model(moved)["loss"] == model(canonical)["loss"]


def test_canonical_poses_ignore_position_and_heading() -> None:
    rng = np.random.default_rng(0)
    poses = rng.normal(size=(5, 17, 4))
    poses[..., 3] = 1
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    moved = poses.copy()
    moved[..., :3] = poses[..., :3] @ turn.T + [4, 5, 6]
    np.testing.assert_allclose(canonical_poses(moved), canonical_poses(poses), atol=1e-6)
    canonical = canonical_poses(poses)
    np.testing.assert_allclose(canonical[:, [11, 12], :3].mean(1), 0, atol=1e-6)
    assert (canonical[:, 12, 0] > 0).all() and np.allclose(canonical[:, 12, 1], 0, atol=1e-6)


def test_poses_that_cannot_be_used_say_why() -> None:
    poses = np.ones((3, 17, 4))
    poses[1, 11, 3] = 0
    with pytest.raises(ValueError, match="1 of 3 poses lack a hip"):
        canonical_poses(poses)
    assert sample_frames(poses, 3).tolist() == [0, 0, 2]
    poses[:, 11, 3] = 1
    poses[2, 5, 0] = np.nan
    with pytest.raises(ValueError, match=r"Pose \[2\], joint 5 is visible but not finite"):
        canonical_poses(poses)


# --- vocabulary ------------------------------------------------------------------------------------------------------


def test_clip_round_trip_and_grammar() -> None:
    vocabulary = PoseVocabulary(first_id=100, num_codes=16, tokens_per_frame=3, frames=2)
    codes = np.array([[1, 2, 15], [0, 7, 3]])
    ids = vocabulary.to_ids(codes)
    assert ids == [101, 102, 115, 116, 100, 107, 103, 116, 117]
    assert vocabulary.parse(ids).tolist() == codes.tolist()
    assert all(token in vocabulary.allowed(i) for i, token in enumerate(ids))
    assert len(vocabulary.names()) == vocabulary.size == len(set(vocabulary.names()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[:-1], "has 9 tokens.*got 8"),
        (lambda ids: [*ids[:3], 101, *ids[4:]], "Pose token 3 is id 101; the grammar allows 116..116"),
        (lambda ids: [99, *ids[1:]], "Pose token 0 is id 99; the grammar allows 100..115"),
    ],
)
def test_malformed_clips_are_reported_not_repaired(change, message: str) -> None:
    vocabulary = PoseVocabulary(100, 16, 3, 2)
    with pytest.raises(ValueError, match=message):
        vocabulary.parse(change(vocabulary.to_ids(np.zeros((2, 3), int))))
    with pytest.raises(ValueError, match=r"span 0\.\.16"):
        vocabulary.to_ids(np.array([[0, 0, 16], [0, 0, 0]]))


# --- storage ---------------------------------------------------------------------------------------------------------


def test_fingerprint_follows_weights_and_survives_storage(tmp_path: Path) -> None:
    model = PoseTokenizer(SMALL)
    saved = save_tokenizer(model, tmp_path)
    assert fingerprint(load_tokenizer(tmp_path)) == saved
    model.quantizer.codebook[0, 0] += 1
    assert fingerprint(model) != saved


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    save_tokenizer(PoseTokenizer(SMALL), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["token_mlp.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing token_mlp\.bias"):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="train a pose tokenizer"):
        load_tokenizer(tmp_path / "nothing")


def test_trained_tiny_tokenizer_reports_honest_metrics(tiny: Path) -> None:
    metrics = json.loads((tiny / "pose_tokenizer" / "metrics.json").read_text())
    assert 0 < metrics["pa_mpjpe_mm"] < 300
    assert metrics["fingerprint"] == fingerprint(load_tokenizer(tiny / "pose_tokenizer" / "tokenizer"))
