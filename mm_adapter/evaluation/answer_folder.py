"""A coach's answers to a folder of items, with what baselines need, as `mm-coach eval`, `judge` and `human` read them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.checkpoint.run_record import check_same_run, run_record, write_run_record
from mm_adapter.checkpoint.seal import identity
from mm_adapter.distributed import launch_name, launched_processes, native_dtype
from mm_adapter.evaluation.neighbours import nearest_items
from mm_adapter.evaluation.predictions import Progress
from mm_adapter.evaluation.task_answers import answer_items, read_answer
from mm_adapter.inference.coach import Coach
from mm_adapter.samples.clip_stores import ClipPoses, JointStore
from mm_adapter.training.data import trained_on
from mm_data.features import FeatureStore
from mm_data.ground.digests import hash_of
from mm_data.ground.shared_records import SharedRecords, join_all
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.tasks.folder import read_items
from mm_data.tasks.known import find_task, task_options
from mm_data.tasks.manifest import TaskManifest
from mm_data.tasks.overlap import material_of_items, overlap
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
_SETTINGS = ("coach", "task", "options", "items", "features")


@dataclass(frozen=True)
class AnswerFolder:
    """What was written: answers to the items of a task, notes for their reader, and what the coach was told beside the clip."""

    task: str
    inputs: Sequence[str]
    notes: list[str]
    answers: list[TestItem]


def answer_folder(
    coach: Path,
    folder: Path,
    out: Path,
    *,
    features: Path | None,
    codes: Path | None,
    limit: int | None,
    switches: Mapping[str, Any],
    base_model: str | None,
    progress: Progress,
) -> AnswerFolder | None:
    """Answers the test items of a folder, resuming, and writes ``answers.jsonl`` and ``training.jsonl``.

    Args:
        coach: Folder of the coach.
        folder: Task folder.
        out: Folder of the answers.
        features: Feature store; None for the one inside the task folder.
        codes: Pose codes; None for those inside the task folder.
        limit: Number of test items, evenly spaced; None takes all.
        switches: The task's switches where they are others than in training.
        base_model: Where the coach's language model is, if not where training had it.
        progress: Is called with ("answering", done, total).

    Returns:
        What was written; None while other processes still have items.

    Raises:
        ValueError: ``out`` was begun with something else; says what differs.
    """
    manifest = TaskManifest.read(folder)
    task = find_task(manifest.found_by)
    device = torch.device(launched_processes().device or "cpu")
    saved = SavedCoach.from_pretrained(coach, device, native_dtype(device), base_model=base_model)
    trained = saved.run_config.get("tasks", {}).get(task.name)
    options = task_options(task, {**(trained or {}), **switches})
    form = task.format(manifest.knowledge, options)
    store, poses = _inputs(saved, features or folder / "features", codes or folder / "pose_codes", folder)
    rejected = store.manifest.rejected if store else {}
    test, training = (read_items(folder, split) for split in ("test", "train"))
    items = evenly_spaced([item for item in test if item.clip.clip_id not in rejected], limit)
    training = [item for item in training if item.clip.clip_id not in rejected]
    record = run_record(
        coach={"coach": identity(coach)},
        task={"name": task.name},
        options=asdict(options),
        items={"items": len(items), "content": hash_of([manifest.knowledge, *map(asdict, items)])},
        features={
            "features": hash_of(asdict(store.manifest)) if store else None,
            "poses": poses.digest if isinstance(poses, PoseCodeStore) else None,  # joints are the items' own files
        },
    )
    check_same_run(out, record, _SETTINGS)
    write_run_record(out, record)
    state = launched_processes()
    shared = SharedRecords(out, RECORDS, state.process_index, state.num_processes, launch_name())
    answer_items(Coach(saved.model, saved.processor, poses, store), form, items, shared, progress)
    if not join_all([shared], [item.item_id for item in items]):
        return None
    records = shared.read()
    nearest, lacking = nearest_items(items, training, folder, store)
    material, unread = trained_on(saved.run_config)
    notes = [overlap(material, material_of_items(task.name, items), unread).sentence(), *lacking]
    if left_out := sum(item.clip.clip_id in rejected for item in test):
        notes.append(f"{left_out} test items left out: feature extraction rejected their clips")
    if trained is None:
        notes.append(f"the coach was never trained on {task.name}")
    answers = [
        _test_item(item, manifest, _truth(item, form), _answers(form, records[item.item_id]), nearest[item.item_id])
        for item in items
    ]
    write_answers(out, [_test_item(item, manifest, _taught(item, form), {}, {}) for item in training], TRAINING)
    write_about(out, form.inputs, notes)
    write_answers(out, answers)
    return AnswerFolder(task.name, form.inputs, notes, answers)


def _inputs(
    saved: SavedCoach, features: Path, codes: Path, folder: Path
) -> tuple[FeatureStore | None, ClipPoses | None]:
    """Features and poses that a coach looks at."""
    config = saved.model.config
    store = FeatureStore(features) if config.video_tokens else None
    if config.pose_form == "text":
        return store, JointStore.read(folder, config.pose_frames)
    return store, PoseCodeStore.load(codes) if config.pose_form == "tokens" and codes.is_dir() else None


def _test_item(
    item: TaskItem,
    manifest: TaskManifest,
    truth: Answer,
    answers: dict[str, Answer],
    nearest: dict[str, str],
) -> TestItem:
    videos, clip = Path(manifest.videos), item.clip
    clips = {view: ClipFile(str(videos / path), clip.start, clip.stop) for view, path in clip.videos.items()}
    synthetic = manifest.synthetic
    about = (item.references, item.person)
    return TestItem(item.item_id, item.cluster, item.category, truth, answers, clips, nearest, synthetic, *about)


def _answers(form: TaskFormat, record: dict[str, Any]) -> dict[str, Answer]:
    """The coach's answer, and the same with the expected score where it gave one."""
    answer = read_answer(form, record)
    return {OURS: answer} | (
        {} if record["expected"] is None else {EXPECTED: replace(answer, score=record["expected"])}
    )


def _truth(item: TaskItem, form: TaskFormat) -> Answer:
    """An item's truth; what it does not say in fields is read from its text, as answers are."""
    fields = {name: value for name, value in asdict(item.truth).items() if value is not None}
    return replace(form.parse(item.truth.text), unread=None, **fields)


def _taught(item: TaskItem, form: TaskFormat) -> Answer:
    """What is taught of a training item, read as every answer is: baselines answer with it."""
    conversation = form.conversation(item, 0)
    answer = form.parse(conversation.messages[conversation.supervised[-1]]["content"][0]["text"])
    return answer if answer.text.strip() else replace(answer, text=item.truth.text)
