"""Reads an Ego-Exo4D download into records, tolerant of its known irregularities and counting them."""

from pathlib import Path

from mm_data.ground.funnel import Funnel
from mm_data.ground.synthetic import is_marked_synthetic
from mm_data.records import Source
from mm_data.release.egoexo4d.commentary import read_remarks, read_sessions, standardized_ratings
from mm_data.release.egoexo4d.poses import pose_file
from mm_data.release.egoexo4d.proficiency import read_demonstrations, read_skills
from mm_data.release.egoexo4d.takes import read_best_exo, read_splits, read_take_entries, read_takes


def read_release(root: Path, max_drop_rate: float = 0.5) -> Source:
    """Reads takes with skill and views, every usable remark, and where the poses are.

    Args:
        root: Folder that holds ``takes.json`` and ``annotations/``.
        max_drop_rate: Largest share of takes, and of remarks, that may be unusable.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: A file is malformed, or too much had to be dropped.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"Data set folder {root} does not exist. Make one with `mm-coach miniature {root} --takes 40`."
        )
    take_funnel = Funnel("read takes", max_drop_rate)
    skills = read_skills(root, take_funnel)
    splits = read_splits(root)
    entries = read_take_entries(root)
    takes = read_takes(root, entries, splits, skills, read_best_exo(root), take_funnel)
    for uid in sorted(skills.keys() - {str(entry.get("take_uid")) for entry in entries}):
        take_funnel.note("proficiency for a take that is not in takes.json", uid)
    take_funnel.check()

    remark_funnel = Funnel("read remarks", max_drop_rate)
    sessions = list(read_sessions(root, remark_funnel))
    uids = {str(entry.get("take_name")): str(entry.get("take_uid")) for entry in entries}
    remarks = read_remarks(root, takes, uids, sessions, remark_funnel)
    demonstrations = read_demonstrations(root, remark_funnel)
    remark_funnel.check()
    files = {uid: pose_file(root, take) for uid, take in takes.items()}
    return Source(
        root=root,
        takes=takes,
        remarks=remarks,
        funnels=[take_funnel, remark_funnel],
        pose_files={uid: path for uid, path in files.items() if path is not None},
        demonstrations=demonstrations,
        ratings=standardized_ratings(sessions, takes),
        synthetic=is_marked_synthetic(root),
    )
