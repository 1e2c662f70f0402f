"""A test split with everything that predicting and scoring need; coaches and nearest neighbours go the same way."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import interp1d
from transformers import AutoTokenizer

from mm_adapter.checkpoint.coach import SavedCoach, read_config
from mm_adapter.checkpoint.run_record import check_same_run, read_run_record, run_record, write_run_record
from mm_adapter.checkpoint.seal import identity
from mm_adapter.distributed import device_and_dtype, launched_processes
from mm_adapter.evaluation.matcher import MatcherInputs, load_matcher
from mm_adapter.evaluation.neighbours import feature_space, matched_space, predict_by_neighbours
from mm_adapter.evaluation.predictions import Functions, Progress, predict, read_predictions
from mm_adapter.inference.coach import Coach, decode_codes
from mm_adapter.inference.ranking import Gallery, rank_by_demonstration, rank_by_remark
from mm_adapter.inference.sampling import GREEDY
from mm_adapter.model.language_model import find_base_model, word_embeddings
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.samples.sources import without_rejected
from mm_adapter.training.data import trained_on
from mm_data.features import FeatureStore, pooled_features
from mm_data.folders import stretches_of
from mm_data.ground.digests import hash_of
from mm_data.miniature.truth import SIDECAR, MiniatureTruth
from mm_data.records import Clip, CoachingTuple
from mm_data.tasks.overlap import Material, material_of_tuples, overlap
from mm_data.tuples.store import clips_of, read_gallery, read_manifest, read_tuples, tuples_hash
from mm_eval.answers.test_sets import OURS, TestItem, read_about, read_answers
from mm_eval.metrics.text import BertModel
from mm_eval.suites.expertaf import Inputs, collect_examples, evaluate
from mm_tokenizers import PoseTokenizer
from mm_tokenizers.codes import PoseCodeStore

TRANSFORMERS, GENERATED = "transformers", "generated"
"""What runs the coach, and whose remarks are asked about, unless something else is said."""
NEAREST_NEIGHBOUR = "nearest-neighbour"
"""Stands for a coach: InternVideo2-NN of ExpertAF's Table 1."""


@dataclass(frozen=True)
class TestSet:
    """Test tuples and what belongs to them.

    Attributes:
        folder: Tuple folder.
        tuples: Test tuples, possibly a subset.
        training: Training tuples, for baselines and priors.
        gallery: What is ranked.
        clips: Every clip by id.
        codes: Pose codes.
        features: Video features, or None.
        joints: Poses at the frames of the codes.
        inputs: Hash of the tuple folder's content, of the codes and of the features (None without), whatever part is asked about.
        unusable: Test tuples that are left out because extraction rejected their clips.
    """

    __test__ = False  # no tests, whatever pytest thinks of the name

    folder: Path
    tuples: list[CoachingTuple]
    training: list[CoachingTuple]
    gallery: Gallery
    clips: dict[str, Clip]
    codes: PoseCodeStore
    features: FeatureStore | None
    joints: JointStore
    inputs: dict[str, str | None]
    unusable: int

    @classmethod
    def open(
        cls, folder: Path, codes: Path, features: Path | None, within_activity: bool, limit: int | None
    ) -> "TestSet":
        """Reads a tuple folder with its codes and features; ``limit`` keeps an evenly spaced subset."""
        store = FeatureStore(features) if features else None
        test, unusable = without_rejected(read_tuples(folder, "test"), store)
        training, _ = without_rejected(read_tuples(folder, "train"), store)
        if limit is not None and limit < len(test):
            test = [test[i] for i in np.linspace(0, len(test) - 1, limit).round().astype(int)]
        rejected = store.manifest.rejected if store else {}
        further = [(clip, activity) for clip, activity in read_gallery(folder) if clip.clip_id not in rejected]
        clips = clips_of(test + training) | {clip.clip_id: clip for clip, _ in further}
        opened = PoseCodeStore.load(codes)
        gallery = Gallery.of(test, further, within_activity)
        joints = JointStore(stretches_of(clips, folder), opened.frames)
        inputs = {
            "tuples": tuples_hash(folder),
            "codes": opened.digest,
            "features": hash_of(asdict(store.manifest)) if store else None,
        }
        return cls(folder, test, training, gallery, clips, opened, store, joints, inputs, unusable)

    def inputs_seen(self, video: bool) -> dict[str, str | None]:
        """The inputs that decide what a system answers; features alone for one that sees video."""
        return self.inputs if video else {**self.inputs, "features": None}


@dataclass(frozen=True)
class Predicted:
    """What a system answered.

    Attributes:
        records: Of `predict`.
        pose_tokenizer: Decodes their codes; None for joints.
        dtype: Of the weights.
        shows_poses: Whether the system generates poses at all.
        notes: What a reader of its table has to know.
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


def coach_predictions(
    test: TestSet,
    folder: Path,
    demonstrator: Path | None,
    privileged: bool,
    out: Path,
    progress: Progress,
    base_model: str | None = None,
) -> Predicted | None:
    """A coach's predictions, resuming from ``out``; None while other processes are still at theirs.

    Args:
        test: Test set.
        folder: The coach.
        demonstrator: Another coach for retrieval and poses, or None for the same one.
        privileged: Show the expert's clip or remark too (ExpertAF's full-sup).
        out: Where predictions are kept.
        progress: See `predict`.
        base_model: Where the coach's language model is, if not where training had it; also the demonstrator's, if they
            share it.
    """
    opened, coach = open_coach(test, folder, base_model)
    shows, other = coach if opened.can_demonstrate else None, opened
    if demonstrator is not None:
        shared = read_config(demonstrator).base_model_fingerprint == opened.model.config.base_model_fingerprint
        other, shows = open_coach(test, demonstrator, base_model if shared else None)
        if not other.can_demonstrate:
            raise ValueError(f"{demonstrator} was not trained to demonstrate.")
    rank = partial(rank_by_demonstration, shows) if shows else partial(rank_by_remark, coach)
    remarks = {t.tuple_id: t.summary for t in test.tuples} if privileged else None
    mine = identity(folder)
    shows_from = identity(demonstrator) if demonstrator else mine
    asked = {"remarks": "expert" if privileged else GENERATED, "backend": TRANSFORMERS}
    sees_video = coach.features is not None or (shows is not None and shows.features is not None)
    begin_predictions(
        out,
        inputs=test.inputs_seen(sees_video),
        commentary={"coach": mine, "privileged": privileged, "backend": TRANSFORMERS, "sampling": vars(GREEDY)},
        demonstration={"coach": shows_from, "sampling": vars(GREEDY), **asked},
        retrieval={"coach": shows_from, "gallery": test.gallery.digest, **asked},
    )
    functions = Functions(coach, shows, rank, remarks, privileged)
    if not predict(functions, test.tuples, test.gallery, test.training, out, progress):
        return None
    trained, unread = trained_on(opened.run_config)
    if demonstrator is not None:
        further, lacking = trained_on(other.run_config)
        trained, unread = trained | further, unread + lacking
    return Predicted(
        read_predictions(out, test.tuples),
        opened.pose_tokenizer,
        coach.model.dtype,
        trained=trained,
        unread=tuple(unread),
    )


def begin_predictions(out: Path, **functions: dict[str, Any]) -> None:
    """Notes what fills a folder of predictions.

    Args:
        out: The folder.
        **functions: Function to everything that decides its records.

    Raises:
        ValueError: A function was begun with something else.
    """
    record = run_record(**functions)
    check_same_run(out, record, [name for name in functions if name in read_run_record(out)])
    if launched_processes().is_main_process:
        write_run_record(out, read_run_record(out) | record)


def open_coach(test: TestSet, folder: Path, base_model: str | None) -> tuple[SavedCoach, Coach]:
    """A coach, and the same with the inputs that it was trained on; ``base_model`` as in `SavedCoach`."""
    opened = SavedCoach.from_pretrained(folder, *device_and_dtype(), base_model=base_model)
    config = opened.model.config
    text = config.pose_form == "text"
    poses = JointStore(stretches_of(test.clips, test.folder), config.pose_frames) if text else test.codes
    return opened, Coach(opened.model, opened.processor, poses, test.features if config.video_tokens else None)


def neighbour_predictions(test: TestSet, coach: Path, base_model: str | None = None) -> Predicted:
    """Predictions by nearest neighbours, of plain features or of a trained matcher; ``base_model`` as for a coach.

    Raises:
        ValueError: No features, or features of another encoder than the matcher's.
    """
    if test.features is None:
        raise ValueError("Nearest neighbours need --features.")
    clips = list(test.clips)
    if str(coach) == NEAREST_NEIGHBOUR:
        space = feature_space(test.features, clips, test.training)
    else:
        matcher, video = load_matcher(coach), test.features.manifest
        if video.made_by != matcher.architecture.video_encoder:
            raise ValueError(f"The feature store was made by {video.encoder}, the matcher was trained on others.")
        recorded = matcher.architecture
        name = find_base_model(recorded.language_model, recorded.language_model_fingerprint, coach, base_model)
        embeddings = word_embeddings(name)
        inputs = MatcherInputs(test.training, test.features, AutoTokenizer.from_pretrained(name), embeddings)
        space = matched_space(matcher, clips, inputs)
    pools = [test.gallery.pool(t) for t in test.tuples]
    positives = [test.gallery.positive(t) for t in test.tuples]
    return Predicted(predict_by_neighbours(space, test.tuples, pools, positives, test.training, test.joints))


@dataclass(frozen=True)
class Evaluation:
    """A scored test set: ``metrics.json``, a dozen examples, and the items with every system's commentary."""

    result: dict[str, Any]
    examples: list[dict[str, Any]]
    items: list[TestItem]


def zero_shot_predictions(test: TestSet, folder: Path) -> Predicted:
    """Commentary that `mm-coach zero-shot` asked a vision-language model for; it ranks nothing and shows no poses.

    Raises:
        ValueError: A test tuple was not asked about.
    """
    texts = {item.item_id: item.answers[OURS].text for item in read_answers(folder)}
    if missing := [t.tuple_id for t in test.tuples if t.tuple_id not in texts]:
        raise ValueError(
            f"{folder} has no answer on {missing[0]} ({len(missing)} of {len(test.tuples)}); ask about the same test set, or give the same --max-tuples."
        )
    records = [{"tuple_id": t.tuple_id, "commentary": texts[t.tuple_id]} for t in test.tuples]
    inputs, remarks = read_about(folder)
    told = [f"Inputs beside the clip: {'; '.join(inputs)}."] if inputs else []
    return Predicted(records, dtype=None, shows_poses=False, notes=(*told, *remarks))


def score(test: TestSet, predicted: Predicted, bert: BertModel | None = None) -> Evaluation:
    """Scores a system's answers together with its baselines; ``bert`` are weights of BERTScore."""
    manifest = read_manifest(test.folder)
    source = Path(manifest["request"]["source"])
    tokenizer = predicted.pose_tokenizer
    poses = {clip: test.joints[clip] for clip in test.clips}
    video = None
    if test.features is not None:
        video = {clip: pooled_features(test.features, clip) for clip in test.clips}
    inputs = Inputs(
        tuples=test.tuples,
        predictions=predicted.records,
        generated=[_joints(record, tokenizer, test.codes.frames) for record in predicted.records]
        if predicted.shows_poses
        else None,
        reconstructed=[decode_codes(tokenizer, test.codes[t.expert.clip_id]) for t in test.tuples]
        if tokenizer
        else None,
        training=test.training,
        poses=poses,
        video=video,
        truth=MiniatureTruth(source) if (source / SIDECAR).is_file() else None,
        videos=source,
    )
    result, items = evaluate(inputs, bert)
    result["notes"] += predicted.notes
    trained = material_of_tuples(test.training) if predicted.trained is None else predicted.trained
    shared = overlap(trained, material_of_tuples(test.tuples), predicted.unread)
    result |= {
        "synthetic_data": bool(manifest["synthetic"]),
        "video_encoder": test.features.manifest.encoder if test.features else None,
        "participants_also_in_training": shared.people,
        "also_in_training": shared.to_json(),
        "gallery": "expert clips of the same activity" if test.gallery.within_activity else "all expert clips",
        "dtype": str(predicted.dtype),
    }
    return Evaluation(result, collect_examples(inputs, test.clips, source), items)


def _joints(record: dict[str, Any], tokenizer: PoseTokenizer | None, frames: int) -> np.ndarray | None:
    """Generated joints ``[T, 17, 3]``; a coach that writes fewer frames is read between them."""
    if record.get("pose_codes") is not None:
        assert tokenizer is not None
        return decode_codes(tokenizer, np.array(record["pose_codes"]))
    if record.get("pose_joints") is None:
        return None
    joints = np.array(record["pose_joints"], np.float32)
    if len(joints) == frames:
        return joints
    return interp1d(np.linspace(0, 1, len(joints)), joints, axis=0)(np.linspace(0, 1, frames)).astype(np.float32)
