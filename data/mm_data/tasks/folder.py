"""Reads a data set in its published form into a folder of items (`mm_data.items.store`)."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mm_data.ground.digests import hash_of
from mm_data.ground.files import BEGUN, check_apart, claim_folder, write_atomically
from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import is_path_component, load_array
from mm_data.items.card import write_card
from mm_data.items.item import GalleryClip, TaskItem
from mm_data.items.manifest import MANIFEST, ItemManifest
from mm_data.items.store import GALLERY, is_item_folder, pose_frames, pose_name, write_gallery, write_items
from mm_data.poses.archive import PoseArchive
from mm_data.poses.manifest import MANIFEST as POSE_MANIFEST
from mm_data.poses.manifest import PoseManifest, PoseSequence
from mm_data.poses.skeleton import HIPS
from mm_data.records import SPLITS, VideoClip
from mm_data.release.pose_cache import FINISHED, cache_poses
from mm_data.tasks.overlap import material_of_items, overlap
from mm_data.tasks.task import DataReader, TaskData
from mm_data.tuples.store import is_synthetic

DERIVED = ("features", "pose_codes")
"""Folders of features and pose codes inside, which training finds by itself."""


def build_task_folder(
    task: DataReader,
    root: Path,
    out: Path,
    poses: Path | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    found_by: str | None = None,
) -> ItemManifest:
    """Reads a data set and writes its items; items and poses that an earlier run wrote into the folder are replaced.

    Args:
        task: Task that the data set is for.
        root: The data set in its published form.
        out: The folder.
        poses: Pose folder with ``<clip>.npy`` ``[T, 17, 4]`` at 30 fps, for data sets without poses of their own.
        workers: Processes that read poses.
        progress: Called with the number of clips whose poses were read.
        found_by: What `find_task` finds the task by, where that is not its name.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: Something that the task needs is missing.
        ValueError: A file is malformed, a split is empty, too much had to be dropped, no clip has poses although a pose folder was
            given, the folder is not apart from what is read, or holds what we did not write, or features or pose codes of other items.
    """
    check_apart(out, root, poses)
    data = task.read(root)
    for split in SPLITS:
        if not any(item.split == split for item in data.items):
            raise ValueError(f"{root}: the {split} split holds no item that can be used.")
    estimated = PoseArchive(poses) if poses is not None else None
    names = {pose_name(clip) for item in data.items for clip in item.clips}
    if estimated is not None and not any(name in estimated for name in names):
        raise ValueError(
            f"{estimated.folder} holds poses of none of the {len(names)} clips; "
            f"they are looked for as {min(names)}.npy and so on."
        )
    data.funnels.append(shared_sides(task.name, data.items))
    claim_folder(out, {"made_by": "mm-coach task read"})
    digest = hash_of([asdict(item) for item in data.items], sort_keys=False)
    derived = [name for name in DERIVED if (out / name).exists()]
    if derived and is_item_folder(out) and ItemManifest.read(out).digest != digest:
        raise ValueError(f"{out} holds {' and '.join(derived)} of other items; delete them or give another folder.")
    remove_poses(PoseArchive(out).folder)
    (out / MANIFEST).unlink(missing_ok=True)
    items, funnels = _with_poses(data, out, estimated, workers, progress)
    gallery = _gallery(items)
    people = {split: {i.person for i in items if i.split == split and i.person is not None} for split in SPLITS}
    manifest = ItemManifest(
        digest=digest,
        task=task.name,
        found_by=found_by or task.name,
        source=str(root.resolve()),
        videos=str(data.videos.resolve()),
        synthetic=data.synthetic or (poses is not None and is_synthetic(poses)),
        items={split: sum(item.split == split for item in items) for split in SPLITS},
        people={split: len(names) for split, names in people.items()},
        shared_people=len(people["train"] & people["test"]),
        with_poses=sum(item.has_poses for item in items),
        knowledge=data.knowledge,
        funnel=[stage.summary() for stage in [*data.funnels, *funnels]],
        gallery=len(gallery),
    )
    for split in SPLITS:
        write_items(out / f"{split}.parquet", [item for item in items if item.split == split])
    (out / GALLERY).unlink(missing_ok=True)
    if gallery:
        write_gallery(out, gallery)
    write_card(out, manifest)
    manifest.write(out)
    return manifest


def shared_sides(task: str, items: Sequence[TaskItem]) -> Funnel:
    """Notes test items of people, takes and clips that training has too, which stay: the split is the data set's own.

    Args:
        task: Name of the task.
        items: Items of both splits.

    Returns:
        The funnel with the notes.
    """
    trained = material_of_items(task, [item for item in items if item.split == "train"])
    funnel = Funnel("compare the splits", 1.0)
    for item in items:
        if item.split == "test":
            funnel.keep()
            shared = overlap(trained, material_of_items(task, [item]))
            for what, common in (("people", shared.people), ("takes", shared.takes), ("clips", shared.clips)):
                if common:
                    funnel.note(f"test items of {what} that are in training too", item.item_id)
    return funnel


def _with_poses(
    data: TaskData, out: Path, estimated: PoseArchive | None, workers: int, progress: Callable[[int], None]
) -> tuple[list[TaskItem], list[Funnel]]:
    """Copies poses into the folder and notes which items have them."""
    (out / POSE_MANIFEST).unlink(missing_ok=True)
    if estimated is None and data.source is None:
        return _without_lost_experts(data.items, set())
    archive, funnel = PoseArchive(out), Funnel("read poses", 1.0)
    names = {pose_name(clip) for item in data.items for clip in item.clips}
    if not all(map(is_path_component, names)):
        raise ValueError(
            f"Clip names become file names; {next(n for n in names if not is_path_component(n))!r} cannot."
        )
    archive.folder.mkdir(exist_ok=True)
    write_atomically(archive.folder / BEGUN, json.dumps(sorted(names)))
    if estimated is not None:
        posed = _copy_poses(estimated, sorted(names), archive, funnel, progress)
    else:
        assert data.source is not None
        posed = set(cache_poses(data.source, sorted(names), archive, funnel, workers, progress=progress))
    training_last = sorted(data.items, key=lambda item: item.split == "train")  # poses of both sides are training's
    split_of = {pose_name(clip): item.split for item in training_last for clip in item.clips}
    PoseManifest(data.synthetic, [PoseSequence(name, split_of[name]) for name in sorted(posed)]).write(out)
    items = []
    for item in data.items:
        usable = pose_name(item.clip) in posed and _has_hips(archive, item.clip)
        if pose_name(item.clip) in posed and not usable:
            funnel.note("clips without a frame that shows both hips: shown without poses", item.clip.clip_id)
        items.append(replace(item, has_poses=usable))
    items, lost = _without_lost_experts(items, posed)
    return items, [funnel, *lost]


def _without_lost_experts(items: Sequence[TaskItem], posed: set[str]) -> tuple[list[TaskItem], list[Funnel]]:
    """Takes experts' clips that have no poses off their items, as nobody can be shown those; the items stay."""
    funnel, kept = Funnel("look for the experts' poses", 1.0), []
    for item in items:
        if item.expert is not None and pose_name(item.expert) not in posed:
            funnel.note("experts' clips without poses: their items teach a remark alone", item.expert.clip_id)
            item = replace(item, expert=None, expert_person=None)
        kept.append(item)
    return kept, [funnel] if funnel.noted else []


def _gallery(items: Sequence[TaskItem]) -> list[GalleryClip]:
    """Returns training's experts, among whom those of the test items are looked for."""
    shown = {item.expert.clip_id for item in items if item.expert is not None and item.split == "test"}
    others: dict[str, GalleryClip] = {}
    for item in items:
        if item.expert is not None and item.expert.clip_id not in shown:
            others.setdefault(item.expert.clip_id, GalleryClip(item.expert, item.category, item.expert_person))
    return list(others.values())


def _copy_poses(
    estimated: PoseArchive, names: Sequence[str], archive: PoseArchive, funnel: Funnel, progress: Callable[[int], None]
) -> set[str]:
    """Copies the arrays that are there; returns their names."""
    copied: set[str] = set()
    for name in names:
        if name in estimated:
            _check_poses(estimated.path(name))
            shutil.copyfile(estimated.path(name), archive.path(name))
            funnel.keep()
            copied.add(name)
        else:
            funnel.drop("no poses", name)
        progress(len(copied))
    return copied


def remove_poses(folder: Path) -> None:
    """Removes what an earlier run wrote into a folder of poses, which its first file lists.

    Args:
        folder: Folder of poses.

    Raises:
        ValueError: Something else lies there, or the folder is a link; nothing is removed.
    """
    listed = folder / BEGUN
    ours = {BEGUN, FINISHED}
    if listed.is_file():
        ours |= {f"{name}.npy" for name in json.loads(listed.read_text())}
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in there if name not in ours and not name.endswith((".partial", ".lock"))]
    if foreign or folder.is_symlink():
        what = f"holds {foreign[0]}" if foreign else "is a link"
        raise ValueError(f"{folder} {what}, which `mm-coach task read` did not make. Move it, or give another folder.")
    for name in there:
        (folder / name).unlink()


def _has_hips(archive: PoseArchive, clip: VideoClip) -> bool:
    start, stop = pose_frames(clip)
    frames = load_array(archive.path(pose_name(clip)), mmap=True)[start:stop]
    return bool((frames[:, HIPS, 3] > 0).all(axis=1).any())


def _check_poses(path: Path) -> None:
    array = load_array(path, mmap=True)
    if array.ndim != 3 or array.shape[1:] != (17, 4):
        raise ValueError(
            f"{path}: poses have shape {array.shape}; expected [T, 17, 4] as `mm-coach poses import` writes."
        )
