"""A folder of coaching tuples: items (`mm_data.items.store`) whose experts' clips were mined, with the mined test split and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from mm_data.ground.digests import hash_of, sha256_of
from mm_data.ground.files import claim_folder
from mm_data.ground.funnel import Funnel
from mm_data.items.answer import Answer
from mm_data.items.card import write_card
from mm_data.items.item import GalleryClip, TaskItem
from mm_data.items.manifest import MANIFEST, ItemManifest
from mm_data.items.store import GALLERY, pose_frames, pose_name, read_items, write_gallery, write_items
from mm_data.items.store import read_gallery as read_gallery_clips
from mm_data.poses.archive import PoseArchive
from mm_data.poses.manifest import MANIFEST as POSE_MANIFEST
from mm_data.poses.manifest import PoseManifest
from mm_data.records import SPLITS, Clip, CoachingTuple, Provenance, VideoClip
from mm_data.tuples.page import write_build_report

TASK = "expertaf"
LABELS = "labels.jsonl"
"""What the labeller said about every remark."""
MINED_TEST = "mined_test"
"""The test split before review: what reviewers look at."""
MAY_HOLD = ("review.jsonl", "llm_answers.jsonl")
"""Decisions and answers that people may put into a folder before its tuples are built."""

_PROVENANCE = TypeAdapter(list[Provenance], config=ConfigDict(extra="forbid"))


def item_of(item: CoachingTuple, has_poses: bool) -> TaskItem:
    """Returns a coaching tuple as an item; what only mining knows stands in its facts."""
    learner, expert = item.learner, item.expert
    facts = {
        "task": item.task,
        "regions": item.regions,
        "remark": item.remark,
        "skill": learner.skill,
        "expert_skill": expert.skill,
        "alignment_mm": item.alignment_mm,
        "provenance": asdict(item.provenance),
    }
    return TaskItem(
        item_id=item.tuple_id,
        split=item.split,
        cluster=learner.participant,
        category=item.activity,
        clip=learner.stretch,
        truth=Answer(item.summary),
        references=[item.summary],
        facts=facts,
        has_poses=has_poses,
        person=learner.participant,
        expert=expert.stretch,
        expert_person=expert.participant,
    )


def tuple_of(item: TaskItem) -> CoachingTuple:
    """Returns an item as the coaching tuple that it was made of.

    Args:
        item: Item of a tuple folder.

    Returns:
        The tuple.

    Raises:
        ValueError: It was not mined, so that it has no expert or no provenance.
    """
    if item.expert is None or "provenance" not in item.facts:
        raise ValueError(f"{item.item_id} is no coaching tuple; `mm-coach data build` makes some.")
    facts = item.facts
    (provenance,) = _PROVENANCE.validate_python([facts["provenance"]])
    return CoachingTuple(
        tuple_id=item.item_id,
        split=item.split,
        activity=item.category,
        task=facts["task"],
        regions=facts["regions"],
        remark=facts["remark"],
        summary=item.references[0],
        learner=_clip(item.clip, item.person, facts["skill"]),
        expert=_clip(item.expert, item.expert_person, facts["expert_skill"]),
        alignment_mm=facts["alignment_mm"],
        provenance=provenance,
    )


def _clip(clip: VideoClip, person: str | None, skill: str) -> Clip:
    start, stop = pose_frames(clip)
    return Clip(pose_name(clip), person or "", skill, start, stop, clip.videos["ego"], clip.videos["exo"])


def finish_folder(
    folder: Path,
    request: dict[str, Any],
    tuples: dict[str, list[CoachingTuple]],
    gallery: list[tuple[Clip, str]],
    funnels: list[Funnel],
    synthetic: bool,
    mined_test: list[CoachingTuple] | None = None,
    review: str | None = None,
) -> ItemManifest:
    """Writes splits, gallery, report, card and, last, the manifest that marks the folder as finished.

    Args:
        folder: The tuple folder.
        request: Source, labeller and options.
        tuples: Split to its tuples.
        gallery: Expert clips that retrieval searches, with their activity.
        funnels: Every stage's account.
        synthetic: Whether the data is made up.
        mined_test: The test split before review, where it was reviewed.
        review: Hash of the decisions that were applied.

    Returns:
        The manifest.
    """
    archive, source = PoseArchive(folder), str(request["source"])
    posed = {take for take in _takes(tuples) if take in archive}
    mined = tuples["test"] if mined_test is None else mined_test
    items = {
        split: [item_of(row, row.learner.take_uid in posed) for row in rows]
        for split, rows in {**tuples, MINED_TEST: mined}.items()
    }
    people = {split: {c.participant for t in rows for c in t.clips} for split, rows in tuples.items()}
    manifest = ItemManifest(
        task=TASK,
        found_by=TASK,
        source=source,
        videos=source,
        synthetic=synthetic,
        items={split: len(rows) for split, rows in tuples.items()},
        people={split: len(names) for split, names in people.items()},
        shared_people=len(people["train"] & people["test"]),
        with_poses=sum(item.has_poses for split in SPLITS for item in items[split]),
        knowledge={},
        funnel=[funnel.summary() for funnel in funnels],
        digest=hash_of([asdict(item) for split in SPLITS for item in items[split]], sort_keys=False),
        gallery=len(gallery),
        request=request,
        review=review,
        reviewed=sum(t.provenance.review is not None for t in tuples["test"]),
    )
    for split, rows in items.items():
        write_items(folder / f"{split}.parquet", rows)
    clips = [GalleryClip(clip.stretch, name, clip.participant, {"skill": clip.skill}) for clip, name in gallery]
    write_gallery(folder, clips)
    write_build_report(folder, manifest, tuples)
    write_card(folder, manifest)
    manifest.write(folder)
    return manifest


def _takes(tuples: Mapping[str, Sequence[CoachingTuple]]) -> set[str]:
    return {t.learner.take_uid for rows in tuples.values() for t in rows}


def claim_tuple_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Marks a folder as begun from one source, and as not finished; what is stored in it by content may be used again.

    Args:
        folder: The folder.
        identity: What the folder is made from (JSON-ready).

    Raises:
        ValueError: It was begun from another, or holds what we did not write.
    """
    claim_folder(folder, identity, MAY_HOLD)
    (folder / MANIFEST).unlink(missing_ok=True)


def read_tuples(folder: Path, split: str) -> list[CoachingTuple]:
    """Reads one split of a built folder.

    Args:
        folder: The folder.
        split: ``train``, ``test`` or `MINED_TEST`.

    Returns:
        The tuples.

    Raises:
        FileNotFoundError: The folder was not built, or not completely.
    """
    return [tuple_of(item) for item in read_items(folder, split)]


def clips_of(tuples: list[CoachingTuple]) -> dict[str, Clip]:
    """Returns the distinct clips of both sides, by clip id, in a stable order."""
    return {clip.clip_id: clip for item in tuples for clip in (item.learner, item.expert)}


def clips_of_folder(folder: Path) -> dict[str, Clip]:
    """Returns every distinct clip of a folder by clip id: learners, experts and the gallery."""
    tuples = [item for split in SPLITS for item in read_tuples(folder, split)]
    return clips_of(tuples) | {clip.clip_id: clip for clip, _ in read_gallery(folder)}


def tuples_hash(folder: Path) -> str:
    """Returns the hash of a folder's tuples and gallery, and of the request that they were built for but for where the data set lies."""
    request = {key: value for key, value in ItemManifest.read(folder).request.items() if key != "source"}
    names = [f"{split}.parquet" for split in SPLITS] + [GALLERY]
    return hash_of([request, *(sha256_of(folder / name) for name in names if (folder / name).is_file())])


def find_tuple(folder: Path, tuple_id: str) -> CoachingTuple:
    """Finds one tuple of either split.

    Args:
        folder: The folder.
        tuple_id: Id of the tuple.

    Returns:
        The tuple.

    Raises:
        ValueError: There is none of this id.
    """
    for split in SPLITS:
        for item in read_tuples(folder, split):
            if item.tuple_id == tuple_id:
                return item
    raise ValueError(f"{folder} holds no tuple {tuple_id!r}; ids look like <take uid>/<commentator>/<number>~<rank>.")


def read_gallery(folder: Path) -> list[tuple[Clip, str]]:
    """Reads expert clips of the test split with their activity, beyond those of the tuples."""
    return [(_clip(row.clip, row.person, row.facts["skill"]), row.category) for row in read_gallery_clips(folder)]


def is_synthetic(folder: Path) -> bool:
    """Says whether the poses of a pose folder or a tuple folder are made up.

    Args:
        folder: The folder.

    Returns:
        Whether they are.

    Raises:
        FileNotFoundError: The folder is neither, or not finished.
    """
    is_pose_folder = (folder / POSE_MANIFEST).is_file()
    return PoseManifest.read(folder).synthetic if is_pose_folder else ItemManifest.read(folder).synthetic
