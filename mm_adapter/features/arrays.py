"""Published clip features as a feature store: Video Swin, I3D and others that come as one array per clip.

Reads ``<clip>.npy`` or ``<clip>.pt`` of shape ``[n, C]`` (`data-formats.md` §5: GDLT's ``swintx_avg_fps25_clip32/<name>.npy``), or
``[C]`` for one vector. The coach gets a mapper of that width.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from mm_data.features import FeatureManifest, FeatureStoreWriter
from mm_data.ground.safe_load import load_array
from mm_data.records import VideoClip
from mm_tokenizers.state_dicts import read_torch_file

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
    width = _width(folder, clips)
    manifest = FeatureManifest(
        encoder=name,
        encoder_hash=f"published arrays of width {width}",  # the files of two data sets differ, what made them does not
        preprocessing=f"rows at the middles of {num_tokens} intervals",
        num_tokens=num_tokens,
        width=width,
        dtype="float16",
        views=(view,),
    )
    store = FeatureStoreWriter(out, manifest, {clip: {} for clip in clips}, max_bad_share)
    if retry_bad:
        store.retry_rejected()
    return store.fill(lambda clip: _rows(_read(_file(folder, clip)), num_tokens, width), _BATCH, progress)


def _file(folder: Path, clip: str) -> Path:
    for stem in (clip, clip.replace(":", "_"), clip.split(":")[0]):
        for ending in _ENDINGS:
            if (path := folder / f"{stem}{ending}").is_file():
                return path
    raise FileNotFoundError(f"{folder} has no {clip}.npy or .pt")


def _read(path: Path) -> np.ndarray:
    """``[n, C]`` float32."""
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


def _rows(array: np.ndarray, num_tokens: int, width: int) -> np.ndarray:
    if array.shape[1] != width:
        raise ValueError(f"width {array.shape[1]}, the first clip's is {width}")
    return array[((np.arange(num_tokens) + 0.5) * len(array) / num_tokens).astype(int)]


def _width(folder: Path, clips: Mapping[str, VideoClip]) -> int:
    """Width of the first readable array."""
    for clip in clips:
        try:
            return _read(_file(folder, clip)).shape[1]
        except (FileNotFoundError, ValueError):
            continue
    raise ValueError(
        f"{folder}: none of the {len(clips)} clips has a readable array there, such as {next(iter(clips))}.npy."
    )
