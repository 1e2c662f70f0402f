"""Systems that a test set is asked of: coaches, nearest neighbours and answers of a vision-language model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from mm_adapter.checkpoint.coach import coach_folder, read_config
from mm_adapter.checkpoint.seal import identity
from mm_adapter.evaluation.matcher import CONFIG as MATCHER_CONFIG
from mm_adapter.evaluation.matcher import MatcherInputs, load_matcher
from mm_adapter.evaluation.neighbours import feature_space, matched_space, predict_by_neighbours
from mm_adapter.evaluation.predictions import Backends, PredictionIdentity, Progress, predict, read_predictions
from mm_adapter.evaluation.test_set import TestSet, can_demonstrate, open_coach, ranker_of
from mm_adapter.model.language_model import find_base_model, word_embeddings
from mm_adapter.training.data import trained_on
from mm_data.ground.digests import sha256_of
from mm_data.tasks.overlap import Material
from mm_eval.answers.test_sets import FILE as ANSWERS
from mm_eval.answers.test_sets import OURS, read_about, read_answers
from mm_eval.answers.zero_shot import RECORD as ZERO_SHOT
from mm_tokenizers import PoseTokenizer

NEAREST_NEIGHBOUR = "nearest-neighbour"
"""Stands for a coach: InternVideo2-NN of ExpertAF's Table 1."""


@dataclass(frozen=True)
class SystemUnderTest:
    """A system and how it is asked.

    Attributes:
        folder: Folder of a coach, of a matcher or of zero-shot answers, or `NEAREST_NEIGHBOUR`.
        demonstrator: Another coach for retrieval and poses, or None for the same one.
        privileged: Show the expert's clip or remark too (ExpertAF's full-sup).
        base_model: Where the coach's language model is, if not where training had it; also the demonstrator's, if they
            share it.
    """

    folder: Path
    demonstrator: Path | None = None
    privileged: bool = False
    base_model: str | None = None

    @classmethod
    def named(
        cls, name: Path, demonstrator: Path | None = None, privileged: bool = False, base_model: str | None = None
    ) -> "SystemUnderTest":
        """Looks for a system and its demonstrator by folder, name on the Hub or `NEAREST_NEIGHBOUR`."""
        folder = name if str(name) == NEAREST_NEIGHBOUR else coach_folder(name)
        second = None if demonstrator is None else coach_folder(demonstrator)
        return cls(folder, second, privileged, base_model)

    @property
    def is_neighbours(self) -> bool:
        """Whether nearest neighbours answer: of plain features, or of a trained matcher."""
        return str(self.folder) == NEAREST_NEIGHBOUR or (self.folder / MATCHER_CONFIG).is_file()

    @property
    def is_zero_shot(self) -> bool:
        """Whether the folder holds answers that `mm-coach zero-shot` asked for."""
        return (self.folder / ZERO_SHOT).is_file()

    def made_of(self) -> dict[str, Any]:
        """Returns what tells its answers from those of another system, JSON-ready."""
        if str(self.folder) == NEAREST_NEIGHBOUR:
            digest = NEAREST_NEIGHBOUR
        else:
            digest = sha256_of(self.folder / ANSWERS) if self.is_zero_shot else identity(self.folder)
        second = None if self.demonstrator is None else identity(self.demonstrator)
        return {"coach": digest, "demonstrator": second, "privileged": self.privileged}


@dataclass(frozen=True)
class Predicted:
    """What a system answered.

    Attributes:
        records: One record per test tuple, as `read_predictions` gives them.
        pose_tokenizer: Decodes their codes; None for joints.
        dtype: dtype of the system's weights; None where it has none here.
        shows_poses: Whether the system generates poses at all.
        notes: Sentences that a reader of its table has to know.
        trained: Everything that it was trained on, all parts of a mixture together; None for the test set's own training split.
        unread: What it was trained on and could not be read.
    """

    records: list[dict[str, Any]]
    pose_tokenizer: PoseTokenizer | None = None
    dtype: torch.dtype | None = torch.float32
    shows_poses: bool = True
    notes: tuple[str, ...] = ()
    trained: Material | None = None
    unread: tuple[str, ...] = ()


def ask(system: SystemUnderTest, test: TestSet, out: Path, progress: Progress) -> Predicted | None:
    """Asks a system for its answers to a test set.

    Args:
        system: The system.
        test: Test set.
        out: Folder where a coach's predictions are kept.
        progress: Is called with (function, done, total).

    Returns:
        The answers; None while other processes are still at theirs.

    Raises:
        ValueError: The system and the test set do not fit each other, or ``out`` was begun with something else.
    """
    if system.is_neighbours:
        return _neighbour_predictions(system, test)
    if system.is_zero_shot:
        return _zero_shot_predictions(system.folder, test)
    return _coach_predictions(system, test, out, progress)


def _coach_predictions(system: SystemUnderTest, test: TestSet, out: Path, progress: Progress) -> Predicted | None:
    """A coach's answers, going on from those that ``out`` holds."""
    saved, coach = open_coach(test, system.folder, system.base_model)
    demonstrator, rank, second = coach if can_demonstrate(saved) else None, ranker_of(saved, coach), None
    if system.demonstrator is not None:
        shared = read_config(system.demonstrator).base_model_fingerprint == saved.model.config.base_model_fingerprint
        second, demonstrator = open_coach(test, system.demonstrator, system.base_model if shared else None)
        if not can_demonstrate(second):
            raise ValueError(f"{system.demonstrator} was not trained to demonstrate.")
        rank = ranker_of(second, demonstrator)
    PredictionIdentity(
        inputs=test.inputs_seen(any(one is not None and one.features is not None for one in (coach, demonstrator))),
        commentator=identity(system.folder),
        demonstrator=identity(system.demonstrator or system.folder),
        gallery=test.gallery.digest,
        remarks="expert" if system.privileged else "generated",
        privileged=system.privileged,
    ).begin(out)
    remarks = {t.tuple_id: t.summary for t in test.tuples} if system.privileged else None
    backends = Backends(coach, demonstrator, rank, remarks, system.privileged)
    if not predict(backends, test.tuples, test.gallery, test.training, out, progress):
        return None
    trained, unread = trained_on(saved.run_config)
    if second is not None:
        further, lacking = trained_on(second.run_config)
        trained, unread = trained | further, unread + lacking
    records = read_predictions(out, test.tuples)
    return Predicted(records, saved.pose_tokenizer, coach.model.dtype, trained=trained, unread=tuple(unread))


def _neighbour_predictions(system: SystemUnderTest, test: TestSet) -> Predicted:
    """Answers by nearest neighbours, of plain features or of a trained matcher."""
    if test.features is None:
        raise ValueError("Nearest neighbours need --features.")
    clips = list(test.clips)
    if str(system.folder) == NEAREST_NEIGHBOUR:
        space = feature_space(test.features, clips, test.training)
    else:
        matcher, video = load_matcher(system.folder), test.features.manifest
        recorded = matcher.architecture
        if video.made_by != recorded.video_encoder:
            raise ValueError(f"The feature store was made by {video.encoder}, the matcher was trained on others.")
        fingerprint = recorded.language_model_fingerprint
        name = find_base_model(recorded.language_model, fingerprint, system.folder, system.base_model)
        embeddings = word_embeddings(name)
        inputs = MatcherInputs(test.training, test.features, AutoTokenizer.from_pretrained(name), embeddings)
        space = matched_space(matcher, clips, inputs)
    pools = [test.gallery.pool(t) for t in test.tuples]
    positives = [test.gallery.positive(t) for t in test.tuples]
    return Predicted(predict_by_neighbours(space, test.tuples, pools, positives, test.training, test.joints))


def _zero_shot_predictions(folder: Path, test: TestSet) -> Predicted:
    """Commentary that `mm-coach zero-shot` asked a vision-language model for; it ranks nothing and shows no poses."""
    texts = {item.item_id: item.answers[OURS].text for item in read_answers(folder)}
    if missing := [t.tuple_id for t in test.tuples if t.tuple_id not in texts]:
        raise ValueError(
            f"{folder} has no answer on {missing[0]} ({len(missing)} of {len(test.tuples)}); ask about the same test set, or give the same --max-tuples."
        )
    records = [{"tuple_id": t.tuple_id, "commentary": texts[t.tuple_id]} for t in test.tuples]
    inputs, remarks = read_about(folder)
    notes = [f"Inputs beside the clip: {'; '.join(inputs)}."] if inputs else []
    return Predicted(records, dtype=None, shows_poses=False, notes=(*notes, *remarks))
