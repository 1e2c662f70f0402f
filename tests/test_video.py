"""Frames by time, the video encoder and the feature store."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from mm_adapter.feature_extraction import extract_features
from mm_adapter.internvideo2 import PRESETS, InternVideo2, InternVideo2Config, build_encoder, preprocess
from mm_data.feature_store import FeatureManifest, FeatureStore, FeatureStoreWriter
from mm_data.tuple_store import clips_of, read_tuples
from mm_data.video import VideoError, middle_times, read_frames


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A 30 fps video whose frame k has the grey level 20 + 14·(k mod 16)."""
    path = tmp_path / "numbered.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "1", "g": "12"})
        stream.width = stream.height = 64
        for k in range(90):
            image = np.full((64, 64, 3), 20 + 14 * (k % 16), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_are_those_on_screen_at_the_time(numbered: Path) -> None:
    wanted = [0, 1, 31, 47, 89]
    frames = read_frames(numbered, np.array([(k + 0.4) / 30 for k in wanted]))
    assert [round((f.mean() - 20) / 14) for f in frames] == [k % 16 for k in wanted]


def test_a_video_that_ends_too_early_is_an_error(numbered: Path) -> None:
    with pytest.raises(VideoError, match=r"numbered\.mp4: ends at 3\.00 s, but a frame at 4\.00 s"):
        read_frames(numbered, np.array([1.0, 4.0]))


def test_truncated_and_missing_videos_are_named(numbered: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(numbered.read_bytes()[: numbered.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        read_frames(cut, np.array([1.0]))
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        read_frames(tmp_path / "nothing.mp4", np.array([1.0]))


# --- encoder ---------------------------------------------------------------------------------------------------------


def test_published_sizes() -> None:
    with torch.device("meta"):
        model = InternVideo2(PRESETS["1B"])
    trunk = [(n, p.numel()) for n, p in model.named_parameters() if not n.startswith(("clip_projector", "vision_proj"))]
    assert sum(size for _, size in trunk) == 1_012_224_640
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["blocks.39.attn.qkv.weight"] == (4224, 1408)
    assert shapes["blocks.0.ls1.gamma"] == (1408,)
    assert shapes["pos_embed"] == (1, 1025, 1408)
    assert shapes["clip_projector.cross_attn.proj.weight"] == (768, 1408)
    assert shapes["vision_proj.weight"] == (512, 768)


def test_tokens_are_the_normalised_penultimate_block() -> None:
    """Against a plain computation from the definition."""
    torch.manual_seed(0)
    config = InternVideo2Config(32, 3, 2, 64, frames=2, image_size=28, pool_heads=2, pool_dim=16, embed_dim=8)
    model: Any = InternVideo2(config).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.ls1.gamma)
        torch.nn.init.normal_(block.ls2.gamma)
    video = torch.randn(1, 3, 2, 28, 28)

    def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    patches = video.unfold(3, 14, 14).unfold(4, 14, 14)  # [1, 3, T, 2, 2, 14, 14]
    patches = patches.permute(0, 2, 3, 4, 1, 5, 6).reshape(1, 8, -1)
    proj = model.patch_embed.proj
    x = torch.cat([model.cls_token, patches @ proj.weight.flatten(1).T + proj.bias], 1) + model.pos_embed
    for block in list(model.blocks)[:-1]:
        q, k, v = (rms(x, block.norm1.weight) @ block.attn.qkv.weight.T).split(32, -1)
        q, k = rms(q, block.attn.q_norm.weight), rms(k, block.attn.k_norm.weight)
        heads = []
        for h in range(2):
            part = slice(16 * h, 16 * h + 16)
            weights = (q[..., part] @ k[..., part].transpose(1, 2) / 4).softmax(-1)
            heads.append(weights @ v[..., part])
        x = x + block.attn.proj(torch.cat(heads, -1)) * block.ls1.gamma
        x = x + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(rms(x, block.norm2.weight)))) * block.ls2.gamma
    tokens = x[:, 1:] - x[:, 1:].mean(-1, keepdim=True)
    tokens = tokens / (tokens.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model(video, grid=2)["tokens"], tokens, atol=1e-5, rtol=1e-5)
    pooled = model(video, grid=1)
    torch.testing.assert_close(pooled["tokens"], tokens.view(1, 2, 4, 32).mean(2), atol=1e-5, rtol=1e-5)
    assert pooled["pooled"].norm(dim=-1).item() == pytest.approx(1, abs=1e-5)


def test_encoder_says_when_it_is_random_and_is_reproducible() -> None:
    first, name = build_encoder("tiny", None)
    second, _ = build_encoder("tiny", None)
    assert "random weights" in name
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="Unknown video encoder 'huge'"):
        build_encoder("huge", None)


def test_preprocessing_uses_imagenet_statistics() -> None:
    out = preprocess(np.full((2, 30, 40, 3), 255, np.uint8), 28)
    assert out.shape == (3, 2, 28, 28)
    assert out[0].mean().item() == pytest.approx((1 - 0.485) / 0.229, abs=1e-4)


# --- store -----------------------------------------------------------------------------------------------------------


def test_extraction_resumes_to_the_same_store(tiny: Path, tmp_path: Path) -> None:
    clips = dict(list(clips_of(read_tuples(tiny / "tuples", "test")).items())[:6])
    encoder, name = build_encoder("tiny", None)
    source = tiny / "miniature"
    device = torch.device("cpu")
    extract_features(encoder, name, clips, source, tmp_path / "whole", 1, device)

    class Crash(Exception):
        pass

    def crash(done: int, total: int) -> None:
        if done == 3:
            raise Crash

    with pytest.raises(Crash):
        extract_features(encoder, name, clips, source, tmp_path / "broken", 1, device, progress=crash)
    with pytest.raises(FileNotFoundError, match="no finished feature store"):
        FeatureStore(tmp_path / "broken")
    with (tmp_path / "broken" / "status.jsonl").open("a") as file:
        file.write('{"clip": "cut o')
    extract_features(encoder, name, clips, source, tmp_path / "broken", 1, device)
    for view in ("ego", "exo"):
        assert (tmp_path / "whole" / f"{view}.npy").read_bytes() == (tmp_path / "broken" / f"{view}.npy").read_bytes()
    with pytest.raises(ValueError, match="another encoder, preprocessing or clip list"):
        extract_features(encoder, name, clips, source, tmp_path / "whole", 2, device)


def test_bad_clips_are_reported_and_stop_above_the_threshold(tiny: Path, tmp_path: Path) -> None:
    clips = dict(list(clips_of(read_tuples(tiny / "tuples", "test")).items())[:4])
    encoder, name = build_encoder("tiny", None)
    with pytest.raises(ValueError, match=r"4 of 4 clips could not be encoded.*does not exist"):
        extract_features(encoder, name, clips, tmp_path, tmp_path / "store", 1, torch.device("cpu"))
    bad = extract_features(
        encoder, name, clips, tmp_path, tmp_path / "store", 1, torch.device("cpu"), max_bad_share=1.0
    )
    assert set(bad) == set(clips)
    assert json.loads((tmp_path / "store" / "index.json").read_text()) == {}


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    manifest = FeatureManifest("x", "h", "p", 1, 2, "float16")
    writer = FeatureStoreWriter(tmp_path, manifest, ["clip"])
    with pytest.raises(ValueError, match="Clip clip, view ego"):
        writer.write("clip", {"ego": np.array([[np.nan, 0]]), "exo": np.zeros((1, 2))})


def test_middle_times() -> None:
    np.testing.assert_allclose(middle_times(1.0, 3.0, 4), [1.25, 1.75, 2.25, 2.75])
