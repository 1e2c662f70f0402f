"""Runs the frozen video encoder over the clips of a tuple folder and fills a feature store."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from mm_adapter.internvideo2 import InternVideo2, encoder_hash, preprocess
from mm_data.feature_store import FeatureManifest, FeatureStoreWriter
from mm_data.records import FPS, Clip
from mm_data.video import VideoError, middle_times, read_frames


def extract_features(
    encoder: InternVideo2,
    encoder_name: str,
    clips: dict[str, Clip],
    videos: Path,
    out: Path,
    grid: int,
    device: torch.device,
    max_bad_share: float = 0.02,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Encodes ego and exo views of every clip; resumes at the clip.

    Args:
        encoder: Frozen encoder on ``device``.
        encoder_name: As `build_encoder` named it.
        clips: Clip id to clip.
        videos: Root that the clips' paths are relative to.
        out: Feature store.
        grid: g×g tokens per frame.
        device: Where the encoder runs; decoding runs on two threads beside it.
        max_bad_share: Share of clips that may be undecodable.
        progress: Called with (done, total).

    Returns:
        Bad clips with reasons.

    Raises:
        ValueError: Too many clips failed, or the store was begun with something else.
    """
    frames = encoder.config.frames
    manifest = FeatureManifest(
        encoder=encoder_name,
        encoder_hash=encoder_hash(encoder),
        preprocessing=f"middle of {frames} intervals, {encoder.config.image_size} px bicubic, ImageNet statistics, grid {grid}",
        num_tokens=frames * grid * grid,
        width=encoder.config.width,
        dtype="float16",
    )
    writer = FeatureStoreWriter(out, manifest, list(clips))
    pending = writer.pending()
    done = len(clips) - len(pending)

    def load(clip_id: str) -> torch.Tensor | str:
        clip = clips[clip_id]
        times = middle_times(clip.start / FPS, clip.stop / FPS, frames)
        try:
            views = [read_frames(videos / path, times) for path in (clip.ego_video, clip.exo_video)]
        except (FileNotFoundError, VideoError) as error:
            return str(error)
        return torch.stack([preprocess(view, encoder.config.image_size) for view in views])

    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        for clip_id, loaded in _ahead(pool, load, pending):
            if isinstance(loaded, str):
                writer.reject(clip_id, loaded)
            else:
                tokens = encoder(loaded.to(device), grid)["tokens"].float().cpu().numpy().astype(np.float16)
                writer.write(clip_id, {"ego": tokens[0], "exo": tokens[1]})
            done += 1
            progress(done, len(clips))
    return writer.finish(max_bad_share)


def _ahead(
    pool: ThreadPoolExecutor, load: Callable, items: list[str], depth: int = 8
) -> Iterator[tuple[str, torch.Tensor | str]]:
    """Loads a bounded number of items ahead of their use."""
    waiting = [(item, pool.submit(load, item)) for item in items[:depth]]
    for upcoming in [*items[depth:], *[None] * len(waiting)]:
        if not waiting:
            return
        item, future = waiting.pop(0)
        if upcoming is not None:
            waiting.append((upcoming, pool.submit(load, upcoming)))
        yield item, future.result()
