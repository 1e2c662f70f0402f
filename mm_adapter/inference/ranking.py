"""Ranking expert clips by likelihood: what is ranked, how, and against which prior."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mm_adapter.inference.protocols import Answerer
from mm_adapter.model.processor import IGNORE
from mm_adapter.samples.dataset import with_features
from mm_data.conversation import Conversation
from mm_data.records import Clip, CoachingTuple
from mm_data.tasks.expertaf import commentary_prompt, demonstration_prompt
from mm_data.tasks.questions import ClipChoice

if TYPE_CHECKING:
    from mm_adapter.inference.coach import Coach

logger = logging.getLogger(__name__)

PRIOR_PROMPTS = 10
"""Number of training prompts over which a candidate's prior is the mean."""


def distinct_clips(clips: list[Clip], max_overlap: float = 0.5) -> dict[str, str]:
    """Removes repetitions from a gallery.

    Clips of one take that overlap by more than ``max_overlap`` (intersection over union) show the same performance; the
    first of them stands for all.

    Args:
        clips: Clips of the gallery.
        max_overlap: Largest overlap of two clips that count as different performances, from 0 to 1.

    Returns:
        Every clip id to the clip id that represents it.
    """
    representatives: list[Clip] = []
    represents = {}
    for clip in clips:
        for other in representatives:
            shared = min(other.stop, clip.stop) - max(other.start, clip.start)
            joint = max(other.stop, clip.stop) - min(other.start, clip.start)
            if other.take_uid == clip.take_uid and shared > max_overlap * joint:
                represents[clip.clip_id] = other.clip_id
                break
        else:
            representatives.append(clip)
            represents[clip.clip_id] = clip.clip_id
    return represents


@dataclass(frozen=True)
class Gallery:
    """The expert clips that are ranked for each test tuple.

    Attributes:
        represents: Clip id to the id of the clip that stands for it.
        activity: Id of each ranked clip to its activity.
        within_activity: Whether only clips of the learner's activity are ranked; the others are easily told apart.
    """

    represents: dict[str, str]
    activity: dict[str, str]
    within_activity: bool

    @classmethod
    def of(cls, tuples: list[CoachingTuple], further: list[tuple[Clip, str]], within_activity: bool) -> "Gallery":
        """Builds a gallery, each performance once.

        Args:
            tuples: Tuples whose expert clips are ranked.
            further: Further clips with their activities.
            within_activity: Whether only clips of the learner's activity are ranked.

        Returns:
            The gallery.
        """
        ranked = [(t.expert, t.activity) for t in tuples] + further
        represents = distinct_clips([clip for clip, _ in ranked])
        return cls(represents, {represents[clip.clip_id]: name for clip, name in ranked}, within_activity)

    @property
    def digest(self) -> str:
        """Hash of the ranked clips; predictions from different galleries do not mix."""
        content = json.dumps([self.represents, self.activity, self.within_activity], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def pool(self, t: CoachingTuple) -> list[str]:
        """Returns the ids of the clips that are ranked for a tuple."""
        return [clip for clip, name in self.activity.items() if not self.within_activity or name == t.activity]

    def positive(self, t: CoachingTuple) -> str:
        """Returns the id of the clip that answers a tuple."""
        return self.represents[t.expert.clip_id]


Ranker = Callable[[str, str, list[str]], Tensor]
"""A function of (learner's clip, remark, candidates) that returns the candidates' mean log-likelihoods ``[N]``."""


def rank_by_demonstration(coach: Answerer, learner: str, remark: str, pool: list[str]) -> Tensor:
    """Scores how likely each candidate's poses are as the answer (Eq. 2).

    Args:
        coach: Coach that knows the learner's clip and the candidates.
        learner: Id of the learner's clip.
        remark: What the learner was told.
        pool: Ids of the candidates.

    Returns:
        Mean log-likelihoods ``[N]``.
    """
    (likely,) = coach.answer_choices([(learner, ClipChoice(demonstration_prompt(learner, remark), pool))])
    return torch.from_numpy(likely.mean)


@torch.inference_mode()
def rank_by_remark(coach: "Coach", learner: str, remark: str, pool: list[str], batch_size: int = 16) -> Tensor:
    """Scores how likely the remark is about each candidate's clip: for coaches that never learned to demonstrate (LLaVA-FT).

    Args:
        coach: Coach that knows the candidates.
        learner: Id of the learner's clip, which plays no part.
        remark: What the learner was told.
        pool: Ids of the candidates.
        batch_size: Number of candidates at a time.

    Returns:
        Mean log-likelihoods ``[N]``.
    """
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


def candidate_priors(
    rank: Ranker,
    training: list[CoachingTuple],
    gallery: Gallery,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Estimates how likely each candidate is for an arbitrary learner: its mean log-likelihood over training prompts.

    Some poses are likely after any prompt. Without this correction they win every ranking, because candidates differ in
    their prior more than in how well they answer. Only training prompts enter, so a query's rank does not depend on the
    other test queries. Prompts are of the candidate's activity where only clips of one activity compete; an activity that
    nobody trained on gets those of all, and a warning says so.

    Args:
        rank: Gives the likelihoods of candidates.
        training: Training tuples, which the prompts come from.
        gallery: The clips that are ranked.
        progress: Called with (candidates scored, candidates times prompts).

    Returns:
        Clip id to its prior.

    Raises:
        ValueError: There are no training tuples.
    """
    if not training:
        raise ValueError(
            "Ranking needs training tuples, whose prompts tell how likely a candidate is for anybody, and there are none; "
            "give a tuple folder with a training split."
        )
    done = 0
    totals = dict.fromkeys(gallery.activity, 0.0)
    for name in dict.fromkeys(gallery.activity.values()):
        prompts = [t for t in training if t.activity == name] if gallery.within_activity else training
        if not prompts:
            logger.warning("no training tuple shows %r: its clips' priors are over prompts of all activities", name)
            prompts = training
        chosen = [prompts[i] for i in np.linspace(0, len(prompts) - 1, PRIOR_PROMPTS).round().astype(int)]
        pool = [clip for clip, activity in gallery.activity.items() if activity == name]
        for t in chosen:
            for clip, likely in zip(pool, rank(t.learner.clip_id, t.summary, pool).tolist(), strict=True):
                totals[clip] += likely / len(chosen)
            done += len(pool)
            progress(done, PRIOR_PROMPTS * len(gallery.activity))
    return totals
