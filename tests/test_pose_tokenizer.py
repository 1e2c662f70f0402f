"""Pose tokenizer: published size, quantiser state, vocabulary grammar, storage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from mm_adapter.cli import main as mm_coach
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
from mm_tokenizers.pct_checkpoint import load_pct_checkpoint, pct_state_dict, save_pct_checkpoint
from mm_tokenizers.quantizer import EmaQuantizer, FsqQuantizer

SMALL = PoseTokenizerConfig(4, 16, 8, 1, 16, 1, 16, 8)
FSQ = replace(SMALL, fsq_levels=[4, 2, 2])


def random_poses(count: int) -> torch.Tensor:
    poses = torch.randn(count, 17, 4)
    poses[..., 3] = 1
    return torch.from_numpy(canonical_poses(poses.numpy()))


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of systems.md §1.2 for C = 3 and guide ratio 0."""

    def linear(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}

    def mixer(name: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
        norms = {f"{name}.layernorm{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")}
        token = linear(f"{name}.MLP_token.ff.0", 17, 64) | linear(f"{name}.MLP_token.ff.3", 64, 17)
        return norms | token | linear(f"{name}.MLP_channel.ff.0", width, hidden) | linear(f"{name}.MLP_channel.ff.3", hidden, width)  # fmt: skip

    shapes = {
        "invisible_token": (1, 1, 512),
        "codebook": (2048, 512),
        "ema_cluster_size": (2048,),
        "ema_w": (2048, 512),
    }
    for block in range(4):
        shapes |= mixer(f"encoder.{block}", 512, 512)
    shapes |= mixer("decoder.0", 32, 64)
    for name, width in (("encoder_layer_norm", 512), ("decoder_layer_norm", 32)):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, into, out in (
        ("start_embed", 3, 512),
        ("token_mlp", 17, 34),
        ("feature_embed", 512, 512),
        ("decoder_token_mlp", 34, 17),
        ("decoder_start", 512, 32),
        ("recover_embed", 32, 3),
    ):
        shapes |= linear(name, into, out)
    return shapes


def test_published_size() -> None:
    model = PoseTokenizer(PoseTokenizerConfig())
    assert sum(p.numel() for p in model.parameters()) == 2_409_071
    state = {n: b for n, b in model.quantizer.named_buffers() if b.is_floating_point()}
    assert sum(b.numel() for b in state.values()) == 2_099_200
    assert {name: tuple(value.shape) for name, value in pct_state_dict(model, "").items()} == published_shapes()
    assert PoseVocabulary(0, 2048, 34, 10).clip_length == 351


@pytest.mark.parametrize("prefix", ["", "keypoint_head.tokenizer."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_published_state_dicts_load(prefix: str, wrapped: bool, tmp_path: Path) -> None:
    state = {prefix + name: torch.randn(shape) * 0.05 for name, shape in published_shapes().items()}
    beside = {"backbone.weight": torch.ones(2)} if prefix else {}
    torch.save({"state_dict": state | beside, "meta": {}} if wrapped else state | beside, tmp_path / "pct.pth")
    model = load_pct_checkpoint(tmp_path / "pct.pth")
    assert model.architecture == PoseTokenizerConfig(coordinate_scale=1.0)
    for name, value in pct_state_dict(model, prefix).items():
        assert torch.equal(value, state[name]), name
    assert isinstance(model.quantizer, EmaQuantizer) and bool(model.quantizer.initialised)


def test_exported_weights_work_in_bare_metres(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, poses = PoseTokenizer(SMALL), random_poses(64)
    for _ in range(3):
        model(poses)
    save_pct_checkpoint(model.eval(), tmp_path / "pct.pth")
    read = load_pct_checkpoint(tmp_path / "pct.pth")
    assert read.architecture.coordinate_scale == 1.0 != SMALL.coordinate_scale
    assert torch.equal(read.encode(poses), model.encode(poses))
    torch.testing.assert_close(read(poses)["joints"], model(poses)["joints"], atol=1e-6, rtol=1e-5)
    files = [str(tmp_path / name) for name in ("pct.pth", "tokenizer", "again.pth")]
    assert mm_coach(["tokenizer", "import-pct", *files[:2]]) == 0
    assert mm_coach(["tokenizer", "export-pct", *files[1:], "--prefix", ""]) == 0
    again = torch.load(tmp_path / "again.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(again[name], value) for name, value in pct_state_dict(read, "").items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("recover_embed.bias"), r"1 missing: recover_embed\.bias"),
        (lambda s: s.update({"extra.weight": torch.ones(1)}), r"1 unknown: extra\.weight"),
        (lambda s: s.update({"ema_w": torch.ones(3, 512)}), r"ema_w \[3, 512\] instead of \[2048, 512\]"),
        (lambda s: s.update({"start_embed.weight": torch.ones(512, 2)}), "takes 2 coordinates; only 3-D tokenizers"),
        (lambda s: s.update({"start_img_embed.weight": torch.ones(256, 9)}), "and image features"),
        (lambda s: s.clear(), "holds no named tensors"),
    ],
)
def test_checkpoints_that_do_not_fit_are_named(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    state = {name: torch.zeros(shape) for name, shape in published_shapes().items()}
    change(state)
    torch.save({"state_dict": state}, tmp_path / "pct.pth")
    with pytest.raises(ValueError, match=message):
        load_pct_checkpoint(tmp_path / "pct.pth")


def by_definition(model: Any, poses: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Encodings, indices, joints and both losses from systems.md §§1.3-1.4, written out."""

    def norm(x: torch.Tensor, m: Any) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * m.weight + m.bias

    def mlp(x: torch.Tensor, m: Any) -> torch.Tensor:
        h = x @ m.ff[0].weight.T + m.ff[0].bias
        return (h * 0.5 * (1 + torch.erf(h / 2**0.5))) @ m.ff[3].weight.T + m.ff[3].bias

    def mixer(x: torch.Tensor, m: Any) -> torch.Tensor:
        y = mlp(norm(x, m.layernorm1).mT, m.MLP_token).mT
        return x + y + mlp(norm(x + y, m.layernorm2), m.MLP_channel)

    a = model.architecture
    seen = (poses[..., 3] > 0) & ~hidden
    x = (poses[..., :3] * a.coordinate_scale) @ model.start_embed.weight.T + model.start_embed.bias
    x[~seen] = model.invisible_token[0, 0]
    for block in model.encoder:
        x = mixer(x, block)
    x = (
        torch.einsum("mj,bjc->bmc", model.token_mlp.weight, norm(x, model.encoder_layer_norm))
        + model.token_mlp.bias[:, None]
    )
    x = (x @ model.feature_embed.weight.T + model.feature_embed.bias).flatten(0, 1)
    indices = (x[:, None] - model.quantizer.codebook).pow(2).sum(-1).argmin(1)
    codes = model.quantizer.codebook[indices]
    y = torch.einsum("jm,bmd->bjd", model.decoder_token_mlp.weight, codes.view(len(poses), a.num_tokens, -1))
    y = (y + model.decoder_token_mlp.bias[:, None]) @ model.decoder_start.weight.T + model.decoder_start.bias
    for block in model.decoder:
        y = mixer(y, block)
    y = norm(y, model.decoder_layer_norm) @ model.recover_embed.weight.T + model.recover_embed.bias
    error, beta = (y - poses[..., :3] * a.coordinate_scale).abs(), a.joint_beta * a.coordinate_scale
    smooth = torch.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta)
    joint_loss = (smooth * (poses[..., 3:] > 0)).sum() / smooth.numel()
    return x, indices, y / a.coordinate_scale, joint_loss, (x - codes).pow(2).mean()


def test_forward_equals_the_definition() -> None:
    torch.manual_seed(0)
    model: Any = PoseTokenizer(SMALL).eval()
    poses = random_poses(32)
    poses[::3, 4] = 0
    hidden = torch.rand(32, 17) < 0.2
    with torch.no_grad():
        _, indices, joints, joint_loss, commitment = by_definition(model, poses, hidden)
        out = model(poses, hidden)
    assert torch.equal(out["indices"].flatten(), indices)
    torch.testing.assert_close(out["joints"], joints, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["joint_loss"], joint_loss)
    torch.testing.assert_close(out["commitment_loss"], commitment)
    torch.testing.assert_close(out["loss"], joint_loss + SMALL.commitment_weight * commitment)


def test_moving_averages_equal_the_reference() -> None:
    torch.manual_seed(0)
    quantizer = EmaQuantizer(6, 4, decay=0.9, revive_below=0.0).train()
    quantizer.initialised.fill_(True)
    size, weights, book = quantizer.ema_cluster_size.clone(), quantizer.ema_w.clone(), quantizer.codebook.clone()
    for _ in range(3):
        data = torch.randn(20, 4)
        onehot = torch.eye(6)[(data[:, None] - book).pow(2).sum(-1).argmin(1)]
        quantizer(data)
        size = 0.9 * size + 0.1 * onehot.sum(0)
        size = (size + 1e-5) / (size.sum() + 6 * 1e-5) * size.sum()
        weights = 0.9 * weights + 0.1 * onehot.T @ data
        book = weights / size[:, None]
        torch.testing.assert_close(quantizer.codebook, book, atol=1e-5, rtol=1e-4)
    assert int(quantizer.revived) == 0


# --- finite scalar quantisation --------------------------------------------------------------------------------------


def test_fsq_codes_are_their_own_nearest() -> None:
    torch.manual_seed(0)
    quantizer = FsqQuantizer([4, 3, 2], 8)
    assert quantizer.codebook.shape == (24, 8)
    grid = torch.unique(quantizer.grid, dim=0)
    assert len(grid) == 24 and grid.min() == -1 and grid.max() == 1
    # An encoding whose channels lie on a code's levels gets that code.
    with torch.no_grad():
        quantizer.project_in = torch.nn.Linear(3, 3, bias=False)
        quantizer.project_in.weight.copy_(torch.eye(3))
        half = torch.tensor([4, 3, 2]).sub(1) / 2
        wanted = quantizer.grid * half / (half + 0.5 - 1e-3)
        assert torch.equal(quantizer.nearest(torch.atanh(wanted)), torch.arange(24))


def test_fsq_tokenizer_trains_saves_and_has_gradients(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = PoseTokenizer(FSQ)
    out = model(random_poses(32))
    out["loss"].backward()
    assert out["commitment_loss"] == 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n != "invisible_token")  # fmt: skip
    save_tokenizer(model.eval(), tmp_path)
    loaded, poses = load_tokenizer(tmp_path), random_poses(16)
    assert torch.equal(loaded.encode(poses), model.encode(poses)) and loaded.architecture == FSQ
    torch.testing.assert_close(loaded.decode(loaded.encode(poses)), model(poses)["joints"])
    with pytest.raises(ValueError, match="no counterpart in PCT's code"):
        pct_state_dict(model)
    with pytest.raises(ValueError, match="make 8 codes, but num_codes is 16"):
        replace(SMALL, fsq_levels=[4, 2])


# --- training --------------------------------------------------------------------------------------------------------


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
    straight = model.train()
    straight(poses)
    assert (resumed.eval().encode(poses) == straight.eval().encode(poses)).float().mean() >= 0.999
    assert (resumed.encode(poses) == before).float().mean() > 0.9


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


# Each rank imports this file anew, so nothing above loads more than torch.
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


@pytest.mark.parametrize("architecture", [SMALL, FSQ])
def test_everything_is_float32_under_autocast(architecture: PoseTokenizerConfig) -> None:
    model = PoseTokenizer(architecture).eval()
    poses = random_poses(64)
    codes, joints = model.encode(poses), model(poses)["joints"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.encode(poses), codes)
        assert torch.equal(model.decode(codes), model.decode(codes).float())
        torch.testing.assert_close(model(poses)["joints"], joints, atol=0, rtol=0)


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
    with pytest.raises(ValueError, match=r"1 missing: token_mlp\.bias"):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="train a pose tokenizer"):
        load_tokenizer(tmp_path / "nothing")


def test_a_tokenizer_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = save_tokenizer(PoseTokenizer(SMALL), tmp_path)

    def full_disk(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("mm_tokenizers.storage.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_tokenizer(PoseTokenizer(replace(SMALL, num_tokens=5)), tmp_path)
    assert fingerprint(load_tokenizer(tmp_path)) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_clip_without_frames_gets_a_true_sentence() -> None:
    with pytest.raises(ValueError, match="has no frame of poses"):
        sample_frames(np.zeros((0, 17, 4)), 4)


@pytest.mark.parametrize(
    ("factor", "message"),
    [(1000.0, "would fit if it were mm"), (0.0, "no pose was found"), (float("nan"), "has both hips")],
)
def test_encoding_a_file_checks_its_poses(
    factor: float, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tokenizer(PoseTokenizer(SMALL), tmp_path / "tokenizer")
    body = np.random.default_rng(0).uniform(-0.05, 0.05, (5, 17, 3))
    body[:, :, 2] += np.array([1.6] * 5 + [1.4] * 2 + [1.1] * 2 + [0.9] * 4 + [0.5] * 2 + [0.1] * 2)
    np.save(tmp_path / "poses.npy", body * factor)
    command = ["tokenizer", "encode", str(tmp_path / "poses.npy"), str(tmp_path / "tokenizer"), str(tmp_path / "c.npz")]
    assert mm_coach(command) == 2 and message in capsys.readouterr().err
    np.savez(tmp_path / "poses.npz", body)
    assert mm_coach([*command[:2], str(tmp_path / "poses.npz"), *command[3:]]) == 0
    assert np.load(tmp_path / "c.npz")["codes"].shape == (5, 4)
