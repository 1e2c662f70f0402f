"""Runs the frozen video encoder over clips and fills a feature store."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mm_adapter.features.encoder import IMAGENET, EncoderConfig, VideoEncoder, encoder_hash
from mm_adapter.features.preprocessing import normalise, resize_frames
from mm_data.features import SHARD_SIZE, FeatureManifest, FeatureStoreWriter
from mm_data.records import VideoClip
from mm_data.videos.frames import VideoError, frame_times, read_frames

OUTPUTS = ("tokens", "pooled")


@dataclass(frozen=True)
class ExtractionOptions:
    """How clips are encoded.

    Attributes:
        output: ``tokens`` (g×g per frame) or ``pooled`` (one contrastive embedding per clip, ExpertAF's).
        grid: g, for ``tokens``.
        decoder: Key of `mm_data.videos.frames.DECODERS`.
        batch_size: Clips per encoder call; decides the last bits, so a store keeps to the one it was begun with.
        attention: Kernel, ``sdpa`` or ``flash``; likewise.
        compile: Compile the encoder; likewise.
        workers: Threads that decode ahead of the encoder.
        max_bad_share: Share of clips that may be undecodable.
        retry_bad: Try clips again that an earlier run could not decode.
    """

    output: str = "tokens"
    grid: int = 1
    decoder: str = "pyav"
    batch_size: int = 8
    attention: str = "sdpa"
    compile: bool = False
    workers: int = 2
    max_bad_share: float = 0.02
    retry_bad: bool = False

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for settings that mean nothing."""
        if self.output not in OUTPUTS:
            raise ValueError(f"Unknown output {self.output!r}; choose {' or '.join(OUTPUTS)}.")
        for name in ("grid", "batch_size", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be at least 1.")


def extract_features(
    encoder: VideoEncoder,
    encoder_name: str,
    clips: list[VideoClip],
    videos: Path,
    out: Path,
    options: ExtractionOptions,
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str] | None:
    """Encodes every view of every clip; resumes at the clip.

    Each process takes every ``world_size``-th shard. Whichever finds the last clip recorded finishes the store.

    Args:
        encoder: Frozen encoder on its device.
        encoder_name: Name that `open_encoder` gave it.
        clips: Clips to encode.
        videos: Root that the clips' paths are relative to.
        out: Feature store.
        options: How clips are encoded.
        rank: Number of this process.
        world_size: Number of processes.
        progress: Called with (done, total) of this process.

    Returns:
        Rejected clips with reasons, or None while other processes still have clips to do.

    Raises:
        ValueError: Too many clips failed, the store was begun with something else, another process writes the same
            shard, or features are not finite.
        ModuleNotFoundError: Flash attention was asked for and is not installed.
    """
    if not clips:
        raise ValueError("There is no clip to encode; the list is empty.")
    if options.retry_bad and world_size > 1:
        raise ValueError("--retry-bad works with one process: run `mm-coach features extract` without accelerate.")
    if options.output == "pooled" and not encoder.config.pooling:
        raise ValueError(f"{encoder_name} has no attention pooling, so there is no pooled output; use tokens.")
    encoder.use_attention(options.attention)
    if options.compile:
        encoder.compile()
    manifest = _manifest(encoder, encoder_name, clips, options)
    store = FeatureStoreWriter(
        out,
        manifest,
        {clip.clip_id: {"start": clip.start, "stop": clip.stop, "videos": clip.videos} for clip in clips},
        options.max_bad_share,
        _shard_size(len(clips), options.batch_size, world_size),
        {"batch_size": options.batch_size, "attention": options.attention, "compile": options.compile},
    )
    if options.retry_bad:
        store.retry_rejected()
    if store.finished:
        return FeatureManifest.read(out).rejected
    shards = store.shards[rank::world_size]
    by_id = {clip.clip_id: clip for clip in clips}
    work = [(shard, batch) for shard in shards for batch in shard.pending(options.batch_size)]
    total = sum(len(shard.clip_ids) for shard in shards)
    done = total - sum(len(batch) for _, batch in work)
    rejected: dict[str, str] = {}
    progress(done, total)

    def load(clip_id: str) -> torch.Tensor | str:
        return load_clip(by_id[clip_id], manifest.views, videos, encoder.config, options.decoder)

    with ThreadPoolExecutor(options.workers) as pool:
        loads = _ahead(
            pool, load, [clip for _, batch in work for clip in batch], 2 * options.workers + options.batch_size
        )
        for shard, batch in work:
            loaded = {clip: next(loads) for clip in batch}
            failed = {clip: reason for clip, reason in loaded.items() if isinstance(reason, str)}
            shard.write(batch, _encode(encoder, list(loaded.values()), manifest.views, options), failed)
            rejected |= failed
            store.check(rejected)
            done += len(batch)
            progress(done, total)
    return store.finish()


def _shard_size(clips: int, batch_size: int, world_size: int) -> int:
    """Whole batches, and about four shards for every process."""
    batches = math.ceil(clips / batch_size / (4 * world_size))
    return min(SHARD_SIZE, batches * batch_size)


def load_clip(
    clip: VideoClip, views: Sequence[str], videos: Path, config: EncoderConfig, decoder: str
) -> torch.Tensor | str:
    """Resized frames ``[views, 3, T, size, size]`` uint8 in the order of ``views``, or why the clip cannot be read."""
    loaded = []
    for view in views:
        if view not in clip.videos:
            return f"{view} view: the clip names no video of it, other clips of the list do; add it or list this clip apart"
        path = videos / clip.videos[view]
        try:
            times = frame_times(path, clip.start, clip.stop, config.frames)
            loaded.append(resize_frames(read_frames(path, times, decoder), config))
        except (FileNotFoundError, VideoError) as error:
            return f"{view} view: {error}"
    return torch.stack(loaded)


def _manifest(
    encoder: VideoEncoder, name: str, clips: Sequence[VideoClip], options: ExtractionOptions
) -> FeatureManifest:
    config = encoder.config
    tokens = options.output == "tokens"
    return FeatureManifest(
        encoder=name,
        encoder_hash=encoder_hash(encoder),
        preprocessing=(
            f"middle frames of {config.frames} intervals, {options.decoder}, {config.image_size} px bicubic"
            f"{' antialiased' if config.antialias else ''}, {_statistics(config)}, "
            + (f"tokens on a grid of {options.grid}" if tokens else "pooled")
        ),
        num_tokens=config.steps * options.grid**2 if tokens else 1,
        width=config.width if tokens else config.pooled_dim,
        dtype="float16",
        views=tuple({view for clip in clips for view in clip.videos}),
    )


def _statistics(config: EncoderConfig) -> str:
    if (tuple(config.mean), tuple(config.std)) == IMAGENET:
        return "ImageNet statistics"
    mean, deviation = (" ".join(f"{value:.3f}" for value in values) for values in (config.mean, config.std))
    return f"mean {mean}, deviation {deviation}"


@torch.inference_mode()
def _encode(
    encoder: VideoEncoder, loaded: list[torch.Tensor | str], views: Sequence[str], options: ExtractionOptions
) -> dict[str, np.ndarray]:
    """Features ``[B, V, C]`` per view; an unreadable clip's row is zero.

    The batch is filled up to its full size, so that a clip's bits do not depend on which of its neighbours are readable
    or on where the list ends.
    """
    size, frames, device = encoder.config.image_size, encoder.config.frames, encoder.device
    video = torch.zeros((options.batch_size, len(views), 3, frames, size, size), dtype=torch.uint8)
    readable = np.zeros((len(loaded), 1, 1), bool)
    for row, clip in enumerate(loaded):
        if isinstance(clip, torch.Tensor):
            video[row], readable[row] = clip, True
    out = encoder(normalise(video.flatten(0, 1).to(device), encoder.config), options.grid)[options.output]
    features = out.view(options.batch_size, len(views), -1, out.shape[-1])[: len(loaded)].cpu().numpy()
    return {view: np.where(readable, features[:, i], 0).astype(np.float16) for i, view in enumerate(views)}


def _ahead(
    pool: ThreadPoolExecutor, load: Callable[[str], torch.Tensor | str], items: list[str], depth: int
) -> Iterator[torch.Tensor | str]:
    """Loads a bounded number of items ahead of their use, in order."""
    waiting: list[Future[torch.Tensor | str]] = [pool.submit(load, item) for item in items[:depth]]
    for position in range(len(items)):
        future = waiting.pop(0)
        if position + depth < len(items):
            waiting.append(pool.submit(load, items[position + depth]))
        yield future.result()


ENCODER_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types that `mm-coach features extract` runs encoders in."""


def as_trained_on(encoder: VideoEncoder, name: str, made_by: str) -> VideoEncoder:
    """Casts an encoder to the type of weights that the coach's features were made with.

    Args:
        encoder: Video encoder.
        name: Name of the encoder.
        made_by: Name and hash of the encoder that the coach was trained on; empty for a coach that sees no video.

    Returns:
        The encoder.

    Raises:
        ValueError: In none of them is it the coach's encoder.
    """
    for dtype in ENCODER_DTYPES:
        if f"{name} {encoder_hash(encoder, dtype)}" == made_by:
            return encoder.to(dtype)
    trained_on, digest = made_by.rsplit(" ", 1) if made_by else ("no encoder", "")
    raise ValueError(
        f"The coach was trained on features of {trained_on} ({digest[:12]}); {name} is another encoder, or has other "
        f"weights, frames or image size ({encoder_hash(encoder, torch.float32)[:12]} in float32)."
    )


def output_read(tokens: int, width: int, encoder: EncoderConfig) -> dict[str, Any]:
    """Finds the output of an encoder that has the shape of a coach's features.

    Args:
        tokens: Tokens of a view of the coach's features.
        width: Their width.
        encoder: Configuration of the encoder.

    Returns:
        ``output`` and ``grid``.

    Raises:
        ValueError: None has.
    """
    grid = math.isqrt(tokens // encoder.steps)
    if width == encoder.width and tokens == encoder.steps * grid**2:
        return {"output": "tokens", "grid": grid}
    if width == encoder.pooled_dim and tokens == 1 and encoder.pooling:
        return {"output": "pooled", "grid": 1}
    raise ValueError(
        f"The coach's features are {tokens} × {width} per view; an encoder of {encoder.frames} "
        f"frames and width {encoder.width} gives none of that shape."
    )
