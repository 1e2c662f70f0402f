"""Window search against a plain loop with an SVD per frame, one core each, on the miniature's movements.

    python benchmarks/alignment.py [--pairs 20] [--save]

Both look at the same windows of the same pairs: 2 s of a learner, compared at every third frame, over the 20 s of the
expert that the default horizon of 10 s spans. Ours includes the preparation of both tracks and excludes compilation,
which happens once per machine. `ratio` is loop time over our time.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from record import finish, parse, timed

from mm_data.miniature.simulate import draw_participant, simulate_take
from mm_data.poses.window_search import MIN_COMMON_JOINTS, MIN_FRAME_SHARE, best_window, error_curve, prepare_track

WINDOW, STRIDE = 60, 3
MISSING = 0.01  # share of absent joints, as in triangulated poses


def svd_error(source: np.ndarray, target: np.ndarray) -> float:
    """PA-MPJPE of one pose, ``[J, 3]`` each, as it is usually written."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    x, y = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(x.T @ y)
    if np.linalg.det(u @ vt) < 0:
        u[:, -1] *= -1
        s[-1] *= -1
    scale = s.sum() / (x * x).sum()
    aligned = scale * (x @ u @ vt) + target_mean
    return float(np.sqrt(((aligned - target) ** 2).sum(-1)).mean())


def loop_search(learner: np.ndarray, expert: np.ndarray, starts: np.ndarray) -> tuple[int, float]:
    """Every window, every frame, an SVD each."""
    learner_visible, expert_visible = learner[..., 3] > 0, expert[..., 3] > 0
    frames = range(0, len(learner), STRIDE)
    best, best_error = -1, np.inf
    for start in starts:
        errors = []
        for frame in frames:
            both = learner_visible[frame] & expert_visible[start + frame]
            if both.sum() >= MIN_COMMON_JOINTS:
                errors.append(svd_error(expert[start + frame, both, :3], learner[frame, both, :3]))
        if len(errors) >= MIN_FRAME_SHARE * len(frames) and np.mean(errors) < best_error:
            best, best_error = int(start), float(np.mean(errors))
    return best, best_error * 1000.0


def ours(search: Callable[..., Any], learner: np.ndarray, expert: np.ndarray, starts: np.ndarray) -> Any:
    """One of our searches, with the preparation of both tracks."""
    return search(prepare_track(learner), prepare_track(expert), starts, STRIDE)


def movement(person: int, seconds: float) -> tuple[np.ndarray, int]:
    """Poses ``[T, 17, 4]`` of one person who repeats an activity, and the frame at which the first repetition ends."""
    rng = np.random.default_rng(person)
    participant = draw_participant(3 * person, 0)
    frames = round(seconds * 30)
    takes = []
    while sum(len(take.joints) for take in takes) < frames:
        takes.append(simulate_take(1000 * person + len(takes), participant, "train", 0))
    joints = np.concatenate([take.joints for take in takes])[:frames]
    flags = (rng.random((*joints.shape[:2], 1)) >= MISSING).astype(np.float64)
    noisy = np.where(flags > 0, joints + rng.normal(0, 0.004, joints.shape), np.nan)
    return np.concatenate([noisy, flags], -1), int(takes[0].repetitions[0]["frames"][1])


def main() -> None:
    """Times both and compares what they chose."""
    args = parse(__doc__, pairs=20)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    takes = [movement(person, 20.0) for person in range(args.pairs + 1)]
    pairs = [(poses[stop - WINDOW : stop], takes[i + 1][0]) for i, (poses, stop) in enumerate(takes[:-1])]
    for search in (best_window, error_curve):  # compiles
        ours(search, *pairs[0], np.arange(3))

    same, compared, seconds = 0, 0, np.zeros(3)
    for learner, expert in pairs:
        starts = np.arange(0, len(expert) - WINDOW + 1, STRIDE)
        compared += len(starts) * len(range(0, WINDOW, STRIDE))
        loop_seconds, plain = timed(loop_search, learner, expert, starts)
        search_seconds, window = timed(ours, best_window, learner, expert, starts)
        curve_seconds, _ = timed(ours, error_curve, learner, expert, starts)
        seconds += [loop_seconds, curve_seconds, search_seconds]
        same += window is not None and window.start == plain[0] and abs(window.error_mm - plain[1]) < 1e-6
    loop, curve, search = seconds.tolist()

    print(f"{args.pairs} pairs, {compared:,} pose pairs, one core\n")
    print(f"{'':36}{'seconds':>10}{'µs / pose pair':>16}{'ratio':>8}")
    for label, total in (("loop with an SVD per frame", loop), ("ours, every error", curve), ("ours, best window", search)):  # fmt: skip
        print(f"{label:36}{total:>10.3f}{total / compared * 1e6:>16.3f}{loop / total:>8.0f}")
    print(f"\nsame window and error (1e-6 mm) in {same} of {args.pairs} pairs")
    finish("alignment", {"ratio": round(loop / search, 1), "ratio_full_curve": round(loop / curve, 1), "same_windows": same, "pairs": args.pairs}, args.save)  # fmt: skip


if __name__ == "__main__":
    main()
