"""The expert clips that are ranked for a learner, each performance once, and the prompts that tell how likely each is for anybody."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mm_data.items.item import TaskItem
from mm_data.records import FPS, VideoClip

logger = logging.getLogger(__name__)

PRIOR_PROMPTS = 10
"""Number of training prompts over which a candidate's prior is the mean."""


def distinct_clips(clips: Sequence[VideoClip], max_overlap: float = 0.5) -> dict[str, str]:
    """Removes repetitions from a gallery.

    Clips of one take that overlap by more than ``max_overlap`` (intersection over union) show the same performance; the
    first of them stands for all.

    Args:
        clips: Clips of the gallery.
        max_overlap: Largest overlap of two clips that count as different performances, from 0 to 1.

    Returns:
        Every clip id to the clip id that represents it.
    """
    representatives: dict[str, list[tuple[str, int, int]]] = {}
    represents = {}
    for clip in clips:
        start, stop = round(clip.start * FPS), round(clip.stop * FPS)
        of_take = representatives.setdefault(clip.clip_id.partition(":")[0], [])
        for other, begin, end in of_take:
            shared, joint = min(end, stop) - max(begin, start), max(end, stop) - min(begin, start)
            if shared > max_overlap * joint:
                represents[clip.clip_id] = other
                break
        else:
            of_take.append((clip.clip_id, start, stop))
            represents[clip.clip_id] = clip.clip_id
    return represents


@dataclass(frozen=True)
class Gallery:
    """The expert clips that are ranked.

    Attributes:
        represents: Clip id to the id of the clip that stands for it.
        category: Id of each ranked clip to its activity.
        within_category: Whether only clips of the learner's activity are ranked; the others are easily told apart.
    """

    represents: dict[str, str]
    category: dict[str, str]
    within_category: bool

    @classmethod
    def of(cls, clips: Sequence[tuple[VideoClip, str]], within_category: bool) -> "Gallery":
        """Builds a gallery, each performance once.

        Args:
            clips: Clips with their activities.
            within_category: Whether only clips of the learner's activity are ranked.

        Returns:
            The gallery.
        """
        represents = distinct_clips([clip for clip, _ in clips])
        return cls(represents, {represents[clip.clip_id]: name for clip, name in clips}, within_category)

    @property
    def digest(self) -> str:
        """Hash of the ranked clips; answers from different galleries do not mix."""
        content = json.dumps([self.represents, self.category, self.within_category], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def pool(self, category: str) -> list[str]:
        """Returns the ids of the clips that are ranked for a learner of an activity."""
        return [clip for clip, name in self.category.items() if not self.within_category or name == category]


def prior_prompts(training: Sequence[TaskItem], gallery: Gallery) -> Iterator[tuple[list[TaskItem], list[str]]]:
    """Chooses the prompts after which candidates are scored for an arbitrary learner.

    Some poses are likely after any prompt. Without this correction they win every ranking, because candidates differ in
    their prior more than in how well they answer. Only training prompts enter, so a query's rank does not depend on the
    other test queries. Prompts are of the candidates' activity where only clips of one activity compete; an activity that
    nobody trained on gets those of all, and a warning says so.

    Args:
        training: Training items, whose clips and remarks are the prompts.
        gallery: The clips that are ranked.

    Yields:
        Training items, and the candidates whose prior is their mean log-likelihood after them.

    Raises:
        ValueError: There are no training items.
    """
    if not training:
        raise ValueError(
            "Ranking needs training items, whose prompts tell how likely a candidate is for anybody, and there are none; "
            "give a folder with a training split."
        )
    for name in dict.fromkeys(gallery.category.values()):
        prompts = [item for item in training if item.category == name] if gallery.within_category else training
        if not prompts:
            logger.warning("no training item shows %r: its clips' priors are over prompts of all activities", name)
            prompts = training
        chosen = [prompts[i] for i in np.linspace(0, len(prompts) - 1, PRIOR_PROMPTS).round().astype(int)]
        yield chosen, [clip for clip, category in gallery.category.items() if category == name]
