"""Experts of a tuple folder who may demonstrate: opened and checked before anybody asks, ranked after a remark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
class ExpertGallery:
    """Expert clips and what ranking them takes.

    Attributes:
        gallery: What is ranked.
        training: Training tuples of its activities, for the candidates' priors.
        clips: Every clip of both, by id.
        videos: Root of the clips' videos.
        joints: Their poses, at the frames of the codes.
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
            poses: Its pose codes.
            features: Its video features.
            activity: Only experts of this one; None takes all.
            looks: Whether the coach looks at video, so that features are needed.

        Raises:
            ValueError: Codes or features are not given or lack clips, or nobody does the activity.
        """
        if poses is None or (looks and features is None):
            raise ValueError(f"--gallery needs the {'--codes' if poses is None else '--features'} of its tuples.")
        test, _ = without_rejected(read_tuples(folder, "test"), features)
        training, _ = without_rejected(read_tuples(folder, "train"), features)
        rejected = features.manifest.rejected if features else {}
        known = {t.activity for t in training}  # priors need training prompts of the same activity
        further = [(clip, name) for clip, name in read_gallery(folder) if clip.clip_id not in rejected]
        everybody = Gallery.of(test, further, within_activity=True)
        ranked = {clip: name for clip, name in everybody.activity.items() if name in known and activity in (None, name)}
        if not ranked:
            names = ", ".join(sorted(known & set(everybody.activity.values()))) or "none"
            raise ValueError(f"No expert of {activity or 'any activity'!r} in {folder}; there are {names}.")
        clips = clips_of(test + training) | {clip.clip_id: clip for clip, _ in further}
        for what, missing in (
            ("codes", poses.missing(clips)),
            ("features", features.missing(clips) if features else []),
        ):
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(clips)} clips of {folder} have no {what}, such as {missing[0]}; give those of this folder."
                )
        source = TupleManifest.read(folder).source
        joints = JointStore(stretches_of(clips, folder), poses.frames)
        return cls(Gallery(everybody.represents, ranked, True), training, clips, source, joints)

    def stretch(self, clip_id: str) -> tuple[Path, float, float]:
        """An expert's video, from outside where there is one, and the clip's first second and end in it."""
        clip = self.clips[clip_id]
        return self.videos / (clip.exo_video or clip.ego_video), clip.start / FPS, clip.stop / FPS


class ExpertSearch:
    """Ranks the experts of a gallery by how likely their poses are as an answer, beyond how likely they are anyway.

    Args:
        experts: The gallery.
        rank: Likelihoods of candidates.
    """

    def __init__(self, experts: ExpertGallery, rank: Ranker) -> None:
        self.experts, self.rank = experts, rank
        self._prior: dict[str, float] | None = None

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Computes the candidates' priors, which the first search would wait for; see `candidate_priors`."""
        if self._prior is None:
            self._prior = candidate_priors(self.rank, self.experts.training, self.experts.gallery, progress)

    def search(self, learner: str, remark: str) -> list[tuple[str, float]]:
        """Expert clips and their mean log-likelihoods minus priors, best first."""
        self.prepare()
        assert self._prior is not None
        pool = list(self.experts.gallery.activity)
        likely = self.rank(learner, remark, pool).tolist()
        scores = {clip: value - self._prior[clip] for clip, value in zip(pool, likely, strict=True)}
        return sorted(scores.items(), key=lambda item: -item[1])
