"""Makes a tuple folder from ExpertAF's released JSON and an Ego-Exo4D download."""

from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mm_data.exchange.llava_format import ExpertAfSample, read_expertaf
from mm_data.ground.files import check_apart
from mm_data.ground.funnel import Funnel, open_stage
from mm_data.ground.progress import Report
from mm_data.items.manifest import ItemManifest
from mm_data.poses.archive import PoseArchive
from mm_data.poses.skeleton import REGIONS
from mm_data.poses.window_search import clip_error
from mm_data.records import FPS, SPLITS, CoachingTuple, Provenance, Source
from mm_data.release.pose_cache import cache_poses
from mm_data.release.read import read_source
from mm_data.tuples.pairing import PairingOptions, clip_of
from mm_data.tuples.store import claim_tuple_folder, finish_folder

LABELLER = "expertaf-release"
_REGIONS = {name: name for name in REGIONS} | {"hand": "hands", "leg": "legs", "arm": "arms"}
_REGIONS |= dict.fromkeys(("shoulder", "shoulders"), "torso")


def import_expertaf(
    root: Path,
    files: dict[str, Path],
    out: Path,
    report: Report,
    max_drop_rate: float = 0.5,
    workers: int = 1,
) -> ItemManifest:
    """Writes a tuple folder that every later command reads.

    Participants are as the release split them: by take, so some may be on both sides; the manifest counts them.

    Args:
        root: Ego-Exo4D download with poses.
        files: ``train`` and ``test`` to the released JSON.
        out: Folder for the tuples.
        report: Receives progress.
        max_drop_rate: Share of samples that may be unusable.
        workers: Processes that read poses.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed, too much had to be dropped, or ``out`` is not apart from what is read.
    """
    check_apart(out, root, *files.values())
    source, archive = read_source(root, max_drop_rate), PoseArchive(out)
    request = {"source": str(root.resolve()), "labeller": LABELLER, "pairing": asdict(PairingOptions())}
    claim_tuple_folder(out, {"source": request["source"], "labeller": LABELLER})
    funnels, by_split = list(source.funnels), {}
    stage = partial(open_stage, funnels, max_drop_rate)
    with stage("read poses") as funnel, report.progress("reading poses", len(source.takes)) as progress:
        with_poses = cache_poses(source, list(source.takes), archive, funnel, workers, progress=progress).keys()
    uids = {take.take_name: uid for uid, take in source.takes.items()}

    def frames(name: str) -> int | None:
        return archive.frames(uids[name]) if uids.get(name) in with_poses else None

    for split in SPLITS:
        with stage(f"read {split} samples") as funnel:
            samples = read_expertaf(files[split], frames, funnel)
        with stage(f"match {split} samples") as funnel:
            rows = (_tuple(sample, split, source, uids, with_poses, archive, funnel) for sample in samples)
            by_split[split] = [row for row in rows if row is not None]
    return finish_folder(out, request, by_split, [], funnels, source.synthetic)


def _tuple(
    sample: ExpertAfSample,
    split: str,
    source: Source,
    uids: dict[str, str],
    with_poses: Collection[str],
    poses: PoseArchive,
    funnel: Funnel,
) -> CoachingTuple | None:
    learner_uid, expert_uid = uids.get(sample.learner_take), uids.get(sample.expert_take)
    if learner_uid is None or expert_uid is None:
        return funnel.drop("take is not in the download", sample.sample_id)
    if learner_uid not in with_poses or expert_uid not in with_poses:
        return funnel.drop("take has no poses", sample.sample_id)
    if sample.learner[1] > poses.frames(learner_uid):
        return funnel.drop("learner range runs past the take", sample.sample_id)
    if sample.region not in _REGIONS:
        funnel.note("body part is not among our regions", f"{sample.sample_id}: {sample.region!r}")
    regions = [_REGIONS[sample.region]] if sample.region in _REGIONS else []
    learner, expert = source.takes[learner_uid], source.takes[expert_uid]
    clips = poses[learner_uid][slice(*sample.learner)], poses[expert_uid][slice(*sample.expert)]
    funnel.keep()
    return CoachingTuple(
        tuple_id=sample.sample_id,
        split=split,
        activity=learner.activity,
        task=learner.task or learner.activity,
        regions=regions,
        remark=sample.remark,
        summary=sample.remark,
        learner=clip_of(learner, *sample.learner),
        expert=clip_of(expert, *sample.expert),
        alignment_mm=clip_error(*clips, stride=1),
        provenance=Provenance(
            learner_remark=sample.sample_id,
            expert_remark=sample.sample_id,
            expert_text="",
            labeller=LABELLER,
            comment_time=sample.learner[1] / FPS,
            expert_comment_time=sample.expert[1] / FPS,
            shared_regions=regions,
            experts_considered=1,
            runners_up=[],
        ),
    )
