"""A folder of poses for training and testing a pose tokenizer, whatever the motion came from.

::

    FOLDER/poses.json          format, options, funnel, whether synthetic, and the split of every sequence
    FOLDER/poses/<name>.npy    [T, 17, 4] float32: x, y, z in metres (z up), visibility; 30 fps
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.ground.funnel import Funnel
from mm_data.ground.progress import Report
from mm_data.ground.safe_load import is_path_component, load_archive, load_array
from mm_data.poses.archive import PoseArchive
from mm_data.poses.bvh import read_bvh
from mm_data.poses.checks import TURNED, UNITS, check_poses, check_upright, mask_lost, other_axis, trunk
from mm_data.poses.joint_maps import FORMATS, JointFormat, array_to_coco, match_named_joints, to_z_up
from mm_data.poses.manifest import MANIFEST, PoseManifest, PoseSequence
from mm_data.poses.marker_files import read_c3d, read_trc
from mm_data.poses.people import choose_test_people, people_on_sides, person_of
from mm_data.records import FPS, POSES, SPLITS

_FPS = (1.0, 1000.0)
_ROUNDING = 2e-4  # of a frame rate; 29.97 is 1e-3 from 30
_SCALE = (1e-6, 1e3)  # metres per unit
_NAMED = {"bvh": (read_bvh, "y"), "trc": (read_trc, "y"), "c3d": (read_c3d, "z")}
"""Formats whose files name their joints and say their frame rate: how they are read, and which axis is up by convention."""

_ENDINGS = {name: (f".{name}",) for name in _NAMED} | dict.fromkeys(FORMATS, (".npy", ".npz"))


@dataclass(frozen=True)
class ImportOptions:
    """How foreign motion is read.

    Attributes:
        format: ``bvh``, ``trc``, ``c3d`` or a key of `mm_data.poses.joint_maps.FORMATS`.
        unit: Key of `mm_data.poses.checks.UNITS`.
        scale: Metres per unit, for units without a name; goes with the unit ``m``.
        up: Axis that points up, or None for the format's convention (BVH and TRC: y, C3D: z).
        fps: Frame rate of arrays, or None for the format's convention. Files that name their joints say theirs.
        joint_map: COCO joint to the file's, for files with unusual names.
        person: Regular expression whose first group, or whose match, in a file's path is the performer.
        people: Path below the source, or its last part, to performer; of every file.
        split_by: ``person``, or ``sequence`` where everything is one person's.
        test_share: Share of the performers whose motion is kept for testing; 0 keeps none.
        max_drop_rate: Share of files that may be unusable.
    """

    format: str
    unit: str = "m"
    scale: float | None = None
    up: str | None = None
    fps: float | None = None
    joint_map: dict[str, str] | None = None
    person: str | None = None
    people: dict[str, str] | None = None
    split_by: str = "person"
    test_share: float = 0.1
    max_drop_rate: float = 0.5

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for settings that mean nothing."""
        for name, value, known in (("format", self.format, _ENDINGS), ("unit", self.unit, UNITS)):
            if value not in known:
                raise ValueError(f"Unknown {name} {value!r}; choose from {', '.join(known)}.")
        if self.scale is not None and (self.unit != "m" or not _SCALE[0] <= self.scale <= _SCALE[1]):
            bounds = f"{_SCALE[0]} to {_SCALE[1]}"
            raise ValueError(
                f"The scale is {self.scale} metres per unit; give a number from {bounds}, and no unit beside it."
            )
        if not 0.0 <= self.test_share < 1.0:
            raise ValueError(f"The test share is {self.test_share}; it has to be from 0 to below 1.")
        if self.split_by not in ("person", "sequence"):
            raise ValueError(f"Unknown way to split {self.split_by!r}; choose from person, sequence.")
        if self.fps is not None and not _FPS[0] <= self.fps <= _FPS[1]:
            raise ValueError(f"fps is {self.fps}; it has to be from {_FPS[0]} to {_FPS[1]}.")
        if self.joint_map is not None and not (
            isinstance(self.joint_map, dict)
            and all(isinstance(v, str) for item in self.joint_map.items() for v in item)
        ):
            raise ValueError(f"The joint map has to be lines like 'left-hip: LeftUpLeg', not {self.joint_map!r}.")
        if self.format in _NAMED and self.fps is not None:
            raise ValueError(f"{self.format.upper()} files say their own frame rate; leave --fps out.")
        if self.format in ("trc", "c3d") and (self.unit != "m" or self.scale is not None):
            raise ValueError(f"{self.format.upper()} files say their own unit; leave --unit and --scale out.")
        if self.format not in _NAMED and self.joint_map is not None:
            raise ValueError(f"--joint-map is for {', '.join(_NAMED)}; the joints of {self.format} are known.")


def import_motion(root: Path, out: Path, options: ImportOptions, report: Report) -> PoseManifest:
    """Converts every motion file below a folder.

    A performer is on one side of the split; `mm_data.poses.people.person_of` says who that is. Folders named ``train`` and
    ``test`` are taken at their word.

    Args:
        root: Folder of the motion files, or one file.
        out: Pose folder to write.
        options: How the files are read and split.
        report: Receives progress.

    Returns:
        The manifest of the pose folder.

    Raises:
        FileNotFoundError: No file of the format.
        ValueError: Too many files are unusable, half of the sequences do not stand upright, or ``out`` and ``root`` overlap.
    """
    check_poses_apart(root, out)
    endings = _ENDINGS[options.format]
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix.lower() in endings)
    root = root.parent if root.is_file() else root
    if not files:
        raise FileNotFoundError(f"{root} holds no {' or '.join(_ENDINGS[options.format])} file.")
    funnel = Funnel("read motion", options.max_drop_rate)
    (out / MANIFEST).unlink(missing_ok=True)
    sequences: list[_Sequence] = []
    with report.progress("reading motion", len(files)) as progress:
        for done, path in enumerate(files, start=1):
            sequences += _import_file(root, path, out, options, funnel)
            progress(done)
    names = Counter(sequence.name for sequence in sequences)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(
            f"{root}: {len(twice)} sequences would have the same name, such as {twice[0]}; rename their files."
        )
    funnel.check()
    up = options.up or (_NAMED[options.format][1] if options.format in _NAMED else FORMATS[options.format].up)
    check_upright((sequence.trunk for sequence in sequences), str(root), up, "Set --up.")
    for sequence in sequences:
        if axis := other_axis(sequence.trunk, up):
            funnel.note(TURNED, f"{sequence.name} (shoulders are along {axis} from the hips)")
    splits, people = _split(sequences, options)
    manifest = PoseManifest(
        synthetic=False,
        sequences=[PoseSequence(s.name, splits[s.name], s.frames) for s in sequences],
        request={"source": str(root.resolve()), **asdict(options)},
        funnel=[funnel.summary()],
        people=people,
    )
    manifest.write(out)
    return manifest


def check_poses_apart(root: Path, out: Path) -> None:
    """Refuses to write where motion is read, or to read where poses are written."""
    source, target = root.resolve(), out.resolve()
    if target == source or source in target.parents or target / POSES in (source, *source.parents):
        raise ValueError(
            f"Poses of {root} cannot be written to {out}: the next import would read them as motion. "
            "Give a folder outside."
        )


@dataclass(frozen=True)
class _Sequence:
    """A sequence that was written; ``side`` is the split that its folder names, ``trunk`` is in the file's axes."""

    name: str
    frames: int
    person: str
    how: str
    side: str | None
    trunk: np.ndarray


def _import_file(root: Path, path: Path, out: Path, options: ImportOptions, funnel: Funnel) -> list[_Sequence]:
    """Writes the sequences of one file."""
    relative = path.relative_to(root).with_suffix("").parts
    notes: Counter[str] = Counter()
    try:
        motions = list(_read(path, options, notes))
        bad_keys = [key for key, _, _ in motions if key and not is_path_component(key)]
        if bad_keys:
            raise ValueError(f"{path}: array name {bad_keys[0]!r} cannot become a file name.")
    except ValueError as error:
        funnel.drop("cannot be used", str(error))
        return []
    funnel.keep()
    for what, count in notes.items():
        funnel.note(what, str(path), count)
    archive, sequences = PoseArchive(out), []
    archive.folder.mkdir(parents=True, exist_ok=True)
    for key, poses, direction in motions:
        name = "__".join([*relative, *([key] if key else [])])
        np.save(archive.path(name), poses.astype(np.float32))
        side = next((split for split in SPLITS if split == relative[0]), None)
        below = relative[1:] if side else relative
        person, how = person_of(
            "/".join(below) or relative[0], key, options.format, options.person, options.people, str(path)
        )
        sequences.append(_Sequence(name, len(poses), person, how, side, direction))
    return sequences


def _split(sequences: list[_Sequence], options: ImportOptions) -> tuple[dict[str, str], dict[str, Any]]:
    """Split of every sequence, and what there is to say about the people on both sides."""
    free = [sequence for sequence in sequences if sequence.side is None]
    unit = {s.name: s.name if options.split_by == "sequence" else s.person for s in free}
    test = choose_test_people(set(unit.values()), options.test_share)
    splits = {s.name: s.side or ("test" if unit[s.name] in test else "train") for s in sequences}
    return splits, people_on_sides({s.name: (s.person, s.how) for s in sequences}, splits, options.split_by)


def _read(path: Path, options: ImportOptions, notes: Counter[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(key inside the file, poses ``[T, 17, 4]``, trunk in the file's axes) of every sequence of a file."""
    if options.format in _NAMED:
        read, up = _NAMED[options.format]
        motion = read(path)
        joints = match_named_joints(motion.names, options.joint_map or {}, str(path))
        source = {ours: motion.names.index(theirs) for ours, theirs in joints.items()}
        form = JointFormat(len(motion.names), source, up, motion.fps)
        yield "", *_normalise(array_to_coco(motion.positions, form, str(path)), options, form, str(path), notes)
        return
    form = FORMATS[options.format]
    for key, array in _arrays(path):
        where = f"{path}[{key}]" if key else str(path)
        if not np.issubdtype(array.dtype, np.number):
            raise ValueError(f"{where}: holds {array.dtype}, not numbers.")
        poses = array_to_coco(array.astype(np.float64), form, where)
        yield key, *_normalise(poses, options, form, where, notes)


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.suffix.lower() == ".npy":
        yield "", load_array(path)
        return
    archive = load_archive(path)
    motions = {key: array for key, array in archive.items() if array.ndim == 3}
    if not motions:
        raise ValueError(f"{path}: holds no array [T, J, 3]; its arrays are {', '.join(archive) or 'none'}.")
    yield from (motions if len(motions) > 1 else {"": next(iter(motions.values()))}).items()


def _normalise(
    poses: np.ndarray, options: ImportOptions, form: JointFormat, where: str, notes: Counter[str]
) -> tuple[np.ndarray, np.ndarray]:
    """To metres, z up, 30 fps, by `mm_data.poses.checks`; and the trunk in the file's axes."""
    lost: Counter[str] = Counter()
    poses = mask_lost(poses, lost, form.source)
    direction = poses[..., :3] * (UNITS[options.unit] if options.scale is None else options.scale)
    poses[..., :3] = to_z_up(direction, options.up or form.up)
    unit, remedy = (
        (options.unit, "Set --unit, or --scale.") if options.scale is None else (options.scale, "Set --scale.")
    )
    poses = check_poses(poses, where, lost, unit, remedy)
    notes.update(lost)
    in_file = np.where(poses[..., 3:] > 0, direction, np.nan)
    return _resample(poses, options.fps or form.fps), trunk(in_file)


def _resample(poses: np.ndarray, fps: float) -> np.ndarray:
    """To 30 fps by linear interpolation; a joint is visible where it is in both neighbouring frames."""
    if abs(fps - FPS) < 0.01:
        return poses
    # BVH files round the time of a frame (0.0083333 s), and 120.0005 fps would draw on next frames that may be absent.
    fps = round(fps) if abs(fps - round(fps)) < _ROUNDING * fps else fps
    times = np.arange(int((len(poses) - 1) * FPS / fps + 1e-6) + 1) * fps / FPS
    before = np.minimum(times.astype(int), len(poses) - 1)
    after = np.minimum(before + 1, len(poses) - 1)
    share = (times - before)[:, None, None]
    out = np.where(share > 0, (1 - share) * poses[before] + share * poses[after], poses[before])
    out[..., 3] = np.where((share[..., 0] > 0) & (poses[after, :, 3] == 0), 0.0, poses[before, :, 3])
    out[out[..., 3] == 0, :3] = np.nan
    return out
