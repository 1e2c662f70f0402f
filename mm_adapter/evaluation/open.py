"""Opens a system by what the user names: a coach's folder, a matcher's, a file of answers, or nearest neighbours by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mm_adapter.checkpoint.coach import SavedCoach, coach_folder
from mm_adapter.checkpoint.seal import identity
from mm_adapter.distributed import device_and_dtype
from mm_adapter.evaluation.answer_file import AnswerFile
from mm_adapter.evaluation.coach_system import CoachSystem, PairedAnswerer
from mm_adapter.evaluation.item_set import POSE_FRAMES, ItemSet, open_inputs
from mm_adapter.evaluation.matcher import CONFIG as MATCHER_CONFIG
from mm_adapter.evaluation.neighbours import Kind, MatcherSystem, NearestNeighbours
from mm_adapter.evaluation.system import System
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_adapter.model.config import read_config
from mm_adapter.samples.clip_stores import ClipPoses
from mm_adapter.tasks.known import trained_tasks
from mm_data.features import FeatureStore
from mm_tokenizers.codes import PoseCodeStore

NEAREST = {f"nearest-neighbour:{kind}": kind for kind in get_args(Kind)}
"""Names that stand for nearest neighbours."""


@dataclass(frozen=True)
class ItemRequest:
    """Which part of a folder of items a system is asked about, and what it sees of it.

    Attributes:
        folder: The folder.
        features: Feature store; None for the one inside the folder, if there is one.
        codes: Pose codes; None for those inside the folder, if there are some.
        limit: Number of test items, evenly spaced; None takes all.
    """

    folder: Path
    features: Path | None = None
    codes: Path | None = None
    limit: int | None = None

    def open(self) -> ItemSet:
        """Reads the items."""
        features, codes = self.features or self.folder / "features", self.codes or self.folder / "pose_codes"
        store = FeatureStore(features) if self.features or features.is_dir() else None
        frames = PoseCodeStore.load(codes).frames if self.codes or codes.is_dir() else POSE_FRAMES
        return ItemSet.open(self.folder, store, self.limit, frames)


def open_system(name: str, request: ItemRequest, switches: Mapping[str, Any], base_model: str | None = None) -> System:
    """Opens a system that needs neither an engine nor an endpoint.

    Args:
        name: A name of `NEAREST`, a file of answers, the folder of a matcher, or that of a coach (or its name on the Hub).
        request: Items that it is asked about.
        switches: Switches of the task.
        base_model: Where its language model is, if not where training had it.

    Returns:
        The system.
    """
    if name in NEAREST:
        return NearestNeighbours(NEAREST[name], dict(switches))
    if Path(name).is_file():
        return AnswerFile(Path(name), switches)
    if (Path(name) / MATCHER_CONFIG).is_file():
        return MatcherSystem(Path(name), base_model, dict(switches))
    return open_coach(Path(name), request, switches, base_model)


def open_coach(
    name: Path,
    request: ItemRequest,
    switches: Mapping[str, Any],
    base_model: str | None = None,
    demonstrator: Path | None = None,
    sampling: Sampling = GREEDY,
) -> CoachSystem:
    """Opens a coach in transformers.

    Args:
        name: Folder of the coach, or its name on the Hub.
        request: Items that it is asked about.
        switches: Switches of the task.
        base_model: Where its language model is, if not where training had it; also the demonstrator's, if they share it.
        demonstrator: Another coach that chooses and shows after the first one's remarks.
        sampling: How tokens are drawn.

    Returns:
        The coach.

    Raises:
        ValueError: A coach and the items do not fit each other, or the demonstrator never learned to demonstrate.
    """
    place = coach_folder(name)
    saved, coach, poses = _opened(place, request, base_model)
    hashed, records, answerer = identity(place), [saved.run_config], coach
    if demonstrator is not None:
        folder = coach_folder(demonstrator)
        shared = read_config(folder).base_model_fingerprint == saved.model.config.base_model_fingerprint
        second, shows, poses = _opened(folder, request, base_model if shared else None)
        if not second.can_demonstrate:
            raise ValueError(f"{demonstrator} was not trained to demonstrate.")
        hashed, records = f"{hashed} and {identity(folder)}", [saved.run_config, second.run_config]
        answerer = PairedAnswerer(coach, shows)
    tasks = {name: made for record in records for name, made in trained_tasks(record).items()}
    return CoachSystem(answerer, hashed, "transformers", poses, records, tasks, switches, sampling)


def _opened(folder: Path, request: ItemRequest, base_model: str | None) -> tuple[SavedCoach, Coach, ClipPoses | None]:
    saved = SavedCoach.from_pretrained(folder, *device_and_dtype(), base_model=base_model)
    store, poses = open_inputs(saved.model.config, request.folder, request.features, request.codes)
    coach = Coach(saved.model, saved.processor, poses, store, saved.pose_tokenizer)
    coach.can_demonstrate = saved.can_demonstrate
    return saved, coach, poses
