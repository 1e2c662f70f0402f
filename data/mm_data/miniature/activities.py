"""Three activities as key postures, each with a library of technique errors.

An error is a change of key postures, scaled by severity, together with what a coach says about it. The texts are in
`mm_data.miniature.remarks`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mm_data.miniature.body import POSTURE_INDEX, Posture

Change = dict[str, float]
"""Posture field to the amount added at severity 1."""


@dataclass(frozen=True)
class TechniqueError:
    """A fault of execution.

    Attributes:
        name: Identifier in the ground-truth sidecar.
        region: Body region it belongs to.
        visible_at: Share of the repetition at which a commentator has seen it.
        changes: Key name (or ``*`` for every key) to the change at severity 1.
    """

    name: str
    region: str
    visible_at: float
    changes: dict[str, Change]


@dataclass(frozen=True)
class Activity:
    """One task: key postures over a repetition, personal style, errors and the props that the renderer draws."""

    parent: str
    parent_id: int
    task: str
    task_id: int
    slug: str
    duration: float
    keys: tuple[tuple[str, float, Posture], ...]
    errors: tuple[TechniqueError, ...]
    style: Callable[[np.random.Generator], Change]

    def postures(
        self, rng: np.random.Generator, style: Change, errors: dict[str, float], duration: float, fps: float
    ) -> np.ndarray:
        """Makes one repetition, ``[T, 25]``, with this performer's style and errors (name to severity) and small variation."""
        times, values = [], []
        for name, share, posture in self.keys:
            vector = posture.vector()
            for error in self.errors:
                severity = errors.get(error.name, 0.0)
                for key in ("*", name):
                    for field_name, amount in error.changes.get(key, {}).items():
                        vector[POSTURE_INDEX[field_name]] += severity * amount
            for field_name, amount in style.items():
                vector[POSTURE_INDEX[field_name]] += amount
            vector += rng.normal(0.0, 0.015, vector.shape)
            times.append(share + (0.0 if share in (0.0, 1.0) else rng.normal(0.0, 0.012)))
            values.append(vector)
        return smooth_interpolation(np.array(times), np.array(values), round(duration * fps))


def smooth_interpolation(times: np.ndarray, values: np.ndarray, frames: int) -> np.ndarray:
    """Blends key values at minimum jerk: ``[N]``, ``[N, D]`` to ``[frames, D]``."""
    at = np.linspace(times[0], times[-1], frames)
    index = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    phase = (at - times[index]) / (times[index + 1] - times[index])
    blend = phase**3 * (10 - 15 * phase + 6 * phase**2)
    return values[index] + blend[:, None] * (values[index + 1] - values[index])


_STAND = Posture()

# --- basketball: a right-handed jump shot ---------------------------------------------------------------------------
_READY = _STAND.but(
    pelvis_z=0.90, lean=0.18,
    right_hand_x=-0.18, right_hand_y=0.42, right_hand_z=-0.50, left_hand_x=0.18, left_hand_y=0.42, left_hand_z=-0.50,
    right_foot_x=0.19, left_foot_x=-0.19,
)  # fmt: skip
_DIP = _READY.but(pelvis_z=0.74, lean=0.30, right_hand_z=-0.38, left_hand_z=-0.38, right_hand_y=0.46, left_hand_y=0.46)
_SET = _READY.but(
    pelvis_z=0.93, lean=0.06, head_down=-0.12,
    right_hand_x=-0.10, right_hand_y=0.34, right_hand_z=0.30, right_elbow_swivel=0.05,
    left_hand_x=0.26, left_hand_y=0.30, left_hand_z=0.22, left_elbow_swivel=0.7,
)  # fmt: skip
_RELEASE = _SET.but(
    pelvis_z=1.14, lean=0.02,
    right_hand_x=-0.06, right_hand_y=0.42, right_hand_z=0.86, left_hand_x=0.20, left_hand_y=0.34, left_hand_z=0.40,
    right_foot_z=0.19, left_foot_z=0.19,
)  # fmt: skip
_FOLLOW = _RELEASE.but(
    pelvis_z=1.07, right_hand_y=0.52, right_hand_z=0.78, left_hand_y=0.34, left_hand_z=0.18,
    right_foot_z=0.12, left_foot_z=0.12,
)  # fmt: skip
_LAND = _READY.but(
    pelvis_z=0.86, lean=0.16, right_hand_x=0.0, right_hand_y=0.50, right_hand_z=0.35,
    left_hand_x=0.05, left_hand_y=0.40, left_hand_z=-0.30,
)  # fmt: skip


def _basketball_style(rng: np.random.Generator) -> Change:
    width = rng.normal(0.0, 0.03)
    return {
        "pelvis_z": rng.normal(0.0, 0.02),
        "lean": rng.normal(0.0, 0.05),
        "pelvis_yaw": rng.normal(0.0, 0.22),
        "right_hand_y": rng.normal(0.0, 0.06),
        "left_elbow_swivel": rng.normal(0.0, 0.25),
        "right_foot_x": width,
        "left_foot_x": -width,
        "right_foot_y": rng.normal(0.05, 0.08),
    }


BASKETBALL = Activity(
    parent="Basketball",
    parent_id=6000,
    task="Mid-Range Jumpshot",
    task_id=6003,
    slug="basketball",
    duration=1.9,
    keys=(
        ("ready", 0.0, _READY),
        ("dip", 0.30, _DIP),
        ("set", 0.50, _SET),
        ("release", 0.64, _RELEASE),
        ("follow", 0.78, _FOLLOW),
        ("land", 1.0, _LAND),
    ),
    errors=(
        TechniqueError(
            "elbow_flare", "arms", 0.72,
            {"dip": {"right_elbow_swivel": 0.8}, "set": {"right_elbow_swivel": 1.3, "right_hand_x": 0.14},
             "release": {"right_elbow_swivel": 1.2, "right_hand_x": 0.16, "right_hand_z": -0.16}},
        ),
        TechniqueError(
            "straight_knees", "legs", 0.62,
            {"ready": {"pelvis_z": 0.07}, "dip": {"pelvis_z": 0.22, "lean": -0.18},
             "release": {"pelvis_z": -0.13, "right_foot_z": -0.14, "left_foot_z": -0.14},
             "follow": {"pelvis_z": -0.08, "right_foot_z": -0.08, "left_foot_z": -0.08}},
        ),
        TechniqueError(
            "short_follow_through", "hands", 1.0,
            {"follow": {"right_hand_z": -1.05, "right_hand_y": -0.10}, "land": {"right_hand_z": -0.80}},
        ),
        TechniqueError("eyes_down", "head", 0.75, {"*": {"head_down": 0.75}}),
        TechniqueError(
            "leaning_back", "torso", 0.85,
            {"set": {"lean": -0.30}, "release": {"lean": -0.50, "pelvis_y": -0.08},
             "follow": {"lean": -0.50, "pelvis_y": -0.16}, "land": {"lean": -0.25, "pelvis_y": -0.18}},
        ),
        TechniqueError(
            "narrow_base", "feet", 0.55, {"*": {"right_foot_x": -0.17, "left_foot_x": 0.17}},
        ),
    ),
    style=_basketball_style,
)  # fmt: skip

# --- soccer: a right-footed penalty kick ----------------------------------------------------------------------------
_APPROACH = _STAND.but(
    pelvis_x=-0.35, pelvis_y=-0.90, pelvis_yaw=-0.25, lean=0.16,
    right_hand_y=0.35, right_hand_z=-0.75, left_hand_y=-0.25, left_hand_z=-0.80, head_down=0.35,
    right_foot_x=-0.20, right_foot_y=-1.15, right_foot_z=0.16, left_foot_x=-0.48, left_foot_y=-0.55,
)  # fmt: skip
_PLANT = _STAND.but(
    pelvis_x=-0.20, pelvis_y=-0.22, pelvis_z=0.88, pelvis_yaw=-0.30, lean=0.12, head_down=0.45, twist=-0.25,
    right_hand_x=0.45, right_hand_y=-0.35, right_hand_z=-0.55, left_hand_x=-0.72, left_hand_y=0.15, left_hand_z=-0.20,
    right_foot_x=0.05, right_foot_y=-0.95, right_foot_z=0.50, left_foot_x=-0.24, left_foot_y=0.02,
)  # fmt: skip
_STRIKE = _PLANT.but(
    pelvis_y=-0.04, pelvis_z=0.90, pelvis_yaw=0.10, lean=0.28, twist=0.15,
    right_hand_x=0.40, right_hand_y=-0.30, right_hand_z=-0.60, left_hand_x=-0.60, left_hand_y=0.40, left_hand_z=-0.25,
    right_foot_x=0.06, right_foot_y=0.22, right_foot_z=0.08,
)  # fmt: skip
_SWING = _STRIKE.but(
    pelvis_y=0.14, pelvis_z=0.95, pelvis_yaw=0.40, lean=0.10, head_down=0.15, twist=0.20,
    right_hand_y=-0.45, left_hand_x=-0.30, left_hand_y=0.60, left_hand_z=-0.30,
    right_foot_x=-0.16, right_foot_y=0.88, right_foot_z=0.62,
)  # fmt: skip
_RECOVER = _STAND.but(
    pelvis_x=-0.08, pelvis_y=0.42, lean=0.10, pelvis_yaw=0.15,
    right_foot_x=0.06, right_foot_y=0.68, left_foot_x=-0.24, left_foot_y=0.20,
    right_hand_y=0.05, left_hand_y=0.30, left_hand_z=-0.75,
)  # fmt: skip


def _soccer_style(rng: np.random.Generator) -> Change:
    return {
        "pelvis_yaw": rng.normal(0.0, 0.18),
        "lean": rng.normal(0.0, 0.05),
        "pelvis_z": rng.normal(0.0, 0.02),
        "left_hand_z": rng.normal(0.0, 0.12),
        "right_hand_y": rng.normal(0.0, 0.12),
        "right_foot_x": rng.normal(0.0, 0.05),
        "twist": rng.normal(0.0, 0.10),
    }


SOCCER = Activity(
    parent="Soccer",
    parent_id=8000,
    task="Penalty Kick",
    task_id=8003,
    slug="soccer",
    duration=1.8,
    keys=(
        ("approach", 0.0, _APPROACH),
        ("plant", 0.36, _PLANT),
        ("strike", 0.54, _STRIKE),
        ("swing", 0.72, _SWING),
        ("recover", 1.0, _RECOVER),
    ),
    errors=(
        TechniqueError(
            "plant_foot_behind", "feet", 0.62,
            {"plant": {"left_foot_y": -0.42, "pelvis_y": -0.18}, "strike": {"left_foot_y": -0.42, "pelvis_y": -0.22},
             "swing": {"left_foot_y": -0.42, "pelvis_y": -0.25}},
        ),
        TechniqueError(
            "leaning_back", "torso", 0.75,
            {"plant": {"lean": -0.30}, "strike": {"lean": -0.62}, "swing": {"lean": -0.55}},
        ),
        TechniqueError(
            "short_backswing", "legs", 0.52,
            {"plant": {"right_foot_y": 0.55, "right_foot_z": -0.40}, "approach": {"right_foot_z": -0.10}},
        ),
        TechniqueError(
            "arms_clamped", "arms", 0.68,
            {key: {"left_hand_x": 0.50, "left_hand_z": -0.55, "left_hand_y": -0.20, "right_hand_x": -0.30,
                   "right_hand_y": 0.35, "right_hand_z": -0.28} for key in ("plant", "strike", "swing")},
        ),
        TechniqueError(
            "eyes_up", "head", 0.66, {key: {"head_down": -0.85} for key in ("approach", "plant", "strike", "swing")}
        ),
        TechniqueError(
            "clenched_hands_high", "hands", 0.90,
            {"swing": {"left_hand_z": 0.90, "right_hand_z": 1.05, "right_hand_y": 0.40},
             "recover": {"left_hand_z": 0.95, "right_hand_z": 0.95}},
        ),
    ),
    style=_soccer_style,
)  # fmt: skip

# --- bouldering: a right-hand reach ---------------------------------------------------------------------------------
_HANG = _STAND.but(
    pelvis_z=0.92, pelvis_y=-0.12, lean=-0.10, head_down=-0.30,
    right_hand_x=0.10, right_hand_y=0.42, right_hand_z=0.82, left_hand_x=-0.14, left_hand_y=0.42, left_hand_z=0.80,
    right_foot_x=0.28, right_foot_y=0.26, right_foot_z=0.32, right_knee_swivel=0.9,
    left_foot_x=-0.26, left_foot_y=0.26, left_foot_z=0.20, left_knee_swivel=0.9,
)  # fmt: skip
_STEP = _HANG.but(
    pelvis_z=0.98, pelvis_x=0.06, right_foot_z=0.62, right_foot_x=0.36, right_knee_swivel=1.2,
    right_hand_z=0.72, left_hand_z=0.70,
)  # fmt: skip
_PUSH = _STEP.but(
    pelvis_z=1.28, pelvis_x=0.14, pelvis_y=-0.02, head_down=-0.50, twist=0.18,
    left_hand_x=-0.28, left_hand_y=0.46, left_hand_z=0.18, left_elbow_swivel=0.6,
    right_hand_x=0.10, right_hand_y=0.40, right_hand_z=0.50, left_foot_z=0.24,
)  # fmt: skip
_CATCH = _PUSH.but(
    pelvis_z=1.38, pelvis_x=0.20, right_hand_x=0.16, right_hand_y=0.30, right_hand_z=0.95, twist=0.30, tilt=-0.08,
    left_hand_z=0.06, left_foot_z=0.30,
)  # fmt: skip
_SETTLE = _CATCH.but(pelvis_z=1.30, twist=0.10, right_hand_z=0.94, left_hand_z=0.20, head_down=-0.25)


def _climbing_style(rng: np.random.Generator) -> Change:
    spread = rng.normal(0.0, 0.05)
    return {
        "pelvis_x": rng.normal(0.0, 0.05),
        "right_foot_x": spread,
        "left_foot_x": -spread,
        "left_foot_z": rng.normal(0.0, 0.06),
        "left_hand_x": rng.normal(0.0, 0.08),
        "right_knee_swivel": rng.normal(0.0, 0.20),
        "twist": rng.normal(0.0, 0.10),
    }


CLIMBING = Activity(
    parent="Rock Climbing",
    parent_id=7000,
    task="Bouldering Reach",
    task_id=7001,
    slug="bouldering",
    duration=2.2,
    keys=(
        ("hang", 0.0, _HANG),
        ("step", 0.30, _STEP),
        ("push", 0.55, _PUSH),
        ("catch", 0.75, _CATCH),
        ("settle", 1.0, _SETTLE),
    ),
    errors=(
        TechniqueError(
            "bent_arms", "arms", 0.50,
            {"hang": {"right_hand_z": -0.50, "left_hand_z": -0.50, "pelvis_z": 0.20},
             "step": {"right_hand_z": -0.45, "left_hand_z": -0.45, "pelvis_z": 0.15}},
        ),
        TechniqueError(
            "hips_off_wall", "torso", 0.70,
            {"*": {"pelvis_y": -0.34, "lean": 0.42}},
        ),
        TechniqueError(
            "low_foot", "feet", 0.60,
            {key: {"right_foot_z": -0.36, "right_foot_x": -0.10} for key in ("step", "push", "catch", "settle")},
        ),
        TechniqueError(
            "no_leg_drive", "legs", 0.85,
            {"push": {"pelvis_z": -0.24}, "catch": {"pelvis_z": -0.28}, "settle": {"pelvis_z": -0.25}},
        ),
        TechniqueError("eyes_down", "head", 0.80, {"*": {"head_down": 1.05}}),
        TechniqueError(
            "overreaching_hand", "hands", 0.95,
            {"catch": {"right_hand_x": 0.62, "right_hand_z": -0.30}, "settle": {"right_hand_x": 0.55, "right_hand_z": -0.28}},
        ),
    ),
    style=_climbing_style,
)  # fmt: skip

ACTIVITIES = (BASKETBALL, SOCCER, CLIMBING)
