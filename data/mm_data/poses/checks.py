"""Whether poses can be a person's: joints that were not found, another unit or axis, limbs that nobody has.

Everything that takes poses of unknown origin goes through here (own videos, imports, single files), so that the same file is
refused in the same words wherever it is given. What can be left out is left out and counted; what makes the whole file
something else is an error.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mm_data.poses.skeleton import BONES, HIPS, JOINT_INDEX, JOINTS, NUM_JOINTS

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu": 0.0254 / 0.45}
"""Metres per unit; ``cmu`` is that of the CMU motion capture library's ASF and BVH files, 1 / 0.45 inch."""

AT_ORIGIN = "joints at (0, 0, 0), taken as absent"
SHARED = "joints at one point with another, taken as absent"
COLLAPSED = "frames whose joints all coincide, taken as absent"
RESIZED = "frames with a body of less than half or more than twice its size, taken as absent"
IMPOSSIBLE = "joints at the end of limbs that nobody has, taken as absent"
REPEATED = "frames that repeat the one before exactly"
TURNED = "sequences whose people do not stand upright: do they lie, or is another axis up?"

_LEG = (0.52, 1.15)
"""Twice the thigh, in metres, from five-year-olds to the tallest people. The ends are 2.2 apart, as are inches and CMU's unit, so
that no body fits both."""
_TRUNK_AS_LEG = 1.75  # thighs are absent behind a table: a leg is so many times the distance from hip to shoulder
_MAX_LENGTH = {
    "wrist": 0.45,
    "elbow": 0.5,
    "shoulder": 0.65,
    "hip": 0.5,
    "knee": 0.7,
    "ankle": 0.7,
    "eye": 0.2,
    "ear": 0.25,
}
_MAX_TRUNK = 0.9
_SHORTEST, _LONGEST = 1 / 3, 2.0  # of a limb, times its median over the sequence
_SIZES = (0.5, 2.0)
_MAX_LOST = 0.5
_FAR = 1000.0  # metres from the origin
_SAVE_METRES = "Save the poses in metres."
_UPRIGHT = 0.1  # metres that shoulders are above hips
_ALONG = 0.8  # share of the trunk's length that lies along an axis
_INWARDS = ("hip", "shoulder", "knee", "elbow", "nose", "eye", "ear", "ankle", "wrist")  # who is believed first
_UP_VECTORS = {"z": (0.0, 0.0, 1.0), "y": (0.0, 1.0, 0.0), "y-down": (0.0, -1.0, 0.0)}
_SIDES = ("left", "right")


def mask_lost(poses: np.ndarray, notes: Counter[str], source: Mapping[str, int] | None = None) -> np.ndarray:
    """Takes joints that were not found, and were written as (0, 0, 0) or as any other one point, as absent.

    Has to see the coordinates as the file has them: resampling would draw neighbours towards the origin. A hip that a format
    puts at the origin in every frame is no lost joint.

    Args:
        poses: ``[T, 17, 4]`` in any unit and axes.
        notes: Counts what was taken as absent.
        source: COCO joint to the source's joint; two of ours may stand for one of theirs, and coincide on purpose.

    Returns:
        A copy with NaN and flag 0 where a joint is absent.
    """
    places, visible = poses[..., :3], poses[..., 3] > 0
    known = np.abs(places[visible])
    tolerance = 1e-6 * float(np.median(known)) if known.size else 0.0
    with np.errstate(invalid="ignore"):
        at_origin = visible & (np.abs(places).max(-1) <= tolerance)
    shared = np.zeros_like(visible)
    same = source or JOINT_INDEX
    for a, b in itertools.combinations(range(NUM_JOINTS), 2):
        if same.get(JOINTS[a], a) != same.get(JOINTS[b], -1 - b):
            both = visible[:, a] & visible[:, b]
            both[both] = np.abs(places[both, a] - places[both, b]).max(-1) <= tolerance
            shared[both, a] = shared[both, b] = True
    collapsed = (visible.sum(1) > 1) & _coincide(places, visible, tolerance)
    for side, other in itertools.permutations(_SIDES):
        if _is_root(places, at_origin, visible & ~collapsed[:, None], side, other):
            at_origin[:, JOINT_INDEX[f"{side}-hip"]] = False
    notes[COLLAPSED] += int(collapsed.sum())
    notes[AT_ORIGIN] += int((at_origin & ~collapsed[:, None]).sum())
    notes[SHARED] += int((shared & ~at_origin & ~collapsed[:, None]).sum())
    return _without(poses, at_origin | shared)


def check_poses(
    poses: np.ndarray, where: str, notes: Counter[str], unit: str | float = "m", remedy: str = _SAVE_METRES
) -> np.ndarray:
    """Refuses bodies of impossible size and takes impossible limbs as absent.

    Args:
        poses: ``[T, 17, 4]`` in metres after `mask_lost`, any axes.
        where: File, for the error.
        notes: What `mask_lost` counted in this file; counts what is taken as absent here.
        unit: What the file's unit was taken for: a key of `UNITS`, or metres per unit.
        remedy: What the user can do about another unit.

    Returns:
        A copy with NaN and flag 0 where a joint is absent.

    Raises:
        ValueError: Another unit, joints far from the origin or all in one plane, or more than half of the joints or frames are lost.
    """
    visible = poses[..., 3] > 0
    if not visible.any() and any(notes[what] for what in (AT_ORIGIN, SHARED, COLLAPSED)):
        raise ValueError(
            f"{where}: every joint of every frame is at (0, 0, 0) or at one point with another: no pose was found."
        )
    _check_size(poses, where, unit, remedy)
    _check_places(poses, where)
    _check_depth(poses, where)
    lengths = _limb_lengths(poses)
    usual = _usual_lengths(lengths)
    resized = _resized(lengths, usual)
    plausible = _without(poses, np.broadcast_to(resized[:, None], visible.shape))
    impossible = _impossible_joints(plausible, usual)
    notes[RESIZED] += int(resized.sum())
    notes[IMPOSSIBLE] += int(impossible.sum())
    plausible = _without(plausible, impossible)
    same = ((plausible[1:] == plausible[:-1]) | np.isnan(plausible[1:]) & np.isnan(plausible[:-1])).all((1, 2))
    notes[REPEATED] += int((same & (plausible[1:, :, 3] > 0).any(1)).sum())
    _check_losses(plausible, where, notes)
    return plausible


def trunk(poses: np.ndarray) -> np.ndarray:
    """Returns the median vector ``[3]`` from mid-hip to mid-shoulder of poses ``[T, 17, 4]``; NaN where no frame has all four joints."""
    shoulders, hips = (
        np.mean([poses[:, JOINT_INDEX[f"{side}-{part}"], :3] for side in _SIDES], axis=0)
        for part in ("shoulder", "hip")
    )
    vectors = (shoulders - hips)[np.isfinite(shoulders - hips).all(1)]
    return np.median(vectors, axis=0) if len(vectors) else np.full(3, np.nan)


def other_axis(direction: np.ndarray, up: str = "z") -> str | None:
    """Returns ``+y`` and the like where a `trunk` is not upright and lies along another axis, else None.

    One such sequence may be of somebody who lies, so it is no error; it is counted as `TURNED`.
    """
    axis = int(np.abs(direction).argmax())
    length = float(np.linalg.norm(direction))
    if direction @ _UP_VECTORS[up] > _UPRIGHT or not length > _UPRIGHT or abs(direction[axis]) < _ALONG * length:
        return None
    return f"{'+' if direction[axis] > 0 else '-'}{'xyz'[axis]}"


def check_upright(
    trunks: Iterable[np.ndarray], where: str, up: str = "z", remedy: str = "Turn the poses so that z points up."
) -> None:
    """Refuses sequences that stand along another axis than the one that points up.

    People who lie do so in any direction, so single lying sequences pass, and so do many that lie differently.

    Args:
        trunks: `trunk` of every sequence, in the file's axes.
        where: File or folder, for the error.
        up: ``z``, ``y`` or ``y-down``.
        remedy: What the user can do about it.

    Raises:
        ValueError: Half of the sequences or more stand along the same other axis.
    """
    known = [vector for vector in trunks if np.isfinite(vector).all()]
    turned = Counter(axis for vector in known if (axis := other_axis(vector, up)))
    for axis, count in turned.most_common(1):
        if 2 * count >= len(known):
            along = [vector for vector in known if other_axis(vector, up) == axis]
            height = float(np.median([vector @ _UP_VECTORS[up] for vector in along]))
            far = float(np.median([np.abs(vector).max() for vector in along]))
            raise ValueError(
                f"{where}: in half of the sequences or more ({count} of {len(known)}) the shoulders are {height:.2f} m "
                f"above the hips if {up} points up, and {far:.2f} m from them along {axis}, so {up} is not up. {remedy}"
            )


def describe(notes: Mapping[str, int]) -> list[str]:
    """Returns one sentence for everything that was counted."""
    return [f"{count:,} {what}" for what, count in notes.items() if count]


def _without(poses: np.ndarray, lost: np.ndarray) -> np.ndarray:
    out = poses.copy()
    out[lost, :3] = np.nan
    out[lost, 3] = 0.0
    return out


def _coincide(places: np.ndarray, visible: np.ndarray, tolerance: float) -> np.ndarray:
    """Frames ``[T]`` whose visible joints are all at one point."""
    low = np.where(visible[..., None], places, np.inf).min(1)
    high = np.where(visible[..., None], places, -np.inf).max(1)
    spread = np.where(visible.any(1), (high - low).max(1), np.inf)
    return spread <= tolerance


def _is_root(places: np.ndarray, at_origin: np.ndarray, visible: np.ndarray, side: str, other: str) -> bool:
    """Whether a hip is at the origin in every frame because the format puts it there: its limbs are as long as the other side's."""
    hip, frames = JOINT_INDEX[f"{side}-hip"], visible.any(1)
    if not frames.any() or not at_origin[frames, hip].all() or at_origin[frames].sum() != frames.sum():
        return False
    for part in ("knee", "shoulder"):
        mine, theirs = (_median_from_hip(places, visible, part, [which]) for which in (side, other))
        if not 2 / 3 <= mine / theirs <= 3 / 2:
            return False
    return True


def _median_from_hip(places: np.ndarray, visible: np.ndarray, part: str, sides: Sequence[str] = _SIDES) -> float:
    """Median distance of a part from the hip of its side, over the frames that have both; NaN where none has."""
    distances = []
    for side in sides:
        a, b = JOINT_INDEX[f"{side}-hip"], JOINT_INDEX[f"{side}-{part}"]
        both = visible[:, a] & visible[:, b]
        distances.append(np.linalg.norm(places[both, a] - places[both, b], axis=-1))
    lengths = np.concatenate(distances)
    return float(np.median(lengths)) if len(lengths) else float("nan")


def _check_size(poses: np.ndarray, where: str, unit: str | float, remedy: str) -> None:
    metres_per_unit = UNITS[unit] if isinstance(unit, str) else unit
    places, visible = poses[..., :3], poses[..., 3] > 0
    leg = 2.0 * _median_from_hip(places, visible, "knee")
    if np.isnan(leg):
        leg = _TRUNK_AS_LEG * _median_from_hip(places, visible, "shoulder")
    if not np.isfinite(leg) or _LEG[0] <= leg <= _LEG[1]:
        return
    fitting = [name for name, metres in UNITS.items() if _LEG[0] <= leg / metres_per_unit * metres <= _LEG[1]]
    advice = f"They would fit if it were {' or '.join(fitting)}." if fitting else "They fit no unit that is known."
    raise ValueError(
        f"{where}: legs are {leg:.3g} m long if the unit is {unit if isinstance(unit, str) else f'{unit:g} m'}; "
        f"people's are {_LEG[0]} to {_LEG[1]} m. {advice} {remedy}"
    )


def _check_places(poses: np.ndarray, where: str) -> None:
    far = np.where(poses[..., 3:] > 0, np.abs(poses[..., :3]), 0.0)
    if far.max(initial=0.0) > _FAR:
        frame, joint, _ = np.unravel_index(far.argmax(), far.shape)
        raise ValueError(
            f"{where}: frame {frame}, joint {joint} is {far.max():.3g} m from the origin, more than {_FAR:.0f}; "
            "move the poses nearer, or take the joint as absent (NaN)."
        )


def _check_depth(poses: np.ndarray, where: str) -> None:
    """Refuses joints of a picture that were given a third coordinate."""
    seen = poses[..., :3][poses[..., 3] > 0]
    flat = (
        [axis for axis, spread in zip("xyz", np.ptp(seen, axis=0), strict=True) if spread == 0] if len(seen) > 3 else []
    )
    if flat:
        raise ValueError(
            f"{where}: {flat[0]} is the same for all joints of all frames, so these are joints in a picture, not in space. "
            "Lift them to 3-D first, or find poses in the video: mm-coach poses find."
        )


def _part(joint: int) -> str:
    return JOINTS[joint].rsplit("-", 1)[-1]


def _longest(a: int, b: int) -> float:
    return _MAX_TRUNK if {_part(a), _part(b)} == {"shoulder", "hip"} else _MAX_LENGTH[_part(b)]


_LONGEST_LIMBS = np.array([_longest(a, b) for a, b in BONES])
_KINDS = [tuple(sorted((_part(a), _part(b)))) for a, b in BONES]
_TRUST = [_INWARDS.index(_part(joint)) for joint in range(NUM_JOINTS)]


def _limb_lengths(poses: np.ndarray) -> np.ndarray:
    """Lengths ``[T, limbs]`` in the order of `BONES`; NaN where an end is absent."""
    ends = np.where(poses[..., 3:] > 0, poses[..., :3], np.nan)
    return np.stack([np.linalg.norm(ends[:, a] - ends[:, b], axis=-1) for a, b in BONES], axis=1)


def _usual_lengths(lengths: np.ndarray) -> np.ndarray:
    """Median of every limb ``[limbs]``, of both sides together, among the lengths that somebody can have."""
    possible = np.where(lengths <= _LONGEST_LIMBS, lengths, np.nan)
    usual = np.full(len(BONES), np.nan)
    for kind in set(_KINDS):
        columns = [column for column, other in enumerate(_KINDS) if other == kind]
        values = possible[:, columns]
        if np.isfinite(values).any():
            usual[columns] = np.nanmedian(values)
    return usual


def _resized(lengths: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Frames ``[T]`` in which half of the limbs or more are far from their usual length to the same side."""
    ratios = lengths / usual
    known = np.maximum(np.isfinite(ratios).sum(1), 1)
    small, large = (ratios < _SIZES[0]).sum(1) / known, (ratios > _SIZES[1]).sum(1) / known
    return np.maximum(small, large) > 0.5


def _impossible_joints(poses: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Joints ``[T, 17]`` without which no limb is too long or too short; of a limb's ends, the one with more such limbs goes."""
    lost = np.zeros(poses.shape[:2], bool)
    lengths = _limb_lengths(poses)
    wrong = (lengths > np.fmin(_LONGEST_LIMBS, _LONGEST * usual)) | (lengths < _SHORTEST * usual)
    while wrong.any():
        blame = np.zeros(lost.shape)
        for column, (a, b) in enumerate(BONES):
            blame[:, a] += wrong[:, column]
            blame[:, b] += wrong[:, column]
        worst = (blame + np.array(_TRUST) / 100 * (blame > 0)).argmax(1)
        frames = np.flatnonzero(wrong.any(1))
        lost[frames, worst[frames]] = True
        for column, (a, b) in enumerate(BONES):
            wrong[:, column] &= ~(lost[:, a] | lost[:, b])
    return lost


def _check_losses(poses: np.ndarray, where: str, notes: Mapping[str, int]) -> None:
    """Refuses a file of which too much was taken as absent."""
    left = int((poses[..., 3] > 0).sum())
    lost = notes.get(AT_ORIGIN, 0) + notes.get(SHARED, 0) + notes.get(IMPOSSIBLE, 0)
    frames = notes.get(COLLAPSED, 0) + notes.get(RESIZED, 0)
    what = "; ".join(describe(notes))
    if lost > _MAX_LOST * (lost + left) or frames > _MAX_LOST * len(poses):
        raise ValueError(
            f"{where}: of {len(poses)} frames, {left} joints can be used; taken as absent were {what}. "
            "At most half may be. Write joints that were not found as NaN, or find them better."
        )
    if not (poses[:, HIPS, 3] > 0).all(1).any():
        counts = f" ({what})" if what else ""
        raise ValueError(
            f"{where}: none of its {len(poses)} frames has both hips{counts}, so the poses cannot be used."
        )
