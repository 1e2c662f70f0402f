"""Experts of a tuple folder who may demonstrate: opened and checked before anybody asks, ranked after a remark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_adapter.inference.ranking import Gallery, Ranker, candidate_priors
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.samples.sources import without_rejected
from mm_data.features import FeatureStore
from mm_data.folders import stretches_of
from mm_data.records import FPS, Clip, CoachingTuple
from mm_data.tuples.manifest import TupleManifest
from mm_data.tuples.store import clips_of, read_gallery, read_tuples
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
        training: Training tuples of the same activities, for the candidates' priors.
        clips: Clip id to clip, for the gallery and the training tuples.
        videos: Folder that the clips' paths are relative to.
        joints: Poses of the clips at the frames of the codes.
    """

    gallery: Gallery
    training: list[CoachingTuple]
    clips: Mapping[str, Clip]
    videos: Path
    joints: JointStore

    @classmethod
    def open(
        cls, folder: Path, poses: PoseCodeStore | None, features: FeatureStore | None, activity: str | None, looks: bool
    ) -> "ExpertGallery":
        """Reads a tuple folder.

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
        test, _ = without_rejected(read_tuples(folder, "test"), features)
        training, _ = without_rejected(read_tuples(folder, "train"), features)
        rejected = features.manifest.rejected if features else {}
        trained = {t.activity for t in training}  # priors need training prompts of the same activity
        further = [(clip, name) for clip, name in read_gallery(folder) if clip.clip_id not in rejected]
        everybody = Gallery.of(test, further, within_activity=True)
        ranked = {
            clip: name for clip, name in everybody.activity.items() if name in trained and activity in (None, name)
        }
        if not ranked:
            names = ", ".join(sorted(trained & set(everybody.activity.values()))) or "none"
            raise ValueError(f"No expert of {activity or 'any activity'!r} in {folder}; there are {names}.")
        clips = clips_of(test + training) | {clip.clip_id: clip for clip, _ in further}
        for what, missing in (
            ("codes", poses.missing(clips)),
            ("features", features.missing(clips) if features else []),
        ):
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(clips)} clips of {folder} have no {what}, such as {missing[0]}; "
                    "give those of this folder."
                )
        source = TupleManifest.read(folder).source
        joints = JointStore(stretches_of(clips, folder), poses.frames)
        return cls(Gallery(everybody.represents, ranked, True), training, clips, source, joints)

    def stretch(self, clip_id: str) -> tuple[Path, float, float]:
        """Returns an expert's video, the exo view where there is one, and the clip's first second and end in it."""
        clip = self.clips[clip_id]
        return self.videos / (clip.exo_video or clip.ego_video), clip.start / FPS, clip.stop / FPS

    def expert(self, clip_id: str, score: float) -> Expert:
        """Describes a ranked clip with its score."""
        joints = self.joints[clip_id]
        seen = np.where(joints[..., 3:] > 0, joints[..., :3], np.nan)
        return Expert(clip_id, self.gallery.activity[clip_id], score, *self.stretch(clip_id), seen)


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
        """Computes the candidates' priors (`candidate_priors`), which the first search would wait for.

        Args:
            progress: Called with (candidates scored, candidates times prompts).
        """
        if not self._priors:
            self._priors |= candidate_priors(self.rank, self.experts.training, self.experts.gallery, progress)

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Ranks the experts.

        Args:
            learner: Id of the learner's clip.
            remark: What the learner was told.

        Returns:
            Expert clips and their mean log-likelihoods minus priors, best first.
        """
        self.prepare()
        pool = list(self.experts.gallery.activity)
        likely = self.rank(learner, remark, pool).tolist()
        scores = {clip: value - self._priors[clip] for clip, value in zip(pool, likely, strict=True)}
        return sorted(scores.items(), key=lambda item: -item[1])
