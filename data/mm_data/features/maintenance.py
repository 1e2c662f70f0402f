"""Checks and joins finished feature stores."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mm_data.features.store import INDEX, FeatureManifest, read_index, shard_name, write_end
from mm_data.ground.digests import sha256_of
from mm_data.ground.safe_load import load_array


def verify_store(folder: Path) -> list[str]:
    """Lists what is wrong with a finished store: arrays that are missing, changed or not finite, and clips without a row.

    Args:
        folder: The store.

    Returns:
        One sentence per problem; none where the store is sound.

    Raises:
        FileNotFoundError: The store is unfinished.
        ValueError: The folder is no store.
    """
    manifest = FeatureManifest.read(folder)
    problems = []
    try:
        index = read_index(folder)
    except ValueError as error:
        index, problems = {}, [str(error)]
    lengths: dict[int, int] = {}
    for name, expected in manifest.sha256.items():
        path = folder / name
        if not path.is_file():
            problems += [f"{name} is missing"] if name != INDEX else []
            continue
        if sha256_of(path) != expected:
            problems.append(f"{name} has changed since it was written")
        if name == INDEX:
            continue
        try:
            array = load_array(path, mmap=True)
        except ValueError as error:
            problems.append(f"{name} is not readable ({error})")
            continue
        if array.shape[1:] != (manifest.num_tokens, manifest.width) or array.dtype != manifest.dtype:
            expected_shape = (manifest.num_tokens, manifest.width)
            problems.append(
                f"{name} holds {array.dtype} {array.shape[1:]} per clip, "
                f"the manifest says {manifest.dtype} {expected_shape}"
            )
        if not all(np.isfinite(array[start : start + 256]).all() for start in range(0, len(array), 256)):
            problems.append(f"{name} holds values that are not finite")
        lengths[int(name.split("/")[0].removeprefix("shard-"))] = len(array)
    lost = [clip for clip, (shard, row) in index.items() if row >= lengths.get(shard, 0)]
    if lost:
        problems.append(f"{len(lost)} clips of the index have no row, such as {lost[0]}")
    return problems


def merge_stores(folders: Sequence[Path], out: Path) -> FeatureManifest:
    """Joins finished stores of the same encoder into a new one, by copying their shards.

    Args:
        folders: The stores.
        out: The new store.

    Returns:
        Its manifest.

    Raises:
        FileNotFoundError: A store is unfinished.
        ValueError: Stores differ in what made them or share clips, or the target is in use; says which.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; give a new folder.")
    manifests = [FeatureManifest.read(folder) for folder in folders]
    index: dict[str, list[int]] = {}
    rejected: dict[str, str] = {}
    hashes: dict[str, str] = {}
    copies: list[tuple[Path, Path]] = []
    shards = 0
    for folder, manifest in zip(folders, manifests, strict=True):
        first, other = manifests[0].identity(), manifest.identity()
        differing = [f"{key}: {first[key]!r} and {other[key]!r}" for key in first if first[key] != other[key]]
        if differing:
            raise ValueError(f"{folders[0]} and {folder} cannot be merged; they differ in {'; '.join(differing)}.")
        rows = read_index(folder)
        shared = [clip for clip in rows if clip in index]
        if shared:
            raise ValueError(f"{folder} shares {len(shared)} clips with the stores before it, such as {shared[0]}.")
        arrays = [(*name.split("/"), value) for name, value in manifest.sha256.items() if name != INDEX]
        numbers = {shard: shards + i for i, shard in enumerate(sorted({shard for shard, _, _ in arrays}))}
        copies += [(folder / shard, out / shard_name(number)) for shard, number in numbers.items()]
        index |= {clip: [numbers[shard_name(shard)], row] for clip, (shard, row) in rows.items()}
        hashes |= {f"{shard_name(numbers[shard])}/{file}": value for shard, file, value in arrays}
        rejected |= manifest.rejected
        shards += len(numbers)
    for source, target in copies:
        shutil.copytree(source, target)
    rejected = {clip: reason for clip, reason in rejected.items() if clip not in index}
    write_end(out, manifests[0].identity(), index, rejected, hashes)
    return FeatureManifest.read(out)
