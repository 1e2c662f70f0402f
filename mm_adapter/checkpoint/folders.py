"""Which folders of an output folder this run wrote. What others wrote is neither resumed, overwritten nor removed."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import check_same_run, write_run_record

UNFINISHED = "unfinished.json"
"""Lies in a checkpoint from before its first file until its last, and says who is writing it."""

_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")


def checkpoint_folders(run: Path) -> list[Path]:
    """Finds real folders named ``checkpoint-N``, whoever wrote them, by step. Links, files and other names are passed over."""
    named = [(int(match[1]), path) for path in run.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(named) if path.is_dir() and not path.is_symlink()]


def own_checkpoints(run: Path, identity: str | None) -> list[Path]:
    """Finds the folders of `checkpoint_folders` that the run with this identity wrote, finished or not."""
    return [folder for folder in checkpoint_folders(run) if _written_by(folder, identity)]


def unfinished(folder: Path) -> bool:
    """Tells whether a crash cut a checkpoint short."""
    return (folder / UNFINISHED).is_file()


def begin_checkpoint(folder: Path, record: dict[str, Any]) -> None:
    """Marks a folder as this run's before anything else is written into it.

    Args:
        folder: Folder of the checkpoint.
        record: The run's record, with its ``identity``.

    Raises:
        FileExistsError: Somebody else's folder, file or link has its name.
    """
    free = not folder.exists() or (
        folder.is_dir() and (_is_empty(folder) or _written_by(folder, record.get("identity")))
    )
    if folder.is_symlink() or not free:
        raise FileExistsError(f"{folder} is there already and was not written by this run; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).write_text(json.dumps({"identity": record.get("identity")}))
    write_run_record(folder, record)


def end_checkpoint(folder: Path) -> None:
    """Takes the mark of `begin_checkpoint` away."""
    (folder / UNFINISHED).unlink()


def remove_older(run: Path, identity: str | None, keep: int | None, best: str | None) -> None:
    """Removes this run's older checkpoints until ``keep`` are left; the last one and the best one always stay.

    Args:
        run: The run's folder.
        identity: Identity of the run (`run_record`).
        keep: How many checkpoints stay; None or 0 for all.
        best: Path of the best one so far.
    """
    folders = own_checkpoints(run, identity)
    if not keep or keep < 0 or len(folders) <= keep:
        return
    stay = {folders[-1].name} | ({Path(best).name} if best else set())
    old = [folder for folder in folders if folder.name not in stay]
    for folder in old[: len(folders) - max(keep, len(stay))]:
        shutil.rmtree(folder, ignore_errors=True)


def check_output_folder(run: Path, record: dict[str, Any], parts: Sequence[str], result: str) -> None:
    """Makes sure that a run may write into a folder: it is new, or this run began it.

    A folder with no checkpoint and no result yet may be begun again with other settings.

    Args:
        run: The output folder.
        record: From `run_record`, with its ``identity``.
        parts: Parts of the record that have to be equal.
        result: Name of the folder that the run leaves in the end.

    Raises:
        ValueError: Another run's record, checkpoints or result are there; names them.
    """
    begun = _record_of(run / "run_config.json") if (run / "run_config.json").is_file() else {}
    if begun is None:
        raise ValueError(f"{run / 'run_config.json'} is no run's record. Give another --output_dir.")
    if begun and not set(parts) <= begun.keys():
        raise ValueError(
            f"{run} belongs to something else: its run_config.json has no {' and no '.join(sorted(set(parts) - begun.keys()))}. "
            "Give another --output_dir."
        )
    named = [path for path in sorted(run.glob("checkpoint-*")) if _NAME.fullmatch(path.name) and path.is_dir()]
    checkpoints = [folder for folder in named if not _is_empty(folder)]
    results = [path for path in (run / result, run / "trainer_state.json") if path.exists() and not _is_empty(path)]
    if checkpoints or results:
        check_same_run(run, record, parts)
    identity = record["identity"]
    foreign = [folder for folder in checkpoints if not _written_by(folder, identity)]
    if not begun:
        foreign += [path for path in results if not _written_by(path, identity)]
    if foreign:
        names = ", ".join(path.name for path in foreign[:4]) + (" and others" if len(foreign) > 4 else "")
        raise ValueError(
            f"{run} holds {names}, which this run did not write and which would get in its way. Give another --output_dir, or move them away."
        )


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _written_by(folder: Path, identity: str | None) -> bool:
    """Whether a folder's mark or record names this identity; without either it is somebody else's."""
    for name in (UNFINISHED, "run_config.json"):
        if (record := _record_of(folder / name)) is not None:
            return record.get("identity") == identity
    return False


def _record_of(path: Path) -> dict[str, Any] | None:
    """What a JSON file records, or None where it is missing or holds anything else."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
