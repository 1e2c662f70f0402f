"""A folder of poses for training and testing a pose tokenizer, whatever the motion came from.

::

    FOLDER/poses.json          format, options, funnel, whether synthetic, and the split of every sequence
    FOLDER/poses/<name>.npy    [T, 17, 4] float32: x, y, z in metres (z up), visibility; 30 fps
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.build import Report
from mm_data.files import write_atomically
from mm_data.funnel import Funnel
from mm_data.hashing import uniform
from mm_data.motion.bvh import read_bvh
from mm_data.motion.joint_maps import FORMATS, JointFormat, array_to_coco, match_bvh_joints, to_z_up
from mm_data.pairing import split_by_participant
from mm_data.records import FPS
from mm_data.safe_load import is_path_component, load_archive, load_array
from mm_data.skeleton import JOINT_INDEX
from mm_data.sources import cache_poses, read_source
from mm_data.tuple_store import POSES, SPLITS, read_manifest, read_tuples

MANIFEST = "poses.json"
_FPS = (1.0, 1000.0)
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
_LEG = (0.4, 1.4)  # plausible hip-to-ankle lengths in metres, from toddlers to the tallest people
_UPRIGHT = 0.1  # metres that shoulders are above hips; lying and hanging sequences may be fewer than half
_SIDES = ("left", "right")
_ENDINGS = {"bvh": (".bvh",)} | dict.fromkeys(FORMATS, (".npy", ".npz"))


@dataclass(frozen=True)
class ImportOptions:
    """How foreign motion is read.

    Attributes:
        format: ``bvh`` or a key of `mm_data.motion.joint_maps.FORMATS`.
        unit: Key of `UNITS`.
        up: Axis that points up, or None for the format's convention (BVH: y).
        fps: Frame rate of arrays, or None for the format's convention. BVH files say theirs.
        joint_map: COCO joint to BVH joint, for rigs with unusual names.
        test_share: Share of the performers whose motion is kept for testing.
        max_drop_rate: Share of files that may be unusable.
    """

    format: str
    unit: str = "m"
    up: str | None = None
    fps: float | None = None
    joint_map: dict[str, str] | None = None
    test_share: float = 0.1
    max_drop_rate: float = 0.5

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for settings that mean nothing."""
        for name, value, known in (("format", self.format, _ENDINGS), ("unit", self.unit, UNITS)):
            if value not in known:
                raise ValueError(f"Unknown {name} {value!r}; choose from {', '.join(known)}.")
        if self.fps is not None and not _FPS[0] <= self.fps <= _FPS[1]:
            raise ValueError(f"fps is {self.fps}; it has to be from {_FPS[0]} to {_FPS[1]}.")
        if self.joint_map is not None and not (
            isinstance(self.joint_map, dict)
            and all(isinstance(v, str) for item in self.joint_map.items() for v in item)
        ):
            raise ValueError(f"The joint map has to be lines like 'left-hip: LeftUpLeg', not {self.joint_map!r}.")
        if self.format == "bvh" and self.fps is not None:
            raise ValueError("BVH files say their own frame rate; leave --fps out.")
        if self.format != "bvh" and self.joint_map is not None:
            raise ValueError(f"--joint-map is for BVH; the joints of {self.format} are known.")


def import_motion(root: Path, out: Path, options: ImportOptions, report: Report) -> dict[str, Any]:
    """Converts every motion file below a folder; returns the manifest.

    The first folder below ``root`` is the performer (``01/01_05.bvh``), or the file itself where there are no folders; a
    performer is on one side of the split. Folders named ``train`` and ``test`` are taken at their word.

    Raises:
        FileNotFoundError: No file of the format.
        ValueError: Too many files are unusable.
    """
    endings = _ENDINGS[options.format]
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix.lower() in endings)
    root = root.parent if root.is_file() else root
    if not files:
        raise FileNotFoundError(f"{root} holds no {' or '.join(_ENDINGS[options.format])} file.")
    funnel = Funnel("read motion", options.max_drop_rate)
    (out / MANIFEST).unlink(missing_ok=True)
    sequences: list[dict[str, Any]] = []
    with report.progress("reading motion", len(files)) as progress:
        for done, path in enumerate(files, start=1):
            sequences += _import_file(root, path, out, options, funnel)
            progress(done)
    names = Counter(entry["name"] for entry in sequences)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(
            f"{root}: {len(twice)} sequences would have the same name, such as {twice[0]}; rename their files."
        )
    funnel.check()
    upright = float(np.median([entry.pop("upright") for entry in sequences]))
    if not upright > _UPRIGHT:
        raise ValueError(
            f"{root}: in half of the sequences the shoulders are {upright:.2f} m above the hips or less, so up is not "
            f"{options.up or 'the format' + chr(39) + 's convention'}. Set --up."
        )
    return _finish(out, {"source": str(root.resolve()), **asdict(options)}, sequences, funnel)


def import_dataset(root: Path, out: Path, report: Report, workers: int = 1) -> dict[str, Any]:
    """Reads the poses of all takes of an Ego-Exo4D download, a miniature or one's own videos; returns the manifest.

    Unlike a tuple folder, this holds takes without remarks too. Splits are the data set's, participant-disjoint.

    Raises:
        FileNotFoundError: A file of the data set is missing.
        ValueError: A file is malformed, or too much had to be dropped.
    """
    source = read_source(root)
    funnel = Funnel("read motion", 0.5)
    (out / MANIFEST).unlink(missing_ok=True)
    splits = split_by_participant(source.takes, Funnel("choose takes", 1.0))
    for uid in [uid for uid in splits if uid not in source.pose_files]:
        funnel.drop("no body poses", uid, expected=True)
        del splits[uid]
    with report.progress("reading poses", len(splits)) as progress:
        kept = cache_poses(source, list(splits), out / POSES, funnel, workers, progress=progress)
    funnel.check()
    sequences = [
        {"name": uid, "split": splits[uid], "frames": len(np.load(out / POSES / f"{uid}.npy", mmap_mode="r"))}
        for uid in kept
    ]
    return _finish(out, {"source": str(root.resolve()), "format": "dataset"}, sequences, funnel, source.synthetic)


def pose_files(folder: Path, split: str) -> dict[str, Path]:
    """Sequence name to pose array, of a pose folder or of the takes in a tuple folder.

    Raises:
        FileNotFoundError: The folder is neither, or not finished.
        ValueError: The split is empty.
    """
    if (folder / MANIFEST).is_file():
        entries = json.loads((folder / MANIFEST).read_text())["sequences"]
        names = [entry["name"] for entry in entries if entry["split"] == split]
    else:
        names = sorted({clip.take_uid for t in read_tuples(folder, split) for clip in (t.learner, t.expert)})
    if not names:
        raise ValueError(f"{folder}: the {split} split holds no sequence; import more performers, or set --test-share.")
    return {name: folder / POSES / f"{name}.npy" for name in names}


def is_synthetic(folder: Path) -> bool:
    """Whether the poses of a pose folder or a tuple folder are made up.

    Raises:
        FileNotFoundError: The folder is neither, or not finished.
    """
    path = folder / MANIFEST
    return bool((json.loads(path.read_text()) if path.is_file() else read_manifest(folder))["synthetic"])


def _finish(
    out: Path, request: dict[str, Any], sequences: list[dict[str, Any]], funnel: Funnel, synthetic: bool = False
) -> dict[str, Any]:
    manifest = {"request": request, "synthetic": synthetic, "sequences": sequences, "funnel": [funnel.summary()]}
    write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))
    return manifest


def _import_file(root: Path, path: Path, out: Path, options: ImportOptions, funnel: Funnel) -> list[dict[str, Any]]:
    """Writes the sequences of one file; returns their entries in the manifest."""
    relative = path.relative_to(root).with_suffix("").parts
    try:
        found = list(_read(path, options))
        bad_keys = [key for key, _ in found if key and not is_path_component(key)]
        if bad_keys:
            raise ValueError(f"{path}: array name {bad_keys[0]!r} cannot become a file name.")
    except ValueError as error:
        funnel.drop("cannot be used", str(error))
        return []
    funnel.keep()
    (out / POSES).mkdir(parents=True, exist_ok=True)
    entries = []
    for key, poses in found:
        name = "__".join([*relative, *([key] if key else [])])
        np.save(out / POSES / f"{name}.npy", poses.astype(np.float32))
        shoulders, hips = (
            poses[:, [JOINT_INDEX[f"{side}-{part}"] for side in _SIDES], 2] for part in ("shoulder", "hip")
        )
        upright = float(np.nanmedian(shoulders - hips)) if np.isfinite(shoulders - hips).any() else float("inf")
        entries.append({"name": name, "split": _split(relative, options), "frames": len(poses), "upright": upright})
    return entries


def _split(relative: tuple[str, ...], options: ImportOptions) -> str:
    if relative[0] in SPLITS:
        return relative[0]
    performer = relative[0]
    if options.format == "humanml3d" and len(relative) == 1:
        performer = performer.removeprefix("M")  # M000123 is the mirrored 000123
    return "test" if uniform(performer) < options.test_share else "train"


def _read(path: Path, options: ImportOptions) -> Iterator[tuple[str, np.ndarray]]:
    """(key inside the file, poses ``[T, 17, 4]``) of every sequence of a file."""
    if options.format == "bvh":
        motion = read_bvh(path)
        chosen = match_bvh_joints(motion.names, options.joint_map or {}, str(path))
        source = {ours: motion.names.index(theirs) for ours, theirs in chosen.items()}
        form = JointFormat(len(motion.names), source, up="y", fps=motion.fps)
        yield "", _normalise(array_to_coco(motion.positions, form, str(path)), options, form, str(path))
        return
    form = FORMATS[options.format]
    for key, array in _arrays(path):
        where = f"{path}[{key}]" if key else str(path)
        if not np.issubdtype(array.dtype, np.number):
            raise ValueError(f"{where}: holds {array.dtype}, not numbers.")
        poses = array_to_coco(array.astype(np.float64), form, where)
        yield key, _normalise(poses, options, form, where)


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.suffix.lower() == ".npy":
        yield "", load_array(path)
        return
    archive = load_archive(path)
    motions = {key: array for key, array in archive.items() if array.ndim == 3}
    if not motions:
        raise ValueError(f"{path}: holds no array [T, J, 3]; its arrays are {', '.join(archive) or 'none'}.")
    yield from (motions if len(motions) > 1 else {"": next(iter(motions.values()))}).items()


def _normalise(poses: np.ndarray, options: ImportOptions, form: JointFormat, where: str) -> np.ndarray:
    """To metres, z up, 30 fps; refuses bodies of impossible size, which have another unit."""
    poses[..., :3] = to_z_up(poses[..., :3], options.up or form.up) * UNITS[options.unit]
    hips, knees = (poses[:, [JOINT_INDEX[f"{side}-{part}"] for side in _SIDES], :3] for part in ("hip", "knee"))
    thighs = np.linalg.norm(hips - knees, axis=-1)
    if not np.isfinite(thighs).any():
        raise ValueError(f"{where}: no frame has a hip and its knee, so the motion cannot be used.")
    leg = 2 * float(np.nanmedian(thighs))
    if not _LEG[0] <= leg <= _LEG[1]:
        raise ValueError(
            f"{where}: legs are {leg:.3g} m long if the unit is {options.unit}; people's are {_LEG[0]} to {_LEG[1]} m. Set --unit."
        )
    return _resample(poses, options.fps or form.fps)


def _resample(poses: np.ndarray, fps: float) -> np.ndarray:
    """To 30 fps by linear interpolation; a joint is visible where it is in both neighbouring frames."""
    if abs(fps - FPS) < 0.01:
        return poses
    times = np.arange(int((len(poses) - 1) * FPS / fps) + 1) * fps / FPS
    before = np.minimum(times.astype(int), len(poses) - 1)
    after = np.minimum(before + 1, len(poses) - 1)
    share = (times - before)[:, None, None]
    out = np.where(share > 0, (1 - share) * poses[before] + share * poses[after], poses[before])
    out[..., 3] = np.where((share[..., 0] > 0) & (poses[after, :, 3] == 0), 0.0, poses[before, :, 3])
    out[out[..., 3] == 0, :3] = np.nan
    return out
