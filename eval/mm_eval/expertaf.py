"""ExpertAF's three functions scored together with the rows that keep the numbers honest.

Every table holds chance, constant, shuffled and nearest-neighbour rows. Tuples are mined by pose similarity, so the
pose-nearest-neighbour row of retrieval is a ceiling, not a baseline.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mm_data.miniature.truth import MiniatureTruth
from mm_data.records import CoachingTuple
from mm_eval.metric import Metric, item_metric
from mm_eval.pose import POSE_ERRORS, sequence_error
from mm_eval.retrieval import chance_recall, ranks, retrieval_metrics
from mm_eval.text import coco_suite, release_suite

Row = dict[str, Metric]
_RANDOM_EXPERTS = 20


@dataclass(frozen=True)
class Inputs:
    """What is scored, aligned by index with ``tuples``.

    Attributes:
        tuples: Test tuples.
        predictions: Records of `mm_adapter.inference.predict`.
        generated: Generated joints ``[T, 17, 3]`` per tuple, or None where nothing usable was generated.
        reconstructed: The tokenizer's round trip of the expert's poses ``[T, 17, 3]`` per tuple, or None for systems
            without one.
        training: Training tuples, for the baselines.
        poses: Clip id to its sampled canonical poses ``[T, 17, 4]``.
        video: Clip id to one video feature vector, or None for a pose-only coach.
        truth: The miniature's sidecar, or None for real data.
    """

    tuples: list[CoachingTuple]
    predictions: list[dict[str, Any]]
    generated: list[np.ndarray | None]
    reconstructed: list[np.ndarray] | None
    training: list[CoachingTuple]
    poses: dict[str, np.ndarray]
    video: dict[str, np.ndarray] | None
    truth: MiniatureTruth | None


def evaluate(inputs: Inputs, seed: int = 0) -> dict[str, Any]:
    """All tables and the flat summary, JSON-ready."""
    rng = np.random.default_rng(seed)
    clusters = [t.learner.take_uid for t in inputs.tuples]
    texts = _texts(inputs, rng)
    commentary, notes = _commentary(inputs, texts, clusters)
    release, release_notes = _release_commentary(inputs, texts, clusters)
    retrieval, gallery, chance = _retrieval(inputs, clusters, rng)
    pose = _pose(inputs, clusters, rng)
    well_formed = item_metric(np.array([float(g is not None and g.shape == inputs.poses[t.expert.clip_id][..., :3].shape) for g, t in zip(inputs.generated, inputs.tuples, strict=True)]), clusters, "0-1", "grammar-constrained")  # fmt: skip
    summary = {
        **_flat("commentary", commentary["ours"]),
        **{f"{name}_shuffled": v for name, v in _flat("commentary", commentary["shuffled"]).items()},
        "retrieval/recall@5_within_activity": retrieval["ours"]["recall@5"].value,
        "retrieval/chance@5_within_activity": chance[5],
        "retrieval/recall@5_video_nn": retrieval["video nearest neighbour"]["recall@5"].value if inputs.video else None,
        "retrieval/recall@5_pose_nn_ceiling": retrieval["pose nearest neighbour (ceiling)"]["recall@5"].value,
        "retrieval/median_rank": retrieval["ours"]["median_rank"].value,
        "retrieval/median_rank_video_nn": retrieval["video nearest neighbour"]["median_rank"].value
        if inputs.video
        else None,
        "retrieval/median_rank_chance": float(np.median((gallery + 1) / 2)),
        "retrieval/gallery_size": float(np.median(gallery)),
        "pose/pa_mpjpe_mm": pose["ours"]["pa_mpjpe"].value,
        "pose/pa_mpjpe_random_expert_mm": pose["random expert of the activity"]["pa_mpjpe"].value,
        "pose/pa_mpjpe_mean_pose_mm": pose["mean pose of the activity"]["pa_mpjpe"].value,
        "pose/pa_mpjpe_learner_mm": pose["learner's own pose"]["pa_mpjpe"].value,
        "pose/pa_mpjpe_tokenizer_floor_mm": pose["tokenizer round trip (floor)"]["pa_mpjpe"].value
        if inputs.reconstructed
        else None,
        "pose/well_formed": well_formed.value,
    }
    summary = {name: None if value is None or np.isnan(value) else value for name, value in summary.items()}
    tables = {"commentary": commentary, "commentary_release": release, "retrieval": retrieval, "pose": pose}
    return {
        "summary": summary,
        "tables": {
            name: {row: {metric: asdict(value) for metric, value in metrics.items()} for row, metrics in table.items()}
            for name, table in tables.items()
        },
        "chance": {f"recall@{k}": v for k, v in chance.items()},
        "notes": notes + release_notes,
        "items": len(inputs.tuples),
        "takes": len(set(clusters)),
        "participants": sorted({t.learner.participant for t in inputs.tuples}),
    }


def _flat(prefix: str, row: Row) -> dict[str, float]:
    return {f"{prefix}/{name}": metric.value for name, metric in row.items()}


def _derangement(groups: list[str], rng: np.random.Generator) -> np.ndarray:
    """A permutation that keeps items inside their group and moves every item whose group has more than one."""
    order = np.arange(len(groups))
    for group in dict.fromkeys(groups):
        members = rng.permutation([i for i, g in enumerate(groups) if g == group])
        order[members] = np.roll(members, 1)
    return order


def _nearest_training(inputs: Inputs, embed: dict[str, np.ndarray]) -> list[CoachingTuple]:
    """For each test tuple the training tuple whose learner clip is nearest in an embedding."""
    stacked = np.stack([embed[t.learner.clip_id] for t in inputs.training])
    return [inputs.training[int(((stacked - embed[t.learner.clip_id]) ** 2).sum(1).argmin())] for t in inputs.tuples]


def _texts(inputs: Inputs, rng: np.random.Generator) -> dict[str, list[str]]:
    ours = [p["commentary"] for p in inputs.predictions]
    activities = [t.activity for t in inputs.tuples]
    common = {
        activity: Counter(t.summary for t in inputs.training if t.activity == activity).most_common(1)[0][0]
        for activity in dict.fromkeys(activities)
    }
    shuffled = rng.permutation(len(ours))
    pose = {clip: (poses[..., :3] * poses[..., 3:]).ravel() for clip, poses in inputs.poses.items()}
    texts = {
        "ours": ours,
        "shuffled": [ours[i] for i in shuffled],
        "shuffled within activity": [ours[i] for i in _derangement(activities, rng)],
        "constant per activity": [common[a] for a in activities],
        "pose nearest neighbour": [t.summary for t in _nearest_training(inputs, pose)],
    }
    if inputs.video is not None:
        texts["video nearest neighbour"] = [t.summary for t in _nearest_training(inputs, inputs.video)]
    return texts


def _commentary(inputs: Inputs, texts: dict[str, list[str]], clusters: list[str]) -> tuple[dict[str, Row], list[str]]:
    references = [t.summary for t in inputs.tuples]
    table: dict[str, Row] = {name: {} for name in texts}
    if inputs.truth is not None:
        sign = "every named error was injected, at least one"
        for name, candidates in texts.items():
            table[name]["error_named"] = item_metric(_errors_named(inputs, candidates), clusters, "0-1", sign)
    suite = coco_suite(texts, references, clusters)
    for name, row in suite.rows.items():
        table[name] |= row
    if inputs.truth is not None:
        named = item_metric(_errors_named(inputs, references), clusters, "0-1", "the expert's own remark")
        table["expert's remark (ceiling)"] = {"error_named": named}
    return table, suite.notes


def _release_commentary(
    inputs: Inputs, texts: dict[str, list[str]], clusters: list[str]
) -> tuple[dict[str, Row], list[str]]:
    """By ExpertAF's released scorer, its constant prefix kept, with the floor that an empty commentary reaches."""
    systems = {**texts, "empty commentary (floor)": [""] * len(clusters)}
    suite = release_suite(systems, [t.summary for t in inputs.tuples], clusters)
    return suite.rows, [f"ExpertAF's release recipe: {note}" for note in suite.notes]


def _errors_named(inputs: Inputs, texts: list[str]) -> np.ndarray:
    """1 where a text names at least one error and only errors that the learner's clip really shows."""
    assert inputs.truth is not None
    hits = []
    for t, text in zip(inputs.tuples, texts, strict=True):
        named = inputs.truth.named(t.learner.take_uid, text)
        hits.append(
            bool(named) and named <= set(inputs.truth.errors(t.learner.take_uid, t.learner.start, t.learner.stop))
        )
    return np.array(hits, float)


def _retrieval(
    inputs: Inputs, clusters: list[str], rng: np.random.Generator
) -> tuple[dict[str, Row], np.ndarray, dict[int, float]]:
    clips = sorted({clip for p in inputs.predictions for clip in p["scores"]})
    column = {clip: i for i, clip in enumerate(clips)}
    shape = (len(inputs.predictions), len(clips))
    candidates = np.zeros(shape, bool)
    scores, likelihood = np.full(shape, -np.inf), np.full(shape, -np.inf)
    for row, prediction in enumerate(inputs.predictions):
        for clip, score in prediction["scores"].items():
            candidates[row, column[clip]] = True
            likelihood[row, column[clip]], scores[row, column[clip]] = score, prediction["pmi"][clip]
    positives = np.array([column[p["positive"]] for p in inputs.predictions])
    shuffled = _derangement([t.activity for t in inputs.tuples], rng)
    popularity = np.where(candidates, scores, np.nan)
    systems = {
        "ours": scores,
        "ours without the prior (raw likelihood)": likelihood,
        "shuffled within activity": scores[shuffled],
        "constant (mean score of each clip)": np.broadcast_to(np.nanmean(popularity, axis=0), shape),
        "pose nearest neighbour (ceiling)": -np.array(
            [
                [
                    sequence_error(inputs.poses[c], inputs.poses[t.learner.clip_id]) if candidates[row, j] else np.inf
                    for j, c in enumerate(clips)
                ]
                for row, t in enumerate(inputs.tuples)
            ]
        ),
    }
    if inputs.video is not None:
        unit = {clip: vector / np.linalg.norm(vector) for clip, vector in inputs.video.items()}
        systems["video nearest neighbour"] = np.array(
            [[unit[t.learner.clip_id] @ unit[c] for c in clips] for t in inputs.tuples]
        )
    sizes = candidates.sum(1)
    table = {name: retrieval_metrics(ranks(s, positives, candidates), sizes, clusters) for name, s in systems.items()}
    return table, sizes, {k: chance_recall(sizes, k) for k in (1, 5, 10)}


def _pose(inputs: Inputs, clusters: list[str], rng: np.random.Generator) -> dict[str, Row]:
    experts: dict[str, list[np.ndarray]] = {}
    for t in inputs.training:
        experts.setdefault(t.activity, []).append(inputs.poses[t.expert.clip_id])
    means = {}
    for activity, clips in experts.items():
        stacked = np.stack(clips)
        weight = stacked[..., 3:].sum(0)
        means[activity] = (stacked[..., :3] * stacked[..., 3:]).sum(0) / np.maximum(weight, 1e-6)

    def random_expert(t: CoachingTuple, truth: np.ndarray) -> float:
        pool = experts[t.activity]
        return float(np.mean([sequence_error(pool[i], truth) for i in rng.integers(len(pool), size=_RANDOM_EXPERTS)]))

    def error(index: int | None, truth: np.ndarray) -> float:
        """Of one generated sequence; NaN where there is none, which counts as failed."""
        shown = None if index is None else inputs.generated[index]
        return float("nan") if shown is None else sequence_error(shown, truth)

    nearest = _nearest_training(inputs, inputs.video) if inputs.video is not None else None
    shuffled = _derangement([t.activity for t in inputs.tuples], rng)
    errors: dict[str, list[float]] = {}
    for index, t in enumerate(inputs.tuples):
        truth = inputs.poses[t.expert.clip_id]
        row = {
            "ours": error(index, truth),
            "random expert of the activity": random_expert(t, truth),
            "mean pose of the activity": sequence_error(means[t.activity], truth),
            "learner's own pose": sequence_error(inputs.poses[t.learner.clip_id], truth),
            "shuffled within activity": error(shuffled[index], truth),
        }
        if nearest is not None:
            shown = inputs.poses[nearest[index].expert.clip_id]
            row["video nearest neighbour"] = sequence_error(shown, truth)
        if inputs.reconstructed is not None:
            row["tokenizer round trip (floor)"] = sequence_error(inputs.reconstructed[index], truth)
        for name, value in row.items():
            errors.setdefault(name, []).append(value)
    return {
        name: {
            "pa_mpjpe": item_metric(
                np.array(values), clusters, "mm", f"{POSE_ERRORS['pa_mpjpe'].signature}, raw joints"
            )
        }
        for name, values in errors.items()
    }
