"""Why a tuple is what it is: both remarks, the window search and the experts that came after."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_data.items.manifest import ItemManifest
from mm_data.poses.archive import PoseArchive
from mm_data.poses.window_search import error_curve, prepare_track
from mm_data.records import FPS, CoachingTuple
from mm_data.tuples.mining import search_starts
from mm_data.tuples.pairing import PairingOptions
from mm_data.tuples.store import find_tuple


@dataclass(frozen=True)
class Explanation:
    """A tuple and the curve that its expert window is the minimum of.

    Attributes:
        item: The tuple.
        starts: First frames of the windows that were searched, ``[W]``.
        curve: Their errors in millimetres, ``[W]``; infinite where poses are lacking.
        options: How it was mined.
    """

    item: CoachingTuple
    starts: np.ndarray
    curve: np.ndarray
    options: PairingOptions


def explain_tuple(folder: Path, tuple_id: str) -> Explanation:
    """Computes the error curve of a tuple again from the folder's poses.

    Args:
        folder: Tuple folder.
        tuple_id: Id of the tuple.

    Returns:
        The tuple with its curve.

    Raises:
        FileNotFoundError: The folder was not built.
        ValueError: There is no such tuple.
    """
    options = PairingOptions(**ItemManifest.read(folder).request["pairing"])
    item, poses = find_tuple(folder, tuple_id), PoseArchive(folder)
    learner, expert = poses[item.learner.take_uid], poses[item.expert.take_uid]
    length = item.learner.stop - item.learner.start
    comment = round(item.provenance.expert_comment_time * FPS)
    coarse = search_starts([comment], length, len(expert), options)
    # The search's coarse windows, and the finer ones around the result.
    fine = item.expert.start + np.arange(1 - options.stride, options.stride)
    starts = np.union1d(coarse, fine[(fine >= 0) & (fine <= len(expert) - length)])
    clip = prepare_track(learner[item.learner.start : item.learner.stop])
    return Explanation(item, starts, error_curve(clip, prepare_track(expert), starts, options.stride), options)
