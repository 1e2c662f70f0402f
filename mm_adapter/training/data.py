"""Opens the samples that arguments name: coaching tuples, items of other tasks, and mixtures of both."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import read_run_record
from mm_adapter.model.config import VIEWS
from mm_adapter.samples.clip_stores import ClipPoses, NoPoses
from mm_adapter.samples.sources import SampleSource, TaskSource, hold_out, tuple_sources, without_rejected
from mm_adapter.tasks import Task
from mm_adapter.tasks.known import TaskKnowledge, find_task, task_options
from mm_adapter.training.arguments import CoachArguments, ExpertafArguments, MixPart, TaskArguments
from mm_adapter.training.build import open_poses
from mm_data.features import FeatureManifest, FeatureStore
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_items
from mm_data.records import CoachingTuple
from mm_data.tasks import TaskItem
from mm_data.tasks.overlap import Material, material_of_items
from mm_data.tuples.store import read_tuples
from mm_tokenizers import PoseTokenizer

MIXED_FORMAT = "dialogue"
"""Format of a mixture's tuples: remark and demonstration in one pass."""


@dataclass(frozen=True)
class TrainingData:
    """The samples that a run trains on and holds out.

    Attributes:
        train: Sources of training samples.
        validation: Sources of samples that are held out for evaluation while it trains.
        notes: Sentences about what was left out.
        formats: ExpertAF's functions among the samples.
        tasks: Other tasks among the samples, with their switches.
        knowledge: What finds each of these tasks, and what all its items share: what it takes to ask the coach about any clip.
    """

    train: list[SampleSource]
    validation: list[SampleSource]
    notes: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)
    knowledge: dict[str, TaskKnowledge] = field(default_factory=dict)

    def __add__(self, other: "TrainingData") -> "TrainingData":
        if twice := sorted(self.tasks.keys() & other.tasks.keys()):
            raise ValueError(f"The mixture holds {twice[0]} twice; name each task once.")
        return TrainingData(
            self.train + other.train,
            self.validation + other.validation,
            self.notes + other.notes,
            self.formats + other.formats,
            self.tasks | other.tasks,
            self.knowledge | other.knowledge,
        )

    def video(self) -> FeatureManifest | None:
        """Looks up the features that all sources share, or None without video: a coach has one video encoder.

        Returns:
            The manifest.

        Raises:
            ValueError: The sources' features were made otherwise, or only some have any.
        """
        if not self.train:
            raise ValueError("There is nothing to train on.")
        manifests = [source.features.manifest if source.features else None for source in self.train]
        first = manifests[0]
        for source, manifest in zip(self.train, manifests, strict=True):
            if _shape(manifest) != _shape(first):
                raise ValueError(
                    f"{source.name} has features of {_encoder_of(manifest)}, {self.train[0].name} of {_encoder_of(first)}. One coach has one video "
                    "encoder: extract the features of all parts of a mixture alike, or train apart."
                )
        return first

    def shown_views(self, names: Sequence[str] | None) -> list[str]:
        """Chooses the views that the coach sees, in its order.

        Args:
            names: Names of the views to show, or None for those of the features.

        Returns:
            The views.

        Raises:
            ValueError: There are no features, or they lack a view.
        """
        available = self.views()
        if names is None:
            return available
        if missing := [view for view in names if view not in available]:
            have = f"the features have {' and '.join(available)} alone" if available else "no features were given"
            raise ValueError(f"--views {' '.join(names)}: {have}, so {missing[0]} cannot be shown.")
        return [view for view in available if view in names]

    def views(self) -> list[str]:
        """Returns the views that any source's features have, in the coach's order."""
        views = {view for source in self.train if source.features for view in source.features.manifest.views}
        if unknown := sorted(views - set(VIEWS)):
            raise ValueError(f"Features have the views {unknown}; a coach knows {', '.join(VIEWS)}.")
        return [view for view in VIEWS if view in views]


def _shape(manifest: FeatureManifest | None) -> tuple[Any, ...] | None:
    return manifest and (manifest.made_by, manifest.num_tokens, manifest.width)


def _encoder_of(manifest: FeatureManifest | None) -> str:
    return f"{manifest.encoder} [{manifest.num_tokens}, {manifest.width}]" if manifest else "no encoder"


def expertaf_data(args: ExpertafArguments, seed: int, pose_tokenizer: PoseTokenizer) -> TrainingData:
    """Opens tuples in the formats of the arguments, and the mixture if there is one.

    Args:
        args: The recipe's arguments.
        seed: Seed of what is held out and of the samples.
        pose_tokenizer: The frozen pose tokenizer.

    Returns:
        The samples.
    """
    formats = dict(zip(args.formats, args.format_weights or [1.0] * len(args.formats), strict=True))
    features = None if args.views == [] else args.features
    part = MixPart(tuples=args.tuples, features=features, pose_codes=args.pose_codes)
    data = _tuples(args, seed, pose_tokenizer, part, formats, args.expert_drop, args.max_train_tuples)
    return data + mixture(args, seed, pose_tokenizer)


def task_data(args: TaskArguments, seed: int, pose_tokenizer: PoseTokenizer, task: Task, options: Any) -> TrainingData:
    """Opens a task's items, and the mixture if there is one.

    Args:
        args: The recipe's arguments.
        seed: Seed of what is held out and of the samples.
        pose_tokenizer: The frozen pose tokenizer.
        task: The task that is trained.
        options: The task's switches.

    Returns:
        The samples.

    Raises:
        ValueError: The folder holds items of another task.
    """
    name = ItemManifest.read(Path(args.items)).task
    if name != task.name:
        raise ValueError(f"{args.items} holds items of {name}; this recipe trains {task.name}.")
    part = MixPart(items=args.items, features=args.features, pose_codes=args.pose_codes)
    data = _items(args, seed, pose_tokenizer, _with_inner_folders(part), task, options, args.max_train_items)
    return data + mixture(args, seed, pose_tokenizer)


def mixture(args: CoachArguments, seed: int, pose_tokenizer: PoseTokenizer) -> TrainingData:
    """Opens the parts of ``mix``: items of tasks, and tuples as dialogues.

    Args:
        args: The recipe's arguments.
        seed: Seed of what is held out and of the samples.
        pose_tokenizer: The frozen pose tokenizer.

    Returns:
        The samples of all parts.

    Raises:
        ValueError: A folder is not there, or tuples have no pose codes.
    """
    data = TrainingData([], [])
    for part in map(_with_inner_folders, args.mix):
        if not part.folder.is_dir():
            raise ValueError(f"mix: {part.folder} does not exist.")
        if part.items is not None:
            task = find_task(ItemManifest.read(part.folder).found_by)
            data += _items(args, seed, pose_tokenizer, part, task, task_options(task, part.options))
            continue
        if part.pose_codes is None:
            raise ValueError(f"mix, {part.folder}: tuples show the experts' poses, so they need pose_codes: FOLDER.")
        data += _tuples(args, seed, pose_tokenizer, part, {MIXED_FORMAT: part.weight})
    return data


def trained_on(record: dict[str, Any]) -> tuple[Material, list[str]]:
    """Reads what a coach was trained on: its folder, all parts of its mixture, preferences, and the coach that it began with.

    Args:
        record: The coach's ``run_config.json``.

    Returns:
        The material of the folders' training splits, and the folders that could not be read.
    """
    settings, preferences = record.get("coach", {}), record.get("preferences", {})
    folders = [(Path(settings[key]), settings.get(limit)) for key, limit in _FOLDERS if settings.get(key)]
    folders += [(_folder_of(part), None) for part in settings.get("mix") or []]
    folders += [(Path(preferences["tuples"]), None)] if preferences.get("tuples") else []
    material, unread = Material(), [] if folders else ["a run without a record of its data"]
    for folder, limit in folders:
        try:
            material |= _training_split(folder, limit)
        except (OSError, ValueError) as error:
            unread.append(f"{folder} ({type(error).__name__})")
    if earlier := settings.get("start_from"):
        begun = read_run_record(Path(earlier))
        more, lacking = trained_on(begun) if begun else (Material(), [f"{earlier} (no record)"])
        material, unread = material | more, unread + [name for name in lacking if name not in unread]
    return material, unread


_FOLDERS = (("tuples", "max_train_tuples"), ("items", "max_train_items"))
"""Settings of a recipe that name its folder and how much of it is used."""


def _training_split(folder: Path, limit: int | None) -> Material:
    return material_of_items(ItemManifest.read(folder).task, read_items(folder, "train")[:limit])


def _folder_of(part: Any) -> Path:
    """The folder of a recorded part of a mixture; earlier runs recorded ``FOLDER,features=FOLDER``."""
    return Path(part.partition(",")[0]) if isinstance(part, str) else MixPart.read(part).folder


def _refuse_nothing(folder: Path, what: str, total: int, rejected: int, held_out: int, left: int) -> None:
    """Raises ``ValueError`` where no sample is left to train on, with the numbers that led to it."""
    if not left:
        raise ValueError(
            f"{folder} has nothing to train on: {total} {what} in its training split, {rejected} of them of clips that "
            f"feature extraction rejected, {held_out} held out by --validation_share. "
            "Read or build it with training data, or leave it out."
        )


def _with_inner_folders(part: MixPart) -> MixPart:
    """Names the features and pose codes that lie inside the folder, where the part names none."""
    inner = {name: part.folder / name for name in ("features", "pose_codes")}
    named = {name: str(path) for name, path in inner.items() if getattr(part, name) is None and path.is_dir()}
    return replace(part, **named)


def _tuples(
    args: CoachArguments,
    seed: int,
    pose_tokenizer: PoseTokenizer,
    part: MixPart,
    formats: dict[str, float],
    expert_drop: float = 1.0,
    limit: int | None = None,
) -> TrainingData:
    """Opens tuples in several formats, each with its share."""
    store = FeatureStore(Path(part.features)) if part.features else None
    poses = open_poses(args, pose_tokenizer, part.folder, Path(str(part.pose_codes)))
    usable, rejected = without_rejected(read_tuples(part.folder, "train")[:limit], store)
    train, held_out = hold_out(usable, lambda t: t.learner.participant, args.validation_share, seed)
    _refuse_nothing(part.folder, "tuples", len(usable) + rejected, rejected, len(held_out), len(train))

    def sources(rows: Sequence[CoachingTuple]) -> list[SampleSource]:
        return [*tuple_sources(rows, formats, poses, store, expert_drop, seed)] if rows else []

    note = f"{rejected} tuples of {part.folder} left out: feature extraction rejected their clips"
    return TrainingData(sources(train), sources(held_out), [note] if rejected else [], [*formats])


def _items(
    args: CoachArguments,
    seed: int,
    pose_tokenizer: PoseTokenizer,
    part: MixPart,
    task: Task,
    options: Any,
    limit: int | None = None,
) -> TrainingData:
    """Opens a task's items."""
    manifest = ItemManifest.read(part.folder)
    form = task.format(manifest.knowledge, options)
    store = FeatureStore(Path(part.features)) if part.features else None
    items = read_items(part.folder, "train")[:limit]
    unusable = store.manifest.rejected if store else {}
    usable = [item for item in items if item.clip.clip_id not in unusable]
    poses = _poses_of(args, pose_tokenizer, part, any(item.has_poses for item in usable))
    train, held_out = hold_out(usable, lambda item: item.cluster, args.validation_share, seed)
    rejected = len(items) - len(usable)
    _refuse_nothing(part.folder, "items", len(items), rejected, len(held_out), len(train))

    def sources(rows: Sequence[TaskItem], short_epochs: int) -> list[TaskSource]:
        return [TaskSource(task.name, rows, form, part.weight, poses, store, seed, short_epochs)] if rows else []

    note = f"{rejected} items of {task.name} left out: feature extraction rejected their clips"
    training = sources(train, args.short_epochs)
    return TrainingData(
        [*training],
        [*sources(held_out, 0)],
        [note] if rejected else [],
        ["dialogue"] if any(source.pose_answers() for source in training) else [],
        {task.name: asdict(options)},
        {task.name: {"found_by": manifest.found_by, "knowledge": manifest.knowledge}},
    )


def _poses_of(args: CoachArguments, pose_tokenizer: PoseTokenizer, part: MixPart, any_poses: bool) -> ClipPoses:
    """Opens the poses of items' clips; there are none for a coach that sees none or for clips that have none."""
    if args.pose_form == "none" or not any_poses:
        return NoPoses()
    if part.pose_codes is None and args.pose_form == "tokens":
        raise ValueError(
            f"{part.folder} has poses but no codes of them; run `mm-coach tokenizer encode {part.folder} TOKENIZER "
            f"{part.folder}/pose_codes`, or train with --pose_form none."
        )
    return open_poses(args, pose_tokenizer, part.folder, Path(part.pose_codes or part.folder))
