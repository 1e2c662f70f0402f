"""Draws participants and simulates their takes: motion, injected errors and remarks."""

import uuid
from dataclasses import dataclass, field

import numpy as np

from mm_data.miniature.activities import ACTIVITIES, Activity, smooth_interpolation
from mm_data.miniature.body import Change, Physique, mirrored, pose_joints
from mm_data.miniature.remarks import Spoken, correction, empty_remark, praise
from mm_data.poses.skeleton import REGIONS
from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS

FPS = 30.0
REPETITIONS = 2
TAKES_PER_PARTICIPANT = 2
COMMENTATORS = ("avq3k1", "bd07xm", "c9rr2e", "dz41pw", "ek8s0t", "fm62ya")
SKILLS = LEARNER_SKILLS + EXPERT_SKILLS


@dataclass(frozen=True)
class Participant:
    """A performer of one activity, with a body, a handedness and a personal style."""

    uid: int
    activity: Activity
    skill: str
    physique: Physique
    left_handed: bool
    style: Change
    tempo: float
    shirt: tuple[int, int, int]


@dataclass(frozen=True)
class TimedRemark:
    """What was spoken, and at which second of the take the commentator paused."""

    time: float
    spoken: Spoken


@dataclass
class SimulatedTake:
    """Everything that is known about one take, the hidden truth included.

    ``joints`` are world coordinates ``[T, 17, 3]`` in metres at 30 fps, z up.
    """

    index: int
    take_uid: str
    take_name: str
    participant: Participant
    split: str
    joints: np.ndarray
    heading: float
    origin: np.ndarray
    repetitions: list[dict]
    remarks: dict[str, list[TimedRemark]] = field(default_factory=dict)

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Moves points ``[..., 3]`` from body axes to the world frame of the capture."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        return points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + self.origin


def draw_participant(uid: int, seed: int) -> Participant:
    """Draws a participant; the activity and the skill rotate so that every split holds all of them."""
    rng = np.random.default_rng([seed, 1, uid])
    activity = ACTIVITIES[uid % len(ACTIVITIES)]
    return Participant(
        uid=uid,
        activity=activity,
        skill=SKILLS[(uid // len(ACTIVITIES)) % len(SKILLS)],
        physique=Physique.sample(rng),
        left_handed=bool(rng.random() < 0.4),
        style=activity.style(rng),
        tempo=float(rng.uniform(0.88, 1.15)),
        shirt=tuple(int(v) for v in rng.integers(60, 230, 3)),  # type: ignore[arg-type]
    )


def simulate_take(index: int, participant: Participant, split: str, seed: int) -> SimulatedTake:
    """Simulates one take of two repetitions; deterministic in ``(seed, index)``."""
    rng = np.random.default_rng([seed, 2, index])
    activity = participant.activity
    errors = _draw_errors(rng, participant)
    segments: list[np.ndarray] = []
    repetitions = []
    takes_style = {name: value + rng.normal(0, 0.02) for name, value in participant.style.items()}
    for _ in range(REPETITIONS):
        severities = {name: float(np.clip(s + rng.normal(0, 0.05), 0, 1)) for name, s in errors.items()}
        duration = activity.duration * participant.tempo * rng.uniform(0.95, 1.05)
        motion = activity.postures(rng, takes_style, severities, duration, FPS)
        pause = int(rng.integers(14, 24))
        start = segments[-1][-1] if segments else motion[0]
        segments.append(smooth_interpolation(np.array([0.0, 1.0]), np.stack([start, motion[0]]), pause))
        first = sum(map(len, segments))
        repetitions.append({"frames": [first, first + len(motion)], "errors": severities})
        segments.append(motion)
    segments.append(np.repeat(segments[-1][-1:], int(rng.integers(16, 26)), axis=0))

    postures = np.concatenate(segments)
    joints = pose_joints(postures + sway(rng, postures.shape), participant.physique)
    joints = mirrored(joints) if participant.left_handed else joints
    take = SimulatedTake(
        index=index,
        take_uid=str(uuid.UUID(bytes=rng.bytes(16), version=4)),
        take_name=f"mini_{activity.slug}_{participant.uid:03d}_{index % TAKES_PER_PARTICIPANT + 1}",
        participant=participant,
        split=split,
        joints=joints,
        heading=float(rng.uniform(-np.pi, np.pi)),
        origin=np.array([rng.uniform(-3, 3), rng.uniform(-3, 3), rng.uniform(-0.2, 0.2)]),
        repetitions=repetitions,
    )
    take.joints = take.to_world(joints)
    take.remarks = _draw_remarks(rng, take)
    return take


def _draw_errors(rng: np.random.Generator, participant: Participant) -> dict[str, float]:
    names = [error.name for error in participant.activity.errors]
    if participant.skill == "Novice":
        count, low, high = int(rng.integers(1, 3)), 0.75, 1.0
    elif participant.skill == "Early Expert":
        count, low, high = 1, 0.6, 0.9
    elif participant.skill == "Intermediate Expert":
        count, low, high = int(rng.random() < 0.25), 0.1, 0.25
    else:
        count, low, high = 0, 0.0, 0.0
    return {str(name): float(rng.uniform(low, high)) for name in rng.choice(names, size=count, replace=False)}


def sway(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws a smooth small movement of every posture value."""
    knots = rng.normal(0, 0.012, (max(4, shape[0] // 12), shape[1]))
    at, base = np.linspace(0, 1, shape[0]), np.linspace(0, 1, len(knots))
    return np.stack([np.interp(at, base, knots[:, d]) for d in range(shape[1])], -1)


def _draw_remarks(rng: np.random.Generator, take: SimulatedTake) -> dict[str, list[TimedRemark]]:
    """Commentator to remarks, in the order of recording."""
    activity = take.participant.activity
    slug = activity.slug
    by_name = {error.name: error for error in activity.errors}
    chosen = rng.choice(COMMENTATORS, size=int(rng.integers(3, 5)), replace=False)
    remarks: dict[str, list[TimedRemark]] = {str(name): [] for name in chosen}
    for rank, commentator in enumerate(remarks):
        spoken = remarks[commentator]
        for repetition in take.repetitions:
            first, last = repetition["frames"]
            errors = repetition["errors"]
            right = [r for r in REGIONS if r not in {by_name[e].region for e in errors}]
            for name in errors:
                visible = errors[name] >= 0.3
                if rng.random() < (0.9 if rank == 0 else 0.6) * (1.0 if visible else 0.15):
                    praised = str(rng.choice(right)) if rng.random() < 0.25 else None
                    seen = first + by_name[name].visible_at * (last - first)
                    spoken.append(_remark(rng, seen, correction(rng, slug, name, by_name[name].region, praised)))
            for region in rng.choice(right, size=1 if errors else 2, replace=False):
                if rng.random() < (0.4 if errors else 0.95):
                    seen = first + rng.uniform(0.6, 1.0) * (last - first)
                    spoken.append(_remark(rng, seen, praise(rng, slug, str(region))))
        if rng.random() < 0.15:
            spoken.append(_remark(rng, take.repetitions[0]["frames"][1], empty_remark(rng)))
        if rng.random() < 0.05:
            spoken.append(_remark(rng, take.repetitions[0]["frames"][1], Spoken(None)))
        spoken[:] = [spoken[i] for i in rng.permutation(len(spoken))]  # recording order is not time order
    return remarks


def _remark(rng: np.random.Generator, frame: float, spoken: Spoken) -> TimedRemark:
    return TimedRemark(round(frame / FPS + rng.uniform(0.1, 0.45), 3), spoken)
