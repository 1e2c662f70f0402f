"""A system's answers to a folder of items, with what baselines need, as `mm-coach eval`, `judge` and `human` read them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mm_adapter.checkpoint.run_record import check_same_run, run_record, write_run_record
from mm_adapter.evaluation.item_set import ItemSet
from mm_adapter.evaluation.neighbours import nearest_items
from mm_adapter.evaluation.predictions import Progress
from mm_adapter.evaluation.task_systems import TaskSystem
from mm_data.ground.digests import hash_of
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.tasks.manifest import TaskManifest
from mm_eval.answers.test_sets import TRAINING, ClipFile, TestItem, write_about, write_answers

_SETTINGS = ("system", "task", "options", "items", "features")


@dataclass(frozen=True)
class AnswerFolder:
    """What was written: answers to the items of a task, notes for their reader, and what the system was told beside the clip."""

    task: str
    inputs: Sequence[str]
    notes: list[str]
    answers: list[TestItem]


def answer_folder(system: TaskSystem, items: ItemSet, out: Path, progress: Progress) -> AnswerFolder | None:
    """Asks a system about the test items, resuming, and writes ``answers.jsonl`` and ``training.jsonl``.

    Args:
        system: The system.
        items: The items.
        out: Folder of the answers.
        progress: Is called with ("answering", done, total).

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
        items=items.content,
        features={"features": hash_of(asdict(items.store.manifest)) if items.store else None},
    )
    check_same_run(out, record, _SETTINGS)
    write_run_record(out, record)
    answers = system.answer(items, form, out, progress)
    if answers is None:
        return None
    nearest, lacking = nearest_items(items.test, items.training, items.folder, items.store)
    notes = [*system.notes(items), *lacking]
    if items.left_out:
        notes.append(f"{items.left_out} test items left out: feature extraction rejected their clips")
    training = [_test_item(item, items.manifest, _taught(item, form), {}, {}) for item in items.training]
    test = [
        _test_item(item, items.manifest, _truth(item, form), answers[item.item_id], nearest[item.item_id])
        for item in items.test
    ]
    write_answers(out, training, TRAINING)
    write_about(out, form.inputs, notes)
    write_answers(out, test)
    return AnswerFolder(items.task.name, form.inputs, notes, test)


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


def _truth(item: TaskItem, form: TaskFormat) -> Answer:
    """An item's truth; what it does not say in fields is read from its text, as answers are."""
    fields = {name: value for name, value in asdict(item.truth).items() if value is not None}
    return replace(form.parse(item.truth.text), unread=None, **fields)


def _taught(item: TaskItem, form: TaskFormat) -> Answer:
    """What is taught of a training item, read as every answer is: baselines answer with it."""
    conversation = form.conversation(item, 0)
    answer = form.parse(conversation.messages[conversation.supervised[-1]]["content"][0]["text"])
    return answer if answer.text.strip() else replace(answer, text=item.truth.text)
