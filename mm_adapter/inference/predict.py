"""Runs all three functions over a test split and keeps what was done, item by item."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mm_adapter.dataset import with_features
from mm_adapter.inference.generation import Coach
from mm_adapter.inference.scoring import score_candidates
from mm_adapter.processing import IGNORE
from mm_data.expertaf_task import Conversation, commentary_prompt, demonstration_prompt
from mm_data.files import write_atomically
from mm_data.jsonl import append_record
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


@dataclass(frozen=True)
class Gallery:
    """What is ranked for each test tuple.

    Attributes:
        represents: Every clip id to the one that stands for it.
        activity: Ranked clip ids to their activity.
        within_activity: Rank only clips of the learner's activity; the others are easily told apart.
    """

    represents: dict[str, str]
    activity: dict[str, str]
    within_activity: bool

    @classmethod
    def of(cls, tuples: list[CoachingTuple], further: list[tuple[Clip, str]], within_activity: bool) -> "Gallery":
        """The tuples' own expert clips and further ones, each performance once."""
        ranked = [(t.expert, t.activity) for t in tuples] + further
        represents = distinct_clips([clip for clip, _ in ranked])
        return cls(represents, {represents[clip.clip_id]: name for clip, name in ranked}, within_activity)

    def pool(self, t: CoachingTuple) -> list[str]:
        """Clips that are ranked for a tuple."""
        return [clip for clip, name in self.activity.items() if not self.within_activity or name == t.activity]

    def positive(self, t: CoachingTuple) -> str:
        """The right one."""
        return self.represents[t.expert.clip_id]


Ranker = Callable[[Coach, str, str, list[str]], Tensor]
"""(coach, learner's clip, remark, candidates) to the candidates' mean log-likelihoods."""


def rank_by_demonstration(coach: Coach, learner: str, remark: str, pool: list[str]) -> Tensor:
    """How likely each candidate's poses are as the answer (Eq. 2)."""
    prompt = coach.prompt(demonstration_prompt(learner, remark), learner)
    return score_candidates(coach, prompt, [coach.processor.answer_ids(coach.poses[clip]) for clip in pool]).mean


@torch.inference_mode()
def rank_by_remark(coach: Coach, learner: str, remark: str, pool: list[str], batch_size: int = 16) -> Tensor:
    """How likely the remark is about each candidate's clip: for coaches that never learned to demonstrate (LLaVA-FT)."""
    answer = [{"role": "assistant", "content": [{"type": "text", "text": remark or "."}]}]
    means = []
    for start in range(0, len(pool), batch_size):
        samples = []
        for clip in pool[start : start + batch_size]:
            conversation = Conversation(clip, [*commentary_prompt(clip), *answer], (2,))
            encoded = coach.processor.encode(conversation, coach.poses.__getitem__)
            samples.append(with_features(encoded, coach.features))
        labels = coach.collate(samples)["labels"].to(coach.model.device)
        likely = coach.model(**coach.inputs(samples), labels=labels, fused_lm_head=True).log_probs
        means.append((likely.sum(1) / (labels[:, 1:] != IGNORE).sum(1)).cpu())
    return torch.cat(means)


def predict(
    coach: Coach,
    tuples: list[CoachingTuple],
    gallery: Gallery,
    training: list[CoachingTuple],
    out: Path,
    demonstrator: Coach | None,
    privileged: bool = False,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[dict[str, Any]]:
    """Comments, ranks and demonstrates for every test tuple; resumes from what the output file already holds.

    Args:
        coach: Comments.
        tuples: Test tuples.
        gallery: What is ranked.
        training: Training tuples, whose prompts estimate how likely a candidate is for anybody (`candidate_priors`).
        out: Folder; ``predictions.jsonl`` has one line per tuple.
        demonstrator: Ranks and demonstrates: the same coach, another one (ExpertAF trains them apart), or None where it
            was not trained for that; then remarks rank, and no poses are generated.
        privileged: "full-sup": commentary sees the expert's clip, the other functions the expert's remark.
        progress: Called with (stage, done, total).

    Returns:
        One record per tuple: ``tuple_id``, ``commentary``, ``pose_codes`` or ``pose_joints``, ``positive``, ``scores``
        (clip id to mean log-likelihood) and ``pmi`` (the same minus the candidate's prior).
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / PREDICTIONS
    known = _read(path)
    todo = [t for t in tuples if t.tuple_id not in known]
    rank, ranking = (rank_by_demonstration, demonstrator) if demonstrator else (rank_by_remark, coach)
    prior = candidate_priors(ranking, rank, training, gallery) if todo else {}
    learners = [t.learner.clip_id for t in todo]
    remarks: list[str] = []
    for remark in coach.comment(learners, [t.expert.clip_id for t in todo] if privileged else None):
        remarks.append(remark)
        progress("commentary", len(remarks), len(todo))
    asked = [t.summary for t in todo] if privileged else remarks
    poses: list[np.ndarray | None] = []
    if demonstrator:
        for shown in demonstrator.demonstrate(learners, asked):
            poses.append(shown)
            progress("poses", len(poses), len(todo))
    written = demonstrator is not None and demonstrator.processor.clip.pose_form == "text"
    for done, (t, remark, question) in enumerate(zip(todo, remarks, asked, strict=True), start=1):
        pool = gallery.pool(t)
        scores = dict(zip(pool, rank(ranking, t.learner.clip_id, question, pool).tolist(), strict=True))
        shown = poses[done - 1] if demonstrator else None
        record = {
            "tuple_id": t.tuple_id,
            "commentary": remark,
            "pose_joints" if written else "pose_codes": None if shown is None else shown.tolist(),
            "positive": gallery.positive(t),
            "scores": scores,
            "pmi": {clip: score - prior[clip] for clip, score in scores.items()},
        }
        append_record(path, record)
        known[t.tuple_id] = record
        progress("retrieval", done, len(todo))
    return [known[t.tuple_id] for t in tuples]


def candidate_priors(coach: Coach, rank: Ranker, training: list[CoachingTuple], gallery: Gallery) -> dict[str, float]:
    """How likely each candidate is for an arbitrary learner: its mean log-likelihood over training prompts.

    Some poses are likely after any prompt. Without this correction they win every ranking, because candidates differ in
    their prior more than in how well they answer. Only training prompts enter, so a query's rank does not depend on the
    other test queries.
    """
    totals = dict.fromkeys(gallery.activity, 0.0)
    for name in dict.fromkeys(gallery.activity.values()):
        own = [t for t in training if t.activity == name or not gallery.within_activity]
        chosen = [own[i] for i in np.linspace(0, len(own) - 1, PRIOR_PROMPTS).round().astype(int)]
        pool = [clip for clip, activity in gallery.activity.items() if activity == name]
        for t in chosen:
            for clip, score in zip(pool, rank(coach, t.learner.clip_id, t.summary, pool).tolist(), strict=True):
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
