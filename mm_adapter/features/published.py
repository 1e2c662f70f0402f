"""Published features as feature stores: alternatives to running a video encoder.

One array per clip, as Video Swin, I3D and others come: ``<clip>.npy`` or ``<clip>.pt`` of shape ``[n, C]`` (`data-formats.md` §5:
GDLT's ``swintx_avg_fps25_clip32/<name>.npy``), or ``[C]`` for one vector. The coach gets a mapper of that width.

Ego-Exo4D's release holds one file of Omnivore features per take and camera,
``features/omnivore_video/<take_uid>_<camera>_<stream>.pt``, with a row per window of 32 frames every 16 frames at 30 fps
(`data-formats.md` §1.6).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from mm_data.features import FeatureManifest, FeatureStoreWriter
from mm_data.ground.safe_load import load_array
from mm_data.records import FPS, Clip, VideoClip
from mm_data.videos.frames import middle_times
from mm_tokenizers.state_dicts import read_torch_file

OMNIVORE = "features/omnivore_video"
WINDOW, STRIDE = 32, 16  # frames
_ENDINGS = (".npy", ".pt")
_BATCH = 256  # clips that are written and recorded together


def import_arrays(
    folder: Path,
    clips: Mapping[str, VideoClip],
    out: Path,
    name: str,
    num_tokens: int,
    view: str = "exo",
    max_bad_share: float = 0.02,
    retry_bad: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Fills a feature store from arrays.

    A clip's ``num_tokens`` rows are the array's rows at the middles of as many equal intervals; a shorter array repeats rows.

    Args:
        folder: Folder of the arrays.
        clips: Clip id to clip; colons of an id may be missing in file names.
        out: Feature store.
        name: Name of the model that made the features, such as ``Video Swin-B (Kinetics-600)``.
        num_tokens: Number of rows per clip (V).
        view: View that the features show.
        max_bad_share: Share of the clips whose arrays may be missing or unreadable.
        retry_bad: Try clips again whose files were missing in an earlier run.
        progress: Called with (done, total).

    Returns:
        Rejected clips with reasons.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No array can be read, or too many cannot.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; give the folder of the published arrays.")
    width = _first_width(partial(_read_array, folder), clips)
    if width is None:
        raise ValueError(
            f"{folder}: none of the {len(clips)} clips has a readable array there, such as {next(iter(clips))}.npy."
        )
    manifest = FeatureManifest(
        encoder=name,
        encoder_hash=f"published arrays of width {width}",  # the files of two data sets differ, what made them does not
        preprocessing=f"rows at the middles of {num_tokens} intervals",
        num_tokens=num_tokens,
        width=width,
        dtype="float16",
        views=(view,),
    )

    def rows(clip: str) -> np.ndarray:
        array = _read_array(folder, clip)
        if array.shape[1] != width:
            raise ValueError(f"width {array.shape[1]}, the first clip's is {width}")
        return array[((np.arange(num_tokens) + 0.5) * len(array) / num_tokens).astype(int)]

    return _fill(out, manifest, {clip: {} for clip in clips}, rows, max_bad_share, retry_bad, progress)


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
        release: Ego-Exo4D download with `OMNIVORE`.
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
    folder = release / OMNIVORE
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; download it with `egoexo -o {release} --parts {OMNIVORE}`.")
    # Clips of one take come together, so that few files are open at a time.
    ordered = dict(sorted(clips.items(), key=lambda item: (item[1].take_uid, item[1].start)))
    files = {
        clip_id: [folder / feature_file(clip.take_uid, video) for video in (clip.ego_video, clip.exo_video)]
        for clip_id, clip in ordered.items()
    }
    width = _first_width(_read_windows, chain.from_iterable(files.values()))
    if width is None:
        raise ValueError(f"{folder}: none of the {len(clips)} clips has a readable feature file there.")
    manifest = FeatureManifest(
        encoder="Omnivore-L (Ego-Exo4D release)",
        encoder_hash=f"released features of width {width}",
        preprocessing=f"windows of {WINDOW} frames every {STRIDE}, the nearest to the middles of {num_tokens} intervals",
        num_tokens=num_tokens,
        width=width,
        dtype="float16",
    )

    def both_views(clip: str) -> np.ndarray:
        cuts = []
        for view, file in zip(manifest.views, files[clip], strict=True):
            try:
                cuts.append(_cut(_read_windows(file), ordered[clip], num_tokens))
            except (FileNotFoundError, ValueError) as error:
                raise ValueError(f"{view} view: {error}") from error
        return np.stack(cuts)

    listed = {clip_id: asdict(clip) for clip_id, clip in ordered.items()}
    return _fill(out, manifest, listed, both_views, max_bad_share, retry_bad, progress)


def feature_file(take_uid: str, video: str) -> str:
    """Returns the name of a video's feature file: ``aria01_214-1.mp4`` is stream ``rgb`` of its camera, ``cam01.mp4`` stream 0."""
    stem = PurePosixPath(video).stem
    aria = re.fullmatch(r"(aria\d+)_214-1", stem)
    return f"{take_uid}_{aria[1]}_rgb.pt" if aria else f"{take_uid}_{stem}_0.pt"


def _fill(
    out: Path,
    manifest: FeatureManifest,
    clips: Mapping[str, Any],
    features_of: Callable[[str], np.ndarray],
    max_bad_share: float,
    retry_bad: bool,
    progress: Callable[[int, int], None],
) -> dict[str, str]:
    store = FeatureStoreWriter(out, manifest, clips, max_bad_share)
    if retry_bad:
        store.retry_rejected()
    return store.fill(features_of, _BATCH, progress)


def _first_width(read: Callable[[Any], np.ndarray], sources: Iterable[Any]) -> int | None:
    """Width of the first source that can be read."""
    for source in sources:
        with suppress(FileNotFoundError, ValueError):
            return read(source).shape[1]
    return None


def _read_array(folder: Path, clip: str) -> np.ndarray:
    """A clip's rows ``[n, C]`` in float32."""
    names = [f"{stem}{ending}" for stem in (clip, clip.replace(":", "_"), clip.split(":")[0]) for ending in _ENDINGS]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {clip}.npy or .pt")
    if path.suffix == ".npy":
        array = load_array(path)
    else:
        tensor = read_torch_file(path, "Published features are plain tensors.")
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{path}: holds a {type(tensor).__name__}, not a tensor.")
        array = tensor.float().numpy()
    array = np.atleast_2d(np.squeeze(np.asarray(array, np.float32)))
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{path}: has shape {array.shape}; expected [rows, width].")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: holds values that are not finite.")
    return array


@lru_cache(maxsize=8)
def _read_windows(path: Path) -> np.ndarray:
    """A video's windows ``[n, C]`` in float32."""
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
