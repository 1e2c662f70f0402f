"""From arguments to training samples: coaching tuples, items of other tasks, and mixtures of both."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_adapter.checkpoint.run_record import read_run_record
from mm_adapter.model.config import VIEWS
from mm_adapter.samples.sources import SampleSource, TaskSource, hold_out, tuple_sources, without_rejected
from mm_adapter.training.arguments import CoachArguments, ExpertafArguments, TaskArguments
from mm_adapter.training.build import open_poses
from mm_data.features import FeatureManifest, FeatureStore
from mm_data.tasks import Task
from mm_data.tasks.folder import is_task_folder, read_items
from mm_data.tasks.known import find_task, task_options
from mm_data.tasks.manifest import TaskManifest
from mm_data.tasks.overlap import Material, material_of_items, material_of_tuples
from mm_data.tuples.store import read_tuples
from mm_tokenizers import PoseTokenizer

MIXED_FORMAT = "dialogue"
"""How the tuples of a mixture are shown: remark and demonstration in one pass."""


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        train: Sources of training samples.
        validation: Sources of samples that are held out for evaluation while it trains.
        notes: What was left out.
        formats: ExpertAF's functions among the samples.
        tasks: Other tasks among the samples, with their switches.
    """

    train: list[SampleSource]
    validation: list[SampleSource]
    notes: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: "TrainingData") -> "TrainingData":
        if twice := sorted(self.tasks.keys() & other.tasks.keys()):
            raise ValueError(f"The mixture holds {twice[0]} twice; name each task once.")
        return TrainingData(
            self.train + other.train,
            self.validation + other.validation,
            self.notes + other.notes,
            self.formats + other.formats,
            self.tasks | other.tasks,
        )

    def video(self) -> FeatureManifest | None:
        """Features that all sources share: a coach has one video encoder.

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
                    f"{source.name} has features of {_said(manifest)}, {self.train[0].name} of {_said(first)}. One coach has one video "
                    "encoder: extract the features of all parts of a mixture alike, or train apart."
                )
        return first

    def shown_views(self, asked: Sequence[str] | None) -> list[str]:
        """Views that the coach sees, in its order.

        Args:
            asked: Names that were asked for, or None for those of the features.

        Raises:
            ValueError: There are no features, or they lack a view that was asked for.
        """
        there = self.views()
        if asked is None:
            return there
        if missing := [view for view in asked if view not in there]:
            have = f"the features have {' and '.join(there)} alone" if there else "no features were given"
            raise ValueError(f"--views {' '.join(asked)}: {have}, so {missing[0]} cannot be shown.")
        return [view for view in there if view in asked]

    def views(self) -> list[str]:
        """Views that any source's features have, in the coach's order."""
        found = {view for source in self.train if source.features for view in source.features.manifest.views}
        if unknown := sorted(found - set(VIEWS)):
            raise ValueError(f"Features have the views {unknown}; a coach knows {', '.join(VIEWS)}.")
        return [view for view in VIEWS if view in found]


def _shape(manifest: FeatureManifest | None) -> tuple[Any, ...] | None:
    return manifest and (manifest.made_by, manifest.num_tokens, manifest.width)


def _said(manifest: FeatureManifest | None) -> str:
    return f"{manifest.encoder} [{manifest.num_tokens}, {manifest.width}]" if manifest else "no encoder"


def expertaf_data(args: ExpertafArguments, seed: int, pose_tokenizer: PoseTokenizer) -> TrainingData:
    """Tuples in the formats of the arguments, and the mixture if there is one."""
    formats = dict(zip(args.formats, args.format_weights or [1.0] * len(args.formats), strict=True))
    store = FeatureStore(Path(args.features)) if args.features and args.views != [] else None
    poses = open_poses(args, pose_tokenizer, Path(args.tuples), Path(args.pose_codes))
    tuples = read_tuples(Path(args.tuples), "train")[: args.max_train_tuples]
    usable, unusable = without_rejected(tuples, store)
    train, held_out = hold_out(usable, lambda t: t.learner.participant, args.validation_share, seed)
    _refuse_nothing(Path(args.tuples), "tuples", len(tuples), unusable, len(held_out), len(train))
    options = (formats, poses, store, args.expert_drop, seed)
    data = TrainingData(
        [*tuple_sources(train, *options)],
        [*tuple_sources(held_out, *options)] if held_out else [],
        [f"{unusable} tuples left out: feature extraction rejected their clips"] if unusable else [],
        args.formats,
    )
    return data + mixture(args, seed, pose_tokenizer)


def task_data(args: TaskArguments, seed: int, pose_tokenizer: PoseTokenizer, task: Task, options: Any) -> TrainingData:
    """A task's items, and the mixture if there is one.

    Raises:
        ValueError: The folder holds items of another task.
    """
    folder = Path(args.items)
    found = TaskManifest.read(folder).task
    if found != task.name:
        raise ValueError(f"{folder} holds items of {found}; this recipe trains {task.name}.")
    part = _items(
        args,
        seed,
        pose_tokenizer,
        _Part.of(folder, args.features, args.pose_codes),
        task,
        options,
        1.0,
        args.max_train_items,
    )
    return part + mixture(args, seed, pose_tokenizer)


def mixture(args: CoachArguments, seed: int, pose_tokenizer: PoseTokenizer) -> TrainingData:
    """What ``--mix`` names: items of tasks, with switches behind their folder, and tuples as dialogues.

    Raises:
        ValueError: A part is malformed, or the weights do not match.
    """
    weights = args.mix_weights or [1.0] * len(args.mix)
    if len(weights) != len(args.mix):
        raise ValueError(f"{len(args.mix)} parts in --mix, {len(weights)} in --mix_weights; give one weight per part.")
    data = TrainingData([], [])
    for text, share in zip(args.mix, weights, strict=True):
        part = _Part.parse(text)
        if not part.folder.is_dir():
            raise ValueError(f"--mix {text}: {part.folder} does not exist.")
        if is_task_folder(part.folder):
            task = find_task(TaskManifest.read(part.folder).found_by)
            data += _items(args, seed, pose_tokenizer, part, task, task_options(task, part.switches), share, None)
            continue
        if part.switches:
            raise ValueError(
                f"--mix {text}: tuples have no switch {next(iter(part.switches))!r}; after the folder come features=... and pose_codes=...."
            )
        if part.codes is None:
            raise ValueError(f"{part.folder}: a mixture shows the experts' poses, so tuples need pose_codes=FOLDER.")
        store = FeatureStore(part.features) if part.features else None
        usable, unusable = without_rejected(read_tuples(part.folder, "train"), store)
        train, held_out = hold_out(usable, lambda t: t.learner.participant, args.validation_share, seed)
        _refuse_nothing(part.folder, "tuples", len(usable) + unusable, unusable, len(held_out), len(train))
        poses = open_poses(args, pose_tokenizer, part.folder, part.codes)
        data += TrainingData(
            [*tuple_sources(train, {MIXED_FORMAT: share}, poses, store, 1.0, seed)],
            [*tuple_sources(held_out, {MIXED_FORMAT: share}, poses, store, 1.0, seed)] if held_out else [],
            [f"{unusable} tuples of {part.folder} left out: feature extraction rejected their clips"]
            if unusable
            else [],
            [MIXED_FORMAT],
        )
    return data


def trained_on(record: dict[str, Any]) -> tuple[Material, list[str]]:
    """Everything that a coach was trained on: its folder, all parts of its mixture, preferences, and the coach that it began with.

    Args:
        record: The coach's ``run_config.json``.

    Returns:
        What the folders' training splits hold, and the folders that could not be read.
    """
    settings, preferences = record.get("coach", {}), record.get("preferences", {})
    first = [(name, limit) for key, limit in _FOLDERS for name in [settings.get(key)] if name]
    folders = [(Path(name), settings.get(limit)) for name, limit in first]
    folders += [(_Part.parse(text).folder, None) for text in settings.get("mix") or []]
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
    if is_task_folder(folder):
        return material_of_items(TaskManifest.read(folder).task, read_items(folder, "train")[:limit])
    return material_of_tuples(read_tuples(folder, "train")[:limit])


def _refuse_nothing(folder: Path, what: str, found: int, rejected: int, held_out: int, left: int) -> None:
    if not left:
        raise ValueError(
            f"{folder} has nothing to train on: {found} {what} in its training split, {rejected} of them of clips that feature extraction "
            f"rejected, {held_out} held out by --validation_share. Read or build it with training data, or leave it out."
        )


@dataclass(frozen=True)
class _Part:
    """A folder of samples with its features and pose codes, where it has them, and its task's switches."""

    folder: Path
    features: Path | None
    codes: Path | None
    switches: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, features: str | None, codes: str | None) -> "_Part":
        def found(given: str | None, inside: str) -> Path | None:
            if given is not None:
                return Path(given)
            return folder / inside if (folder / inside).is_dir() else None

        return cls(folder, found(features, "features"), found(codes, "pose_codes"))

    @classmethod
    def parse(cls, text: str) -> "_Part":
        folder, *settings = text.split(",")
        given = {name: path for name, _, path in (setting.partition("=") for setting in settings)}
        part = cls.of(Path(folder), given.pop("features", None), given.pop("pose_codes", None))
        return replace(part, switches=given)


def _items(
    args: CoachArguments,
    seed: int,
    pose_tokenizer: PoseTokenizer,
    part: _Part,
    task: Task,
    options: Any,
    share: float,
    limit: int | None,
) -> TrainingData:
    form = task.format(TaskManifest.read(part.folder).knowledge, options)
    store = FeatureStore(part.features) if part.features else None
    items = read_items(part.folder, "train")[:limit]
    rejected = store.manifest.rejected if store else {}
    usable = [item for item in items if item.clip.clip_id not in rejected]
    poses = None
    if args.pose_form != "none" and any(item.has_poses for item in usable):
        if part.codes is None and args.pose_form == "tokens":
            raise ValueError(
                f"{part.folder} has poses but no codes of them; run `mm-coach tokenizer encode {part.folder} TOKENIZER {part.folder}/pose_codes`, or train with --pose_form none."
            )
        poses = open_poses(args, pose_tokenizer, part.folder, part.codes or part.folder)
    train, held_out = hold_out(usable, lambda item: item.cluster, args.validation_share, seed)
    left_out = len(items) - len(usable)
    _refuse_nothing(part.folder, "items", len(items), left_out, len(held_out), len(train))

    def sources(rows: Sequence[Any], short_epochs: int) -> list[SampleSource]:
        return [TaskSource(task.name, rows, form, share, poses, store, seed, short_epochs)] if rows else []

    notes = [f"{left_out} items of {task.name} left out: feature extraction rejected their clips"] if left_out else []
    return TrainingData(
        sources(train, args.short_epochs), sources(held_out, 0), notes, [], {task.name: asdict(options)}
    )
