"""A coach in transformers: opened, and asked about clips of a data set or about one's own."""

import copy
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.distributed import device_and_dtype
from mm_adapter.features.encoder import VideoEncoder
from mm_adapter.features.encoders import name_without_weights, open_encoder
from mm_adapter.features.extract import as_trained_on
from mm_adapter.inference.answering import AnsweringCoach
from mm_adapter.inference.chat import ChatSession
from mm_adapter.inference.experts import Expert, ExpertGallery, ExpertSearch, ranker_of
from mm_adapter.inference.own_clip import OwnClip, prepare
from mm_adapter.inference.own_tasks import OwnTasks
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.samples.clip_stores import LEARNER, JoinedFeatures, JoinedPoses, NoFeatures
from mm_data.features import FeatureStore
from mm_data.items.answer import Answer
from mm_data.tasks.coaching import ASK_COMMENTARY
from mm_tokenizers.codes import PoseCodeStore


class Coach(AnsweringCoach):
    """A coach for people: `from_pretrained` opens one, `clip` prepares a clip of one's own.

    Such a clip is asked about with `comment`, `ask`, `experts`, `demonstrate` and `answer`; questions about clips of a data set, which are
    named by their ids, go to `answer_words`, `answer_choices` and `answer_poses`.
    """

    encoder: tuple[VideoEncoder, str] | None = None
    gallery: ExpertGallery | None = None
    tasks = OwnTasks({})

    @cached_property
    def _priors(self) -> dict[str, float]:
        """The gallery's priors as far as they were computed, which all clips share."""
        return {}

    @cached_property
    def _encoder_by_name(self) -> tuple[VideoEncoder, str] | None:
        """The encoder that the coach was trained on, where its name is enough to open it."""
        name = name_without_weights(self.config.video_encoder)
        if name is None:
            return None
        network, label = open_encoder(name)
        return as_trained_on(network, label, self.config.video_encoder).to(self.model.device), label

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        base_model: str | Path | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        encoder: str | tuple[VideoEncoder, str] | None = None,
        gallery: str | Path | None = None,
        activity: str | None = None,
        codes: str | Path | None = None,
        features: str | Path | None = None,
    ) -> "Coach":
        """Opens a trained coach with what it takes to ask about clips of one's own.

        Args:
            name: A run's ``coach`` folder, one of its checkpoints, or a name on the Hugging Face Hub.
            base_model: Folder or Hub name of the language model, where it is not where training had it.
            device: Device of the model; by default the accelerator, or the CPU where there is none.
            dtype: Type of the language model's weights; by default bfloat16 where the device has it, else float32.
            revision: Branch, tag or commit on the Hub.
            encoder: Video encoder that the coach was trained on, for one that sees video: a name that needs no weights beside it
                (``transformers:FOLDER``), or what `mm_adapter.features.encoders.open_encoder` returned. None opens tiny and
                efficientnet-lite0 where a clip needs them.
            gallery: Tuple folder whose experts are looked for.
            activity: The only activity whose experts are looked for; None takes all.
            codes: Pose codes of the gallery.
            features: Feature store of the gallery, for a coach that sees video.

        Returns:
            The coach.

        Raises:
            FileNotFoundError: The coach is not complete, or one of its parts is not there.
            ValueError: The coach was changed, or its base model, encoder, codes or features are others than in training.
        """
        place, native_dtype = device_and_dtype(None if device is None else torch.device(device))
        saved = SavedCoach.from_pretrained(name, place, dtype or native_dtype, revision, base_model)
        config = saved.model.config
        poses = None if codes is None else PoseCodeStore.load(Path(codes))
        sees_video = config.video_tokens > 0
        store = FeatureStore(Path(features)) if features is not None and sees_video else None
        stores = poses, store or (NoFeatures(config) if sees_video else None)
        coach = cls(saved.model, saved.processor, *stores, saved.pose_tokenizer)
        coach.can_demonstrate, coach.tasks = saved.can_demonstrate, OwnTasks(saved.run_config)
        if encoder is not None and sees_video:
            network, encoder_name = open_encoder(encoder) if isinstance(encoder, str) else encoder
            coach.encoder = as_trained_on(network, encoder_name, config.video_encoder).to(place), encoder_name
        if gallery is not None:
            coach.gallery = ExpertGallery.open(Path(gallery), poses, store, activity, sees_video)
        return coach

    def clip(
        self,
        exo: str | Path | None = None,
        ego: str | Path | None = None,
        poses: str | Path | None = None,
        start: float = 0.0,
        stop: float | None = None,
        pose_model: str | Path | None = None,
        sampling: Sampling = GREEDY,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> OwnClip:
        """Prepares a clip of one's own as training clips were prepared, and begins a conversation about it.

        Args:
            exo: Video from outside.
            ego: Video from the learner's own view; where the coach sees both, one stands in for the other.
            poses: Poses at 30 fps: ``.npy`` ``[n, 17, 4]`` in metres, or Ego-Exo4D's JSON.
            start: First second that is looked at.
            stop: End in seconds, exclusive; None is the end of the shorter video.
            pose_model: MediaPipe's ``pose_landmarker_*.task``, which finds poses where none are given.
            sampling: How words are drawn.
            progress: Called with (frames done, frames) while poses are found.

        Returns:
            The clip.

        Raises:
            FileNotFoundError: A file is not there.
            ValueError: There is no video, the stretch is none of it, or poses or the encoder are lacking.
            VideoError: A video cannot be read.
        """
        if self.pose_tokenizer is None:
            raise ValueError("Clips of one's own need a coach that Coach.from_pretrained opened.")
        videos = {view: Path(path) for view, path in (("ego", ego), ("exo", exo)) if path is not None}
        encoder = self.encoder or self._encoder_by_name
        files = None if poses is None else Path(poses), None if pose_model is None else Path(pose_model)
        inputs = prepare(videos, start, stop, *files, self.config, self.pose_tokenizer, encoder, progress)
        coach = copy.copy(self)
        coach.poses = JoinedPoses(self.poses, {} if inputs.codes is None else {LEARNER: inputs.codes})
        if self.features is not None:
            coach.features = JoinedFeatures(self.features, {LEARNER: inputs.features})
        search = None
        if self.gallery is not None:
            search = ExpertSearch(self.gallery, ranker_of(coach), self._priors)
        return OwnClip(inputs, ChatSession(coach, coach.poses, search, sampling))

    def comment(self, clip: OwnClip) -> str:
        """Comments on a clip, which begins its conversation anew; returns the remark."""
        clip.session.restart()
        return self.ask(clip, ASK_COMMENTARY)

    def ask(self, clip: OwnClip, question: str) -> str:
        """Asks a question about a clip, after all that was said about it before; returns the answer."""
        return "".join(clip.session.ask(question)).strip()

    def experts(self, clip: OwnClip, k: int = 3) -> list[Expert]:
        """Finds the experts who likeliest do what the last remark on a clip asks for.

        Args:
            clip: The clip; where nothing was said about it yet, it is commented on first.
            k: Number of experts.

        Returns:
            The experts, best first.

        Raises:
            ValueError: There is no gallery.
        """
        if self.gallery is None or clip.session.experts is None:
            raise ValueError("There is no gallery; open the coach with gallery=, codes= and features=.")
        ranking = clip.session.experts.search(clip.session.clip, self._remark(clip))
        return [self.gallery.expert(clip_id, score) for clip_id, score in ranking[:k]]

    def demonstrate(self, clip: OwnClip) -> np.ndarray:
        """Shows how a clip should look after the last remark on it.

        Args:
            clip: The clip; where nothing was said about it yet, it is commented on first.

        Returns:
            Joints ``[T, 17, 3]`` in metres.

        Raises:
            ValueError: The coach was trained to comment alone.
        """
        if not self.can_demonstrate:
            raise ValueError("This coach was trained to comment alone; it cannot show anything.")
        self._remark(clip)
        return self.decode(clip.session.show().codes)

    @property
    def phrases(self) -> dict[str, str]:
        """What a person says to be answered in one of the tasks that the coach was trained on, to the task's name."""
        return self.tasks.phrases

    def answer(self, clip: OwnClip, task: str) -> Answer:
        """Answers a task's questions about a clip: a narrative with its score, a verdict with its reasons, whatever the task asks.

        Args:
            clip: The clip; its conversation stays as it is.
            task: Name of a task that the coach was trained on.

        Returns:
            The answer, taken apart.

        Raises:
            ValueError: The coach was not trained on it.
        """
        return clip.session.coach.assess(clip.session.clip, task)

    def assess(self, clip_id: str, task: str) -> Answer:
        """Answers a task's questions about a clip that this coach knows; errors as `answer` has them."""
        return self.tasks.answer(task, self, clip_id, self.config.shown_views, not self.poses.missing([clip_id]))

    def _remark(self, clip: OwnClip) -> str:
        """Returns the last remark on a clip, a first one where there is none."""
        return self.comment(clip) if clip.session.last_remark is None else clip.session.last_remark
