"""Three activities as key postures, each with a library of technique errors.

An error is a change of key postures, scaled by severity. Numbers are in ``activities.yaml``, what coaches say in
``remarks.yaml``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from mm_data.miniature.body import Change, Posture, add_change


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
                for key in ("*", name):
                    add_change(vector, error.changes.get(key, {}), errors.get(error.name, 0.0))
            add_change(vector, style)
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


_STYLES = {"basketball": _basketball_style, "soccer": _soccer_style, "bouldering": _climbing_style}


def _read_activities() -> tuple[Activity, ...]:
    """Reads ``activities.yaml``, whose first lines say what its entries mean."""
    activities = []
    content = yaml.safe_load(Path(__file__).with_name("activities.yaml").read_text(encoding="utf-8"))
    for slug, entry in content.items():
        postures, keys = {"standing": Posture()}, []
        for name, key in entry.pop("keys").items():
            share, like = key.pop("at"), key.pop("like")
            postures[name] = replace(postures[like], **key)
            keys.append((name, share, postures[name]))
        errors = tuple(TechniqueError(name, **error) for name, error in entry.pop("errors").items())
        activities.append(Activity(slug=slug, keys=tuple(keys), errors=errors, style=_STYLES[slug], **entry))
    return tuple(activities)


ACTIVITIES = _read_activities()
