"""`mm-coach answer`: a coach's answers to a task's test items, with what baselines need."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mm_adapter.checkpoint.coach import SavedCoach, coach_folder
from mm_adapter.checkpoint.run_record import check_same_run, run_record, write_run_record
from mm_adapter.checkpoint.seal import identity
from mm_adapter.cli.console import stage_progress
from mm_adapter.cli.task_folders import switches
from mm_adapter.distributed import device_and_dtype, launch_name, launched_processes
from mm_adapter.evaluation.task_answers import answer_items, read_answer
from mm_adapter.inference.coach import Coach
from mm_adapter.samples.clip_stores import JointStore
from mm_adapter.training.data import trained_on
from mm_data.features import FeatureStore, pooled_features
from mm_data.folders import pose_stretches
from mm_data.ground.digests import hash_of
from mm_data.ground.files import check_apart
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.tasks.folder import read_items, read_task_manifest
from mm_data.tasks.known import find_task, task_options
from mm_data.tasks.overlap import Material, material_of_items, overlap
from mm_eval.answers.test_sets import (
    EXPECTED,
    OURS,
    TRAINING,
    ClipFile,
    TestItem,
    evenly_spaced,
    write_about,
    write_answers,
)
from mm_tokenizers.codes import PoseCodeStore

RECORDS = "raw_answers"
POSE_FRAMES = 8
"""Frames by which performances are compared."""
_SETTINGS = ("coach", "task", "options", "items", "features")


def run_answer(args: argparse.Namespace) -> None:
    """Answers (resuming) and writes what `mm-coach eval` reads."""
    check_apart(args.out, Path(args.coach), args.items, args.features, args.codes)
    args.coach, manifest = coach_folder(args.coach), read_task_manifest(args.items)
    task = find_task(manifest["found_by"])
    opened = SavedCoach.from_pretrained(args.coach, *device_and_dtype(), base_model=args.base_model)
    trained = opened.run_config.get("tasks", {}).get(task.name)
    options = task_options(task, {**(trained or {}), **switches(args.set)})
    form = task.format(manifest["knowledge"], options)
    store, codes = _inputs(args, opened)
    rejected = store.manifest.rejected if store else {}
    test = read_items(args.items, "test")
    items = evenly_spaced([item for item in test if item.clip.clip_id not in rejected], args.max_items)
    record = run_record(
        coach={"coach": identity(args.coach)},
        task={"name": task.name},
        options=asdict(options),
        items={"items": len(items), "content": hash_of([manifest["knowledge"], *map(asdict, items)])},
        features={"features": hash_of(asdict(store.manifest)) if store else None, "poses": _poses_hash(codes)},
    )
    check_same_run(args.out, record, _SETTINGS)
    write_run_record(args.out, record)
    state = launched_processes()
    records = SharedRecords(args.out, RECORDS, state.process_index, state.num_processes, launch_name())
    with stage_progress(quiet=not state.is_main_process) as progress:
        answer_items(
            Coach(opened.model, opened.processor, codes, store), form, items, records,
            lambda done, total: progress("answering", done, total),
        )  # fmt: skip
    if not join_all([records], [item.item_id for item in items]):
        print(f"process {state.process_index} is done; others still have items")
        return
    said = records.read()
    training = [item for item in read_items(args.items, "train") if item.clip.clip_id not in rejected]
    nearest, notes = nearest_items(items, training, args.items, store)
    left_out = sum(item.clip.clip_id in rejected for item in test)
    notes += [f"{left_out} test items left out: feature extraction rejected their clips"] if left_out else []
    notes += [] if trained is not None else [f"the coach was never trained on {task.name}"]
    shared = overlap(*_sides(task.name, opened.run_config, items))
    notes.insert(0, shared.sentence())
    for note in notes:
        print(note)
    about = Path(manifest["videos"]), bool(manifest["synthetic"])
    answers = [_test_item(item, form, said[item.item_id], nearest[item.item_id], *about) for item in items]
    write_answers(args.out, [_training_item(item, form, *about) for item in training], TRAINING)
    write_about(args.out, form.inputs, notes)
    write_answers(args.out, answers)
    unread = sum(bool(item.answers[OURS].unread) for item in answers)
    print(f"{args.out}: {len(answers)} answers, {unread} of them not wholly readable; {'; '.join(form.inputs)}")
    print(f"mm-coach eval {args.out} --suite {task.name}")


def _sides(task: str, record: dict[str, Any], items: Sequence[TaskItem]) -> tuple[Material, Material, list[str]]:
    """What the coach was trained on, what it is asked about, and what of the former could not be read."""
    trained, unread = trained_on(record)
    return trained, material_of_items(task, items), unread


def _poses_hash(codes: Any) -> str | None:
    """Of what a coach sees of poses; joints are read from the items' own files."""
    return codes.digest if isinstance(codes, PoseCodeStore) else None


def _inputs(args: argparse.Namespace, opened: SavedCoach) -> tuple[FeatureStore | None, Any]:
    config = opened.model.config
    store = codes = None
    if config.video_tokens:
        store = FeatureStore(args.features or args.items / "features")
    folder = args.codes or args.items / "pose_codes"
    if config.pose_form == "text":
        codes = JointStore.read(args.items, config.pose_frames)
    elif config.pose_form == "tokens" and folder.is_dir():
        codes = PoseCodeStore.load(folder)
    return store, codes


def _test_item(
    item: TaskItem, form: TaskFormat, record: dict[str, Any], nearest: dict[str, str], videos: Path, synthetic: bool
) -> TestItem:
    """An item as the evaluation reads it; what its truth does not say in fields is read from its text, as answers are."""
    known = {name: value for name, value in asdict(item.truth).items() if value is not None}
    truth = replace(form.parse(item.truth.text), unread=None, **known)
    answers = {OURS: read_answer(form, record)}
    if record["expected"] is not None:
        answers[EXPECTED] = replace(answers[OURS], score=record["expected"])
    return _as_test_item(item, truth, answers, nearest, videos, synthetic)


def _training_item(item: TaskItem, form: TaskFormat, videos: Path, synthetic: bool) -> TestItem:
    """A training item as baselines answer with it: what is taught, read as every answer is."""
    taught = form.conversation(item, 0)
    text = taught.messages[taught.supervised[-1]]["content"][0]["text"]
    read = form.parse(text)
    return _as_test_item(
        item, read if read.text.strip() else replace(read, text=item.truth.text), {}, {}, videos, synthetic
    )


def _as_test_item(
    item: TaskItem, truth: Answer, answers: dict[str, Answer], nearest: dict[str, str], videos: Path, synthetic: bool
) -> TestItem:
    clips = {
        view: ClipFile(str(videos / path), item.clip.start, item.clip.stop) for view, path in item.clip.videos.items()
    }
    return TestItem(
        item.item_id,
        item.cluster,
        item.category,
        truth,
        answers,
        clips,
        nearest,
        synthetic,
        item.references,
        item.person,
    )


def nearest_items(
    items: Sequence[TaskItem], training: Sequence[TaskItem], folder: Path, store: FeatureStore | None
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Test item to the training item that is nearest by features and by poses, and what there is not.

    A kind of similarity counts only where every test item has it: a baseline answers all items or none.
    """
    spaces: dict[str, dict[str, np.ndarray]] = {}
    if store is not None:
        spaces["video"] = {i.item_id: _unit(pooled_features(store, i.clip.clip_id)) for i in (*items, *training)}
    posed = [item for item in (*items, *training) if item.has_poses]
    if posed:
        joints = JointStore(pose_stretches(folder), POSE_FRAMES)
        spaces["pose"] = {i.item_id: np.nan_to_num(joints[i.clip.clip_id][..., :3]).ravel() for i in posed}
    found: dict[str, dict[str, str]] = {item.item_id: {} for item in items}
    notes = []
    for kind, space in spaces.items():
        candidates = [item for item in training if item.item_id in space]
        without = sum(item.item_id not in space for item in items)
        if without or not candidates:
            notes.append(f"no {kind} nearest neighbour: {without} of {len(items)} test items have no poses")
            continue
        matrix = np.stack([space[item.item_id] for item in candidates])
        for item in items:
            distances = np.linalg.norm(matrix - space[item.item_id], axis=1)
            found[item.item_id][kind] = candidates[int(distances.argmin())].item_id
    return found, notes


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
