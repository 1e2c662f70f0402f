"""Runs all three functions over a test split and keeps what was done, item by item."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mm_adapter.inference.generation import Coach
from mm_adapter.inference.scoring import score_candidates
from mm_data.expertaf_task import demonstration_prompt
from mm_data.files import write_atomically
from mm_data.records import Clip, CoachingTuple
from mm_tokenizers import PoseTokenizer

PREDICTIONS = "predictions.jsonl"
PRIOR_PROMPTS = 10


def distinct_clips(clips: list[Clip], max_overlap: float = 0.5) -> dict[str, str]:
    """Removes repetitions from a gallery.

    Clips of one take that overlap by more than ``max_overlap`` (intersection over union) show the same performance; the
    first of them stands for all.

    Returns:
        Every clip id to the clip id that represents it.
    """
    kept: list[Clip] = []
    represents = {}
    for clip in clips:
        for other in kept:
            shared = min(other.stop, clip.stop) - max(other.start, clip.start)
            joint = max(other.stop, clip.stop) - min(other.start, clip.start)
            if other.take_uid == clip.take_uid and shared > max_overlap * joint:
                represents[clip.clip_id] = other.clip_id
                break
        else:
            kept.append(clip)
            represents[clip.clip_id] = clip.clip_id
    return represents


def predict(
    coach: Coach,
    tuples: list[CoachingTuple],
    gallery: list[tuple[Clip, str]],
    training: list[CoachingTuple],
    out: Path,
    within_activity: bool,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[dict[str, Any]]:
    """Comments, ranks and demonstrates for every test tuple; resumes from what the output file already holds.

    Args:
        coach: The coach.
        tuples: Test tuples.
        gallery: Further expert clips to rank, with their activity.
        training: Training tuples, whose prompts estimate how likely a candidate is for anybody (`candidate_priors`).
        out: Folder; ``predictions.jsonl`` has one line per tuple.
        within_activity: Rank only expert clips of the learner's activity (the others are easily told apart).
        progress: Called with (stage, done, total).

    Returns:
        One record per tuple: ``tuple_id``, ``commentary``, ``pose_codes``, ``positive``, ``scores`` (clip id to mean
        log-likelihood) and ``pmi`` (the same minus the candidate's prior).
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / PREDICTIONS
    known = _read(path)
    ranked = [(t.expert, t.activity) for t in tuples] + gallery
    represents = distinct_clips([clip for clip, _ in ranked])
    activity = {represents[clip.clip_id]: name for clip, name in ranked}
    candidates = {clip: coach.processor.vocabulary.to_ids(coach.poses[clip]) for clip in activity}

    todo = [t for t in tuples if t.tuple_id not in known]
    prior = candidate_priors(coach, training, candidates, activity, within_activity) if todo else {}
    learners = [t.learner.clip_id for t in todo]
    remarks: list[str] = []
    for remark in coach.comment(learners):
        remarks.append(remark)
        progress("commentary", len(remarks), len(todo))
    poses: list[np.ndarray] = []
    for codes in coach.demonstrate(learners, remarks):
        poses.append(codes)
        progress("poses", len(poses), len(todo))
    with path.open("a") as file:
        for done, (t, remark, codes) in enumerate(zip(todo, remarks, poses, strict=True), start=1):
            pool = [clip for clip in candidates if not within_activity or activity[clip] == t.activity]
            prompt = coach.prompt(demonstration_prompt(t.learner.clip_id, remark), t.tuple_id)
            scores = score_candidates(coach, prompt, [candidates[clip] for clip in pool])
            record = {
                "tuple_id": t.tuple_id,
                "commentary": remark,
                "pose_codes": codes.tolist(),
                "positive": represents[t.expert.clip_id],
                "scores": dict(zip(pool, scores.mean.tolist(), strict=True)),
                "pmi": {c: s - prior[c] for c, s in zip(pool, scores.mean.tolist(), strict=True)},
            }
            file.write(json.dumps(record) + "\n")
            file.flush()
            known[t.tuple_id] = record
            progress("retrieval", done, len(todo))
    return [known[t.tuple_id] for t in tuples]


def candidate_priors(
    coach: Coach,
    training: list[CoachingTuple],
    candidates: dict[str, list[int]],
    activity: dict[str, str],
    within_activity: bool,
) -> dict[str, float]:
    """How likely each candidate is for an arbitrary learner: its mean log-likelihood over training prompts.

    Some poses are likely after any prompt. Without this correction they win every ranking, because candidates differ in
    their prior more than in how well they answer. Only training prompts enter, so a query's rank does not depend on the
    other test queries.
    """
    totals = dict.fromkeys(candidates, 0.0)
    for name in dict.fromkeys(activity.values()):
        own = [t for t in training if t.activity == name or not within_activity]
        chosen = [own[i] for i in np.linspace(0, len(own) - 1, PRIOR_PROMPTS).round().astype(int)]
        pool = [clip for clip in candidates if activity[clip] == name]
        for t in chosen:
            prompt = coach.prompt(demonstration_prompt(t.learner.clip_id, t.summary), t.tuple_id)
            scores = score_candidates(coach, prompt, [candidates[clip] for clip in pool])
            for clip, score in zip(pool, scores.mean.tolist(), strict=True):
                totals[clip] += score / len(chosen)
    return totals


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Finished records; a last line that a crash cut off is removed from the file."""
    if not path.is_file():
        return {}
    records, whole = {}, []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        records[record["tuple_id"]] = record
        whole.append(line)
    write_atomically(path, "".join(line + "\n" for line in whole))
    return records


def decode_codes(tokenizer: PoseTokenizer, codes: np.ndarray) -> np.ndarray:
    """Codes ``[T, M]`` to joints ``[T, 17, 3]`` with the frozen decoder."""
    return tokenizer.decode(torch.from_numpy(np.asarray(codes)).long()).numpy()
