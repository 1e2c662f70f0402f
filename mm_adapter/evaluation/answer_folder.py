"""A system's answers to a folder of items, with what baselines, tables, judges and pages need: a run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import check_same_run, read_run_record, run_record, write_run_record
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.neighbours import nearest_items
from mm_adapter.evaluation.system import System
from mm_data.features import pooled_features
from mm_data.ground.digests import hash_of
from mm_data.ground.progress import Progress
from mm_data.records import VideoClip
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_eval.answers.clips import AnsweredClip, write_clips
from mm_eval.answers.test_sets import TRAINING, About, ClipFile, TestItem, write_answers

_SETTINGS = ("system", "task", "options", "items", "features")


@dataclass(frozen=True)
class AnswerFolder:
    """What was written: answers to the items of a task, and what they are answers to."""

    about: About
    answers: list[TestItem]


def answer_folder(system: System, items: ItemSet, out: Path, progress: Progress) -> AnswerFolder | None:
    """Asks a system about the test items, resuming, and writes ``answers.jsonl``, ``training.jsonl``, ``clips.parquet`` and ``about.json``.

    Args:
        system: The system.
        items: The items.
        out: Folder of the answers.
        progress: Is called with (what, done, total).

    Returns:
        What was written; None while other processes still have items.

    Raises:
        ValueError: ``out`` was begun with something else; says what differs.
    """
    form, options = system.form(items)
    record = run_record(
        system=system.made_of(),
        task={"name": items.task.name},
        options=asdict(options),
        items={**items.content, "frames": items.frames},
        features={"features": hash_of(asdict(items.store.manifest)) if items.store else None},
    )
    check_same_run(out, record, _SETTINGS)
    if not read_run_record(out):  # a finished run keeps the commit and the versions that made it
        write_run_record(out, record)
    answers = system.answer(items, form, out, progress)
    if answers is None:
        return None
    nearest, lacking = nearest_items(items.test, items.training, items.joints, items.store)
    notes = [*system.notes(items), *lacking]
    if items.left_out:
        notes.append(f"{items.left_out} test items left out: feature extraction rejected their clips")
    look_up = items.task.hidden_truth
    hidden = {} if look_up is None else look_up(Path(items.manifest.source), items.test)
    training = [_test_item(items, item, form.taught(item), {}, {}, {}) for item in items.training]
    test = [
        _test_item(
            items, item, _truth(item, form), answers[item.item_id], nearest[item.item_id], hidden.get(item.item_id, {})
        )
        for item in items.test
    ]
    encoder = items.store.manifest.encoder if items.store else "none: poses alone"
    about = About(items.manifest.found_by, list(system.inputs(items, form)), notes, {"video encoder": encoder})
    write_answers(out, training, TRAINING)
    write_clips(out, _clips(system, items))
    about.write(out)
    write_answers(out, test)
    return AnswerFolder(about, test)


def _test_item(
    items: ItemSet,
    item: TaskItem,
    truth: Answer,
    answers: Mapping[str, Answer],
    nearest: dict[str, str],
    hidden: dict[str, Any],
) -> TestItem:
    return TestItem(
        item_id=item.item_id,
        cluster=item.cluster,
        category=item.category,
        truth=truth,
        answers=dict(answers),
        clips=_files(items, item.clip),
        nearest=nearest,
        synthetic=items.manifest.synthetic,
        references=item.references,
        person=item.person,
        clip_id=item.clip.clip_id,
        expert_id=None if item.expert is None else item.expert.clip_id,
        hidden=hidden,
    )


def _files(items: ItemSet, clip: VideoClip) -> dict[str, ClipFile]:
    videos = Path(items.manifest.videos)
    return {view: ClipFile(str(videos / path), clip.start, clip.stop) for view, path in clip.videos.items()}


def _truth(item: TaskItem, form: TaskFormat) -> Answer:
    """An item's truth; what it does not say in fields is read as what is taught of it, as answers are read."""
    fields = {name: value for name, value in asdict(item.truth).items() if value is not None}
    return replace(form.truth(item), unread=None, **fields)


def _clips(system: System, items: ItemSet) -> dict[str, AnsweredClip]:
    """The clips that answers are about; where there are experts, theirs, the gallery, and those of the training items too."""
    clips = {clip.clip_id: clip for item in items.test for clip in item.clips}
    clips |= {clip.clip_id: clip for clip, _ in items.gallery}
    clips |= {item.expert.clip_id: item.expert for item in items.training if item.expert is not None}
    compared = bool(items.gallery)
    right = {item.expert.clip_id for item in items.test if item.expert is not None}
    answered = {}
    for name, clip in clips.items():
        known = not items.joints.missing([name])
        answered[name] = AnsweredClip(
            videos=_files(items, clip),
            poses=items.joints[name] if known else None,
            decoded=system.round_trip(name) if name in right else None,
            vector=pooled_features(items.store, name) if compared and items.store is not None else None,
        )
    return answered
