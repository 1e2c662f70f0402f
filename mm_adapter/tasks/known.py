"""The tasks by name, and tasks of one's own by ``module:NAME``."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

from mm_adapter.tasks.cot_afa import COT_AFA
from mm_adapter.tasks.desccoach import DESCCOACH
from mm_adapter.tasks.expertaf import EXPERTAF
from mm_adapter.tasks.nae import NAE
from mm_adapter.tasks.table import TABLE
from mm_adapter.tasks.task import Task
from mm_data.ground.own_modules import import_own
from mm_data.tasks import TaskFormat
from mm_eval.answers.test_sets import FILE as ANSWERS
from mm_eval.answers.test_sets import About
from mm_eval.suites.suite import Suite

TASKS = {task.name: task for task in (EXPERTAF, NAE, COT_AFA, DESCCOACH, TABLE)}


def find_task(name: str) -> Task:
    """Finds a task by its name, or by ``module:NAME`` where it lies in a module of one's own.

    Args:
        name: The name.

    Returns:
        The task.

    Raises:
        ValueError: There is none.
    """
    if name in TASKS:
        return TASKS[name]
    if ":" not in name:
        raise ValueError(f"Unknown task {name!r}; choose from {', '.join(TASKS)}, or give module:NAME.")
    task = import_own(name, "Task")
    if not isinstance(task, Task):
        raise ValueError(f"{name} is a {type(task).__name__}, not a Task.")
    return task


def suite_of(runs: Sequence[Path], task: str | None = None) -> Suite:
    """Finds the suite that scores some runs: that of the task that they say they answer.

    Args:
        runs: Folders of the runs.
        task: Task whose suite is wanted, where no run says one.

    Returns:
        The suite.

    Raises:
        FileNotFoundError: A run has no answers.
        ValueError: The runs answer several tasks, another one than is wanted, or none says which.
    """
    for folder in runs:
        if not (folder / ANSWERS).is_file():
            raise FileNotFoundError(f"{folder / ANSWERS} is not there; `mm-coach answer` writes it.")
    said = {name for name in (About.read(folder).task for folder in runs) if name} | ({task} if task else set())
    if not said:
        raise ValueError(
            f"{runs[0]} does not say which task it answers; give --task ({', '.join(TASKS)} or module:NAME)."
        )
    if len(said) > 1:
        raise ValueError(f"The runs are of several tasks: {', '.join(sorted(said))}; one table has one task.")
    return find_task(said.pop()).suite


class TaskKnowledge(TypedDict):
    """What finds a task, and what all its items share, as a coach's record keeps it."""

    found_by: str
    knowledge: dict[str, Any]


def trained_tasks(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the tasks that a coach was trained on, with their switches; ExpertAF's functions count as a task.

    Args:
        record: Record of its run, or what its export says about that.

    Returns:
        Task to switches.
    """
    formats = record.get("formats", record.get("coach", {}).get("formats"))
    return {**({EXPERTAF.name: {}} if formats else {}), **record.get("tasks", {})}


def offered_tasks(record: Mapping[str, Any]) -> dict[str, tuple[Task, TaskFormat]]:
    """Returns the tasks that a coach may be asked about a clip of one's own, beside conversation and demonstration.

    Args:
        record: Record of its run, or what its export says about that; a coach of an earlier version kept no knowledge.

    Returns:
        Name to the task and how it is asked. A task in a module that is not here is left out.
    """
    offered = {}
    for name, kept in record.get("knowledge", {}).items():
        try:
            task = find_task(kept["found_by"])
        except ValueError:
            continue
        offered[name] = task, task.format(kept["knowledge"], task_options(task, record["tasks"][name]))
    return offered


def task_options(task: Task, settings: dict[str, Any]) -> Any:
    """Makes a task's switches from names and values, which may be texts.

    Args:
        task: The task.
        settings: Switch to value.

    Returns:
        The switches.

    Raises:
        ValueError: Unknown switch, or a value that it does not take.
    """
    known = {field.name: field for field in fields(task.options)}
    if unknown := sorted(settings.keys() - known.keys()):
        raise ValueError(f"{task.name} has no switch {unknown[0]!r}; it has {', '.join(known) or 'none'}.")
    return task.options(**{name: _value(value, known[name].default, name) for name, value in settings.items()})


def _value(value: Any, default: Any, name: str) -> Any:
    if not isinstance(value, str) or isinstance(default, str):
        return value
    if isinstance(default, bool):
        if value.lower() not in ("true", "false"):
            raise ValueError(f"{name} is {value!r}; give true or false.")
        return value.lower() == "true"
    try:
        return type(default)(value)
    except ValueError as error:
        raise ValueError(f"{name} is {value!r}; give a number.") from error
