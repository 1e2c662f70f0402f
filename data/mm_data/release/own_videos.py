"""Reads a folder of one's own videos: mp4s, a table of takes, a table of remarks, and optional poses.

::

    FOLDER/takes.csv      video, participant, task, skill [, activity, split, ego_video]
    FOLDER/remarks.csv    video, time, text [, commentator]
    FOLDER/videos/*.mp4   named in the ``video`` column (and ``ego_video``, where there is one)
    FOLDER/poses/*.npy    optional: <video without .mp4, / as __>.npy (or .npz), [T, 17, 3] or [T, 17, 4], metres, z up, 30 fps

Both tables may be JSON lines (``takes.jsonl``, ``remarks.jsonl``) with the same names instead.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mm_data.ground.digests import uniform
from mm_data.ground.funnel import Funnel
from mm_data.ground.hand_tables import number, read_table, video_path
from mm_data.ground.safe_load import load_archive, load_array
from mm_data.poses.joint_maps import FORMATS, array_to_coco
from mm_data.records import EXPERT_SKILLS, LEARNER_SKILLS, Remark, Source, Take
from mm_data.videos.frames import VideoError, read_duration

POSE_ENDINGS = (".npz", ".npy")
"""What poses of one's own may end in; the last one that is there is read."""
_TEST_SHARE = 0.2
_SPLITS = {"train": "train", "test": "val", "val": "val"}


def is_own_data(root: Path) -> bool:
    """Says whether a folder holds a table of takes or of remarks in this format; a release has neither."""
    return any((root / f"{name}{ending}").is_file() for name in ("takes", "remarks") for ending in (".csv", ".jsonl"))


def read_own_data(root: Path, max_drop_rate: float = 0.5) -> Source:
    """Reads takes, remarks and poses of one's own.

    A take without ``split`` goes to test for one participant in five, decided by the participant's name alone.

    Args:
        root: Folder of the tables and videos.
        max_drop_rate: Largest share of takes, and of remarks, that may be unusable.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: A table is missing.
        ValueError: A row is malformed (names file and line), a path leaves the folder, or too much had to be dropped.
    """
    take_funnel = Funnel("read takes", max_drop_rate)
    takes: dict[str, Take] = {}
    pose_files: dict[str, Path] = {}
    for where, row in _rows(root, "takes", ("video", "participant", "task", "skill")):
        take = _read_take(root, row, where, take_funnel)
        if take is None:
            continue
        if take.take_uid in takes:
            raise ValueError(f"{where}: video {row['video']!r} is listed twice; every video is one take.")
        takes[take.take_uid] = take
        take_funnel.keep()
        for ending in POSE_ENDINGS:
            if (poses := root / "poses" / f"{take.take_uid}{ending}").is_file():
                pose_files[take.take_uid] = poses
    take_funnel.check()

    remark_funnel = Funnel("read remarks", max_drop_rate)
    remarks = []
    for index, (where, row) in enumerate(_rows(root, "remarks", ("video", "time", "text"))):
        uid = _uid(_video(root, row["video"], where))
        commentator = str(row.get("commentator") or "me")
        remark_id = f"{uid}/{commentator}/{index}"
        text = " ".join(str(row.get("text") or "").split())
        time = number(row["time"], where, "time")
        if uid not in takes:
            remark_funnel.drop("take is not usable", f"{where}: {row['video']}")
        elif not text:
            remark_funnel.drop("no text", where)
        elif not 0.0 <= time <= takes[uid].duration + 1.0:
            remark_funnel.drop("time outside the take", f"{where}: {time} s of {takes[uid].duration:.1f} s")
        else:
            remarks.append(Remark(remark_id, uid, commentator, time, text))
            remark_funnel.keep()
    remark_funnel.check()
    return Source(root, takes, remarks, [take_funnel, remark_funnel], pose_files)


def load_own_poses(path: Path) -> np.ndarray:
    """Reads ``[T, 17, 3]`` or ``[T, 17, 4]`` as ``[T, 17, 4]`` with NaN and flag 0 where a joint is absent.

    What the coordinates say about a person is for `mm_data.release.read.load_pose_file` to check.

    Args:
        path: An ``.npy`` file, or an ``.npz`` file with one array.

    Returns:
        The poses.

    Raises:
        ValueError: Another shape or type, several arrays, or a visible joint that is not finite.
    """
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    values = _only_array(path) if is_archive else load_array(path)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: holds values of type {values.dtype}; poses are real numbers.")
    return array_to_coco(values.astype(np.float64), FORMATS["coco17"], str(path))


def _only_array(path: Path) -> np.ndarray:
    arrays = load_archive(path)
    if len(arrays) != 1:
        raise ValueError(
            f"{path}: holds {len(arrays)} arrays ({', '.join(arrays) or 'none'}); "
            "an .npz of poses holds one array [T, 17, 3 or 4]."
        )
    return next(iter(arrays.values()))


def _rows(root: Path, name: str, required: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """(file and line, row) of ``<name>.csv`` or ``<name>.jsonl``."""
    path = next((p for p in (root / f"{name}.csv", root / f"{name}.jsonl") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{root / name}.csv is missing (or {name}.jsonl): docs/data.md shows the format.")
    rows = read_table(path, required)
    for where, row in rows:
        missing = [column for column in required if row.get(column) in (None, "")]
        if missing and (missing != ["text"]):
            raise ValueError(f"{where}: {', '.join(missing)} missing; required are {', '.join(required)}.")
    return rows


def _read_take(root: Path, row: dict[str, Any], where: str, funnel: Funnel) -> Take | None:
    video = _video(root, row["video"], where)
    ego = _video(root, row["ego_video"], where) if row.get("ego_video") else None
    if row["skill"] not in LEARNER_SKILLS + EXPERT_SKILLS:
        raise ValueError(
            f"{where}: skill {row['skill']!r}; "
            f"choose from {', '.join(LEARNER_SKILLS)} (learners), {', '.join(EXPERT_SKILLS)} (experts)."
        )
    if row.get("split") and row["split"] not in _SPLITS:
        raise ValueError(f"{where}: split {row['split']!r}; choose from train and test, or leave it empty.")
    try:
        duration = read_duration(root / "videos" / video)
    except (FileNotFoundError, VideoError) as error:
        reason = "video missing" if isinstance(error, FileNotFoundError) else "video unreadable"
        return funnel.drop(reason, f"{where}: {root / 'videos' / video}")
    if ego is None:
        funnel.note("no ego video: the exo video stands in both views", where)
    participant = str(row["participant"])
    side = row.get("split") or ("test" if uniform(participant) < _TEST_SHARE else "train")
    return Take(
        take_uid=_uid(video),
        take_name=_uid(video),
        participant=participant,
        activity=str(row.get("activity") or row["task"]),
        task=str(row["task"]),
        skill=str(row["skill"]),
        split=_SPLITS[side],
        duration=duration,
        ego_video=f"videos/{ego or video}",
        exo_video=f"videos/{video}",
    )


def _video(root: Path, cell: Any, where: str) -> str:
    """Path below ``videos/``."""
    return video_path(str(cell), where, f"{root / 'videos'}: put the video there, or a link to it")


def _uid(video: str) -> str:
    """The same without its ending, as one name."""
    return "__".join(PurePosixPath(video).with_suffix("").parts)
