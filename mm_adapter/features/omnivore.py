"""Ego-Exo4D's released Omnivore features as a feature store: an alternative to running a video encoder.

The release holds one file per take and camera, ``features/omnivore_video/<take_uid>_<camera>_<stream>.pt``, with a row per
window of 32 frames every 16 frames at 30 fps (`data-formats.md` §1.6).
"""

import re
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from mm_data.features import FeatureManifest, FeatureStoreWriter
from mm_data.records import FPS, Clip
from mm_data.videos.frames import middle_times
from mm_tokenizers.state_dicts import read_torch_file

FOLDER = "features/omnivore_video"
WINDOW, STRIDE = 32, 16  # frames
_BATCH = 256  # clips that are written and recorded together


def import_omnivore(
    release: Path,
    clips: dict[str, Clip],
    out: Path,
    num_tokens: int,
    max_bad_share: float = 0.02,
    retry_bad: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Cuts clips out of the released features.

    A clip's ``num_tokens`` rows are the windows whose centres lie nearest to the middles of equal intervals of the clip.

    Args:
        release: Ego-Exo4D download with `FOLDER`.
        clips: Clip id to clip.
        out: Feature store.
        num_tokens: Number of rows per view (V).
        max_bad_share: Share of the clips whose files may be missing or unreadable.
        retry_bad: Try clips again whose files were missing in an earlier run.
        progress: Called with (done, total).

    Returns:
        Rejected clips with reasons.

    Raises:
        FileNotFoundError: The release has no Omnivore features.
        ValueError: No clip can be read, or too many cannot.
    """
    folder = release / FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing; download it with `egoexo -o {release} --parts features/omnivore_video`."
        )
    # Clips of one take come together, so that few files are open at a time.
    ordered = dict(sorted(clips.items(), key=lambda item: (item[1].take_uid, item[1].start)))
    width = _width(folder, ordered)
    manifest = FeatureManifest(
        encoder="Omnivore-L (Ego-Exo4D release)",
        encoder_hash=f"released features of width {width}",
        preprocessing=f"windows of {WINDOW} frames every {STRIDE}, the nearest to the middles of {num_tokens} intervals",
        num_tokens=num_tokens,
        width=width,
        dtype="float16",
    )
    store = FeatureStoreWriter(
        out, manifest, {clip_id: asdict(clip) for clip_id, clip in ordered.items()}, max_bad_share
    )
    if retry_bad:
        store.retry_rejected()
    work = [(shard, batch) for shard in store.shards for batch in shard.pending(_BATCH)]
    done = len(ordered) - sum(len(batch) for _, batch in work)
    for shard, batch in work:
        features = {view: np.zeros((len(batch), num_tokens, width), np.float16) for view in manifest.views}
        failed = {}
        for row, clip_id in enumerate(batch):
            clip = ordered[clip_id]
            for view, video in (("ego", clip.ego_video), ("exo", clip.exo_video)):
                try:
                    features[view][row] = _cut(_load(folder / feature_file(clip.take_uid, video)), clip, num_tokens)
                except (FileNotFoundError, ValueError) as error:
                    failed[clip_id] = f"{view} view: {error}"
        shard.write(batch, features, failed)
        done += len(batch)
        progress(done, len(ordered))
    rejected = store.finish()
    assert rejected is not None, "one process writes all shards"
    return rejected


def feature_file(take_uid: str, video: str) -> str:
    """Returns the name of a video's feature file: ``aria01_214-1.mp4`` is stream ``rgb`` of its camera, ``cam01.mp4`` stream 0."""
    stem = PurePosixPath(video).stem
    aria = re.fullmatch(r"(aria\d+)_214-1", stem)
    return f"{take_uid}_{aria[1]}_rgb.pt" if aria else f"{take_uid}_{stem}_0.pt"


@lru_cache(maxsize=8)
def _load(path: Path) -> np.ndarray:
    """Reads the windows of a file.

    Args:
        path: Feature file of a video.

    Returns:
        Windows ``[n, C]``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a plain tensor of that shape, or values that are not finite.
    """
    windows = read_torch_file(path, "The release holds plain tensors: download it again.")
    if not isinstance(windows, torch.Tensor) or windows.ndim != 2 or not len(windows):
        raise ValueError(
            f"{path}: expected a tensor [windows, width], found {getattr(windows, 'shape', type(windows))}."
        )
    if not torch.isfinite(windows).all():
        raise ValueError(f"{path}: holds values that are not finite; download it again.")
    return windows.float().numpy()


def _cut(windows: np.ndarray, clip: Clip, num_tokens: int) -> np.ndarray:
    end = (STRIDE * (len(windows) - 1) + WINDOW) / FPS
    times = middle_times(clip.start / FPS, clip.stop / FPS, num_tokens)
    if times[-1] > end + STRIDE / FPS:
        raise ValueError(f"its features end at {end:.1f} s, but the clip needs some at {times[-1]:.1f} s.")
    centres = (np.arange(len(windows)) * STRIDE + WINDOW / 2) / FPS
    return windows[np.abs(centres - times[:, None]).argmin(1)]


def _width(folder: Path, clips: dict[str, Clip]) -> int:
    """Feature width, from the first clip that has a readable file."""
    for clip in clips.values():
        for video in (clip.ego_video, clip.exo_video):
            try:
                return _load(folder / feature_file(clip.take_uid, video)).shape[1]
            except (FileNotFoundError, ValueError):
                continue
    raise ValueError(f"{folder}: none of the {len(clips)} clips has a readable feature file there.")
