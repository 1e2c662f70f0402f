"""Experts of a tuple folder who may demonstrate: opened and checked before anybody asks, ranked after a remark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_adapter.inference.asking import hold
from mm_adapter.inference.protocols import Answerer
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.samples.sources import without_rejected
from mm_adapter.tasks.expertaf.format import rank
from mm_data.features import FeatureStore
from mm_data.folders import pose_stretches
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_gallery, read_items
from mm_data.records import VideoClip
from mm_data.tasks import TaskItem
from mm_data.tasks.gallery import PRIOR_PROMPTS, Gallery, prior_prompts
from mm_tokenizers.codes import PoseCodeStore


@dataclass(frozen=True)
class Expert:
    """An expert's clip that shows what a remark asks for.

    Attributes:
        clip_id: Id of the clip in its tuple folder.
        activity: What the expert does.
        score: Mean log-likelihood of the clip's pose tokens minus its prior; the higher, the better it fits.
        video: The clip's video, the exo view where there is one.
        start: First second of the clip in the video.
        stop: End of the clip in the video, exclusive.
        joints: Canonical joints ``[T, 17, 3]`` in metres, NaN where a joint was not seen.
    """

    clip_id: str
    activity: str
    score: float
    video: Path
    start: float
    stop: float
    joints: np.ndarray


@dataclass(frozen=True)
class ExpertGallery:
    """Expert clips with everything that ranking and showing them takes.

    Attributes:
        gallery: The clips that are ranked.
        training: Training items of the same activities, for the candidates' priors.
        clips: Clip id to clip, for the gallery and the training items.
        videos: Folder that the clips' paths are relative to.
        joints: Poses of the clips at the frames of the codes.
    """

    gallery: Gallery
    training: list[TaskItem]
    clips: Mapping[str, VideoClip]
    videos: Path
    joints: JointStore

    @classmethod
    def open(
        cls, folder: Path, poses: PoseCodeStore | None, features: FeatureStore | None, activity: str | None, looks: bool
    ) -> "ExpertGallery":
        """Reads a folder whose items have experts.

        Args:
            folder: Tuple folder.
            poses: Pose codes of its clips.
            features: Video features of its clips.
            activity: The only activity whose experts are ranked; None takes all.
            looks: Whether the coach looks at video, so that features are needed.

        Returns:
            The gallery.

        Raises:
            ValueError: Codes or features are not given or lack clips, or nobody does the activity.
        """
        if poses is None or (looks and features is None):
            raise ValueError(f"--gallery needs the {'--codes' if poses is None else '--features'} of its tuples.")
        test, _ = without_rejected(read_items(folder, "test"), features)
        training, _ = without_rejected(read_items(folder, "train"), features)
        rejected = features.manifest.rejected if features else {}
        trained = {item.category for item in training}  # priors need training prompts of the same activity
        further = [(row.clip, row.category) for row in read_gallery(folder) if row.clip.clip_id not in rejected]
        experts = [(item.expert, item.category) for item in test if item.expert is not None]
        everybody = Gallery.of(experts + further, within_category=True)
        ranked = {
            clip: name for clip, name in everybody.category.items() if name in trained and activity in (None, name)
        }
        if not ranked:
            names = ", ".join(sorted(trained & set(everybody.category.values()))) or "none"
            raise ValueError(f"No expert of {activity or 'any activity'!r} in {folder}; there are {names}.")
        clips = {clip.clip_id: clip for item in test + training for clip in item.clips}
        clips |= {clip.clip_id: clip for clip, _ in further}
        for what, missing in (
            ("codes", poses.missing(clips)),
            ("features", features.missing(clips) if features else []),
        ):
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(clips)} clips of {folder} have no {what}, such as {missing[0]}; "
                    "give those of this folder."
                )
        joints = JointStore(pose_stretches(folder), poses.frames)
        videos = Path(ItemManifest.read(folder).videos)
        return cls(Gallery(everybody.represents, ranked, True), training, clips, videos, joints)

    def stretch(self, clip_id: str) -> tuple[Path, float, float]:
        """Returns an expert's video, the exo view where there is one, and the clip's first second and end in it."""
        clip = self.clips[clip_id]
        return self.videos / (clip.videos.get("exo") or clip.videos["ego"]), clip.start, clip.stop

    def expert(self, clip_id: str, score: float) -> Expert:
        """Describes a ranked clip with its score."""
        joints = self.joints[clip_id]
        seen = np.where(joints[..., 3:] > 0, joints[..., :3], np.nan)
        return Expert(clip_id, self.gallery.category[clip_id], score, *self.stretch(clip_id), seen)


Ranker = Callable[[str, str, list[str]], Sequence[float]]
"""A function of (learner's clip, remark, candidates) that returns the candidates' mean log-likelihoods."""


def ranker_of(answerer: Answerer) -> Ranker:
    """Returns what ranks clips by how likely an answerer holds them (`mm_adapter.tasks.expertaf.format.rank`)."""

    def likelihoods(learner: str, remark: str, pool: list[str]) -> list[float]:
        scores = hold({learner: rank(learner, remark, pool)}, answerer)[learner]
        return [scores[clip] for clip in pool]

    return likelihoods


class ExpertSearch:
    """Ranks the experts of a gallery by how likely their poses are as an answer, beyond how likely they are anyway.

    Args:
        experts: The gallery.
        rank: Gives the likelihoods of candidates.
        priors: Where the candidates' priors are kept, for several searches in one gallery to share.
    """

    def __init__(self, experts: ExpertGallery, rank: Ranker, priors: dict[str, float] | None = None) -> None:
        self.experts, self.rank = experts, rank
        self._priors = {} if priors is None else priors

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Computes the candidates' priors (`prior_prompts`), which the first search would wait for.

        Args:
            progress: Called with (candidates scored, candidates times prompts).
        """
        if self._priors:
            return
        gallery, done, found = self.experts.gallery, 0, {}
        for prompts, pool in prior_prompts(self.experts.training, gallery):
            scores = []
            for item in prompts:
                scores.append(self.rank(item.clip.clip_id, item.references[0], pool))
                done += len(pool)
                progress(done, PRIOR_PROMPTS * len(gallery.category))
            found |= {
                clip: sum(score / len(prompts) for score in of_clip)
                for clip, of_clip in zip(pool, zip(*scores, strict=True), strict=True)
            }
        self._priors |= found

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Ranks the experts.

        Args:
            learner: Id of the learner's clip.
            remark: What the learner was told.

        Returns:
            Expert clips and their mean log-likelihoods minus priors, best first.
        """
        self.prepare()
        pool = list(self.experts.gallery.category)
        likely = self.rank(learner, remark, pool)
        scores = {clip: value - self._priors[clip] for clip, value in zip(pool, likely, strict=True)}
        return sorted(scores.items(), key=lambda item: -item[1])
