"""Tuples at the size of Ego-Exo4D's commentary: 3,000 takes, 120,000 remarks, 9 million pose frames, all synthetic.

    python benchmarks/data_scale.py WORK [--workers 2] [--align-faults 1280] [--pose-files 24] [--save]

WORK is an empty folder; about 6 GB are written. Everything is read, labelled, paired and written at full size, in a folder that `datasets` could open. Two stages are measured on a part and extrapolated,
and say so: pose JSON (its files would take 130 GB; `--pose-files` of true length and with four cameras' 2-D annotations are
written) and alignment (`--align-faults` faults spread over all tasks, each with all of its candidates). Peak memory is
sampled over this process and all workers. `ratio` is the limit of 8 GiB over it.
"""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from record import finish, parse

from mm_data.ground.funnel import Funnel
from mm_data.ground.parallel import parallel_map
from mm_data.labelling import RulesLabeller, label_remarks
from mm_data.miniature.annotations import write_annotations
from mm_data.miniature.simulate import SimulatedTake, TimedRemark, draw_participant, simulate_take
from mm_data.poses.archive import PoseArchive
from mm_data.poses.skeleton import JOINTS
from mm_data.records import SPLITS, CoachingTuple
from mm_data.release.egoexo4d import read_release
from mm_data.release.pose_cache import cache_poses
from mm_data.release.read import split_by_participant
from mm_data.tuples.build import make_tuples
from mm_data.tuples.mining import align_faults
from mm_data.tuples.pairing import PairingOptions, gallery_clips, locate_faults, sort_by_role
from mm_data.tuples.store import finish_folder

TAKES, FRAMES, REMARKS = 3000, 3000, 40
TASKS_PER_ACTIVITY = 4
LIMIT_GIB = 8.0
_POOL = 360


def pool() -> list[SimulatedTake]:
    """Short movements of many people, which long takes are joined from."""
    return [simulate_take(index, draw_participant(index, 0), "train", 0) for index in range(_POOL)]


def long_take(index: int, parts: list[SimulatedTake]) -> tuple[SimulatedTake, np.ndarray]:
    """One take of the full length, with its remarks, and the indices of the parts that it is joined from."""
    rng = np.random.default_rng([7, index])
    participant = draw_participant(index // 3, 0)
    variant = (index // 36) % TASKS_PER_ACTIVITY
    activity = replace(participant.activity, task=f"{participant.activity.task} {variant + 1}")
    participant = replace(participant, activity=activity)
    same = [
        i
        for i, part in enumerate(parts)
        if part.participant.activity.slug == activity.slug and part.participant.skill == participant.skill
    ]
    chosen = rng.choice(same, 24)
    offset, said = 0, []
    for i in chosen:
        for commentator, remarks in parts[i].remarks.items():
            said += [(commentator, TimedRemark(remark.time + offset / 30, remark.spoken)) for remark in remarks]
        offset += len(parts[i].joints)
    said = [entry for entry in said if entry[1].time < FRAMES / 30 - 1]
    kept: dict[str, list[TimedRemark]] = {}
    for row in rng.permutation(len(said))[:REMARKS]:
        kept.setdefault(said[row][0], []).append(said[row][1])
    take = SimulatedTake(
        index=index,
        take_uid=f"scale-{index:05d}",
        take_name=f"scale_{activity.slug}_{index:05d}",
        participant=participant,
        split="val" if (index // 3) % 5 == 4 else "train",
        joints=np.broadcast_to(np.float64(0), (FRAMES, 17, 3)),
        heading=0.0,
        origin=np.zeros(3),
        repetitions=[],
        remarks=kept,
    )
    return take, chosen


def join_poses(index: int, chosen: np.ndarray, parts: list[SimulatedTake]) -> np.ndarray:
    """Poses ``[FRAMES, 17, 4]`` in float32: turned, moved and noisy, so that no two takes share a pose."""
    rng = np.random.default_rng([8, index])
    joints = np.concatenate([parts[i].joints - parts[i].origin for i in chosen])[:FRAMES]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    joints = joints @ turn.T + rng.uniform(-3, 3, 3) + rng.normal(0, 0.006, joints.shape)
    flags = (rng.random((*joints.shape[:2], 1)) >= 0.01).astype(np.float64)
    return np.concatenate([np.where(flags > 0, joints, np.nan), flags], -1).astype(np.float32)


def write_pose_array(archive: PoseArchive, parts: list[SimulatedTake], job: tuple[int, np.ndarray]) -> None:
    """The array that `cache_poses` would have made of the take's JSON."""
    np.save(archive.path(f"scale-{job[0]:05d}"), join_poses(*job, parts))


def write_pose_json(path: Path, poses: np.ndarray, take: SimulatedTake) -> int:
    """A file as large as the release's: 3-D joints, and 2-D joints in four cameras. Returns its bytes."""
    content = {}
    for frame, pose in enumerate(poses.tolist()):
        seen = [(name, joint) for name, joint in zip(JOINTS, pose, strict=True) if joint[3] > 0]
        content[str(frame)] = [
            {
                "metadata": {"take_uid": take.take_uid, "take_name": take.take_name, "frame_number": frame},
                "annotation2D": {
                    camera: {
                        name: {"x": 1000 * joint[0] + 0.123456, "y": 1000 * joint[2] + 0.123456, "placement": "auto"}
                        for name, joint in seen
                    }
                    for camera in ("cam01", "cam02", "cam03", "cam04")
                },
                "annotation3D": {name: {"x": j[0], "y": j[1], "z": j[2], "num_views_for_3d": 4} for name, j in seen},
            }
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path.stat().st_size


class Stages:
    """Seconds per stage, extrapolated where only a part was run."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float, float]] = []

    @contextmanager
    def time(self, name: str, what: str) -> Iterator[Callable[[float], None]]:
        """The result is called with the factor from the part to the whole."""
        factor = [1.0]
        begun = time.perf_counter()
        yield lambda value: factor.__setitem__(0, value)
        seconds = time.perf_counter() - begun
        self.rows.append((name, what, seconds, seconds * factor[0]))
        print(f"{name}: {what}, {seconds:.1f} s", flush=True)


class PeakMemory(threading.Thread):
    """Samples the memory of this process and its workers; pages that they share are divided among them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gib = 0.0

    def run(self) -> None:
        """Until the program ends."""
        this = psutil.Process()
        while True:
            total = 0
            for process in (this, *this.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            self.gib = max(self.gib, total / 2**30)
            time.sleep(0.2)


def main() -> None:
    """Builds and measures."""
    args = parse(__doc__, "work", workers=2, align_faults=1280, pose_files=24)
    root, archive = args.work / "source", PoseArchive(args.work)
    archive.folder.mkdir(parents=True, exist_ok=True)

    parts = pool()
    drawn = [long_take(index, parts) for index in range(TAKES)]
    takes = [take for take, _ in drawn]
    counts = write_annotations(root, takes)
    jobs = [(take.index, chosen) for take, chosen in drawn]
    for _ in parallel_map(partial(write_pose_array, archive, parts), jobs, args.workers):
        pass
    size = 0
    for take, chosen in drawn[:: TAKES // args.pose_files][: args.pose_files]:
        path = root / "annotations/ego_pose" / take.split / "body/automatic" / f"{take.take_uid}.json"
        size += write_pose_json(path, join_poses(take.index, chosen, parts), take)
    frames = TAKES * FRAMES
    print(f"{counts['remarks']:,} remarks, {TAKES:,} takes, {frames:,} pose frames (synthetic)\n", flush=True)
    del drawn, jobs, parts, takes

    stages, options, memory = Stages(), PairingOptions(), PeakMemory()
    memory.start()
    with stages.time("read annotations", f"{counts['remarks']:,} remarks"):
        source = read_release(root)
    with stages.time("read pose JSON", f"{args.pose_files} files of {size / args.pose_files / 1e6:.0f} MB") as scale:
        chosen = list(source.pose_files)
        cache_poses(source, chosen, PoseArchive(args.work / "read"), Funnel("read poses", 1.0), args.workers)
        scale(TAKES / args.pose_files)
    splits = split_by_participant(source.takes, Funnel("split", 1.0))
    remarks = [remark for remark in source.remarks if remark.take_uid in splits]
    with stages.time("label by rules", f"{len(remarks):,} remarks"):
        labelled = label_remarks(RulesLabeller(), remarks, args.work / "labels.jsonl", Funnel("label", 1.0))
    with stages.time("pair", f"{len(labelled):,} labelled remarks"):
        faults, praise = sort_by_role(labelled, source.takes, splits, Funnel("roles", 1.0))
        located = locate_faults(faults, source.takes, splits, praise, archive, options, Funnel("pair", 1.0))
    every = max(1, len(located) // args.align_faults)
    chosen = located[::every][: args.align_faults]
    pairs = sum(len(praise.candidates(fault)) for fault in chosen)
    shutil.rmtree(args.work / "alignments", ignore_errors=True)
    with stages.time(
        "align", f"{len(chosen):,} of {len(located):,} faults, {pairs / len(chosen):.0f} expert takes each"
    ) as scale:
        signatures = dict.fromkeys(splits, "synthetic")
        shards = args.work / "alignments"
        alignments = list(align_faults(chosen, praise, archive, signatures, options, shards, args.workers))
        scale(len(located) / len(chosen))
    # Every fault gets the experts of a fault that was aligned, so that as many tuples are written as there would be.
    with stages.time("write", f"tuples of {len(located):,} faults, gallery, report"):
        by_id = {item.remark.remark_id: item for item in labelled}
        tuples: list[CoachingTuple] = []
        for index, fault in enumerate(located):
            _, matches, considered = alignments[index % len(alignments)]
            tuples += make_tuples(fault, matches, considered, by_id, source, options)
        gallery = gallery_clips(labelled, source.takes, splits, archive, options, "test", Funnel("gallery", 1.0))
        by_split = {split: [t for t in tuples if t.split == split] for split in SPLITS}
        request = {"source": str(root), "labeller": "rules", "pairing": {}}
        finish_folder(args.work, request, by_split, gallery, source.funnels, True)
    print(f"{len(tuples):,} tuples written")

    peak = memory.gib
    print(f"\n{'stage':<20}{'measured s':>12}{'full size s':>13}  {args.workers} workers")
    for name, what, seconds, full in stages.rows:
        print(f"{name:<20}{seconds:>12.1f}{full:>13.0f}  {what}")
    total = sum(full for *_, full in stages.rows)
    print(f"{'all':<20}{'':>12}{total:>13.0f}\npeak memory {peak:.2f} GiB ({args.workers} workers)")
    finish("data_scale", {
        "ratio": round(LIMIT_GIB / peak, 2), "peak_gib": round(peak, 2), "workers": args.workers, "remarks": counts["remarks"],
        "takes": TAKES, "pose_frames": frames, "seconds_full_size": {name: round(full) for name, _, _, full in stages.rows},
        "hours_full_size": round(total / 3600, 2),
    }, args.save)  # fmt: skip


if __name__ == "__main__":
    main()
