"""`mm-coach answer`: a system's answers to a task's test items."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mm_adapter.cli.flags import EngineFlags, ItemSetFlags, SamplingFlags, Switches

if TYPE_CHECKING:
    from mm_adapter.evaluation.item_set import ItemSet
    from mm_adapter.evaluation.task_systems import TaskSystem
    from mm_adapter.inference.sampling import Sampling

_WHOLE, _GREEDY = ItemSetFlags(), SamplingFlags()


def answer(
    system: Path,
    items: Path,
    out: Path,
    *,
    item_set: ItemSetFlags = _WHOLE,
    base_model: str | None = None,
    switches: Switches | None = None,
    vllm: EngineFlags = "",
    sampling: SamplingFlags = _GREEDY,
) -> None:
    """Write a system's answers to a task's test items, for `eval`, `judge` and `human`; resumes.

    Args:
        system: A coach (a run's coach/ or checkpoint-N folder, or a name on the Hub), an export, which vLLM runs, or a file of answers
            made elsewhere (.jsonl or .csv with item_id, text, score, ...).
        items: Folder of items.
        out: Folder for answers.jsonl and training.jsonl.
        item_set: Which items are asked about, and what is seen of them.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.
        switches: Switches of the task.
        vllm: Flags for vLLM: --vllm='--max-model-len 4096 --tensor-parallel-size 2'.
        sampling: How tokens are drawn.
    """
    from mm_adapter.checkpoint.seal import EXPORT_RECORD
    from mm_adapter.cli.console import stage_progress
    from mm_adapter.distributed import launched_processes
    from mm_adapter.evaluation.answer_folder import answer_folder
    from mm_data.ground.files import check_apart
    from mm_eval.answers.test_sets import OURS

    check_apart(out, system, items, item_set.features, item_set.codes)
    is_export, chosen, draws = (system / EXPORT_RECORD).is_file(), switches or {}, sampling.sampling()
    if vllm and not is_export:
        raise ValueError(f"--vllm runs exports, and {system} is none; `mm-coach export` makes one of a coach.")
    if base_model is not None and is_export:
        raise ValueError(f"{system} is an export, which holds its language model; leave --base-model out.")
    if system.is_file() and sampling != _GREEDY:
        raise ValueError(f"{system} is a file of answers; nothing is drawn, so leave --temperature and the like out.")
    if system.is_file():
        opened = _answer_file(system, items, item_set, chosen)
    elif is_export:
        opened = _export(system, items, item_set, chosen, vllm, draws)
    else:
        opened = _coach(system, items, item_set, chosen, base_model, draws)
    state = launched_processes()
    with opened as (asked, test), stage_progress(quiet=not state.is_main_process) as progress:
        written = answer_folder(asked, test, out, progress)
    if written is None:
        return print(f"process {state.process_index} is done; others still have items")
    for note in written.notes:
        print(note)
    unread = sum(bool(item.answers[OURS].unread) for item in written.answers)
    inputs = "; ".join(written.inputs)
    print(f"{out}: {len(written.answers)} answers, {unread} of them not wholly readable; {inputs}")
    print(f"mm-coach eval {out} --suite {written.task}")


@contextmanager
def _answer_file(
    path: Path, folder: Path, flags: ItemSetFlags, switches: dict[str, str]
) -> Iterator[tuple[TaskSystem, ItemSet]]:
    """Opens answers that were made elsewhere, and the items that they answer."""
    from mm_adapter.evaluation.item_set import ItemSet
    from mm_adapter.evaluation.task_systems import AnswerFile
    from mm_data.features import FeatureStore

    features = flags.features or folder / "features"
    store = FeatureStore(features) if features.is_dir() else None  # baselines alone look at them
    yield AnswerFile(path, switches), ItemSet.open(folder, store, flags.max_items)


@contextmanager
def _export(
    name: Path, folder: Path, flags: ItemSetFlags, switches: dict[str, str], vllm: str, sampling: Sampling
) -> Iterator[tuple[TaskSystem, ItemSet]]:
    """Starts vLLM with an export, and opens the items that it is asked about."""
    from mm_adapter.checkpoint.seal import EXPORT_RECORD, identity
    from mm_adapter.evaluation.item_set import ItemSet, open_inputs
    from mm_adapter.evaluation.task_systems import CoachSystem
    from mm_adapter.model.config import read_config
    from mm_adapter.serving.vllm.offline import VllmCoach
    from mm_data.ground.safe_load import read_json

    store, poses = open_inputs(read_config(name), folder, flags.features, flags.codes)
    test = ItemSet.open(folder, store, flags.max_items)
    tasks = read_json(name / EXPORT_RECORD, "export the coach again.")["source"].get("tasks", {})
    with VllmCoach(name, poses, store, shlex.split(vllm)) as coach:
        yield CoachSystem(coach, identity(name), "vllm", poses, None, tasks, switches, sampling), test


@contextmanager
def _coach(
    name: Path, folder: Path, flags: ItemSetFlags, switches: dict[str, str], base_model: str | None, sampling: Sampling
) -> Iterator[tuple[TaskSystem, ItemSet]]:
    """Opens a coach and the items that it is asked about."""
    from mm_adapter.checkpoint.coach import SavedCoach, coach_folder
    from mm_adapter.checkpoint.seal import identity
    from mm_adapter.distributed import device_and_dtype
    from mm_adapter.evaluation.item_set import ItemSet, open_inputs
    from mm_adapter.evaluation.task_systems import CoachSystem
    from mm_adapter.inference.coach import Coach

    place = coach_folder(name)
    saved = SavedCoach.from_pretrained(place, *device_and_dtype(), base_model=base_model)
    store, poses = open_inputs(saved.model.config, folder, flags.features, flags.codes)
    coach = Coach(saved.model, saved.processor, poses, store)
    record, tasks = saved.run_config, saved.run_config.get("tasks", {})
    system = CoachSystem(coach, identity(place), "transformers", poses, record, tasks, switches, sampling)
    yield system, ItemSet.open(folder, store, flags.max_items)
