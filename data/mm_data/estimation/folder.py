"""A folder of the poses that were found in videos; resumed at the video.

::

    FOLDER/begun.json           source and pose model, from the start
    FOLDER/poses/<name>.npy     [T, 17, 4] float32 at 30 fps from the video's beginning, as `mm_data.poses.pose_folder` has them
    FOLDER/status/<name>.json   what was found in the video's clips, and which file of what size it was; written behind the poses
    FOLDER/samples/<name>.jpg   frames with what was found drawn over them
    FOLDER/index.html           all samples on one page
    FOLDER/poses.json           the manifest, written last
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mm_data.estimation.find import FoundPoses, find_poses
from mm_data.estimation.page import draw_samples, write_page
from mm_data.estimation.status import VideoStatus
from mm_data.ground.digests import sha256_of
from mm_data.ground.files import claim_folder, replacing, write_atomically
from mm_data.ground.funnel import Funnel
from mm_data.ground.parallel import parallel_map
from mm_data.ground.progress import Report
from mm_data.poses.archive import PoseArchive
from mm_data.poses.manifest import MANIFEST, PoseManifest, PoseSequence
from mm_data.poses.people import choose_test_people, people_on_sides
from mm_data.poses.skeleton import absent_poses
from mm_data.records import FPS, SearchedVideo
from mm_data.videos.frames import VideoError, read_duration

TEST_SHARE = 0.1
"""Share of the people who are kept for testing, where a pose tokenizer is trained on what was found."""
_STATUS, _SAMPLES = "status", "samples"
_SHOWN = 4  # frames of a clip on the page


def find_poses_of_videos(
    videos: Sequence[SearchedVideo],
    source: Path,
    model: Path,
    out: Path,
    report: Report,
    workers: int = 1,
    max_bad: float = 0.1,
) -> tuple[PoseManifest, list[VideoStatus]]:
    """Finds poses in videos; what an earlier run found in the same files stays.

    Args:
        videos: The videos.
        source: Where they were listed, for the manifest.
        model: Pose landmarker bundle (``pose_landmarker_*.task``).
        out: Folder of poses.
        report: Receives progress.
        workers: Number of processes.
        max_bad: Share of the clips in which nobody may be found.

    Returns:
        The manifest, and what was found in every video.

    Raises:
        FileNotFoundError: No such model.
        ModuleNotFoundError: MediaPipe is not installed.
        ValueError: There is no video, the folder was begun with another source or model, or poses of too many clips are lacking.
    """
    if not model.is_file():
        raise FileNotFoundError(f"Pose model {model} does not exist; give a pose_landmarker_*.task file.")
    if not videos:
        raise ValueError(f"{source} lists no video.")
    identity = {"made_by": "mm-coach poses find", "source": str(source.resolve()), "model": sha256_of(model)}
    claim_folder(out, identity)
    for folder in (PoseArchive(out).folder, out / _STATUS, out / _SAMPLES):
        folder.mkdir(exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    statuses: list[VideoStatus] = []
    with report.progress("looking for people", len(videos)) as progress:
        for status in parallel_map(partial(_find, out=out, model=model), videos, workers):
            statuses.append(status)
            progress(len(statuses))
    write_page(out, statuses, model.name)
    funnel = _count(statuses, max_bad)
    funnel.check()
    manifest = _manifest(videos, statuses, out, {**identity, "format": "mediapipe"}, funnel)
    manifest.write(out)
    return manifest, statuses


def _find(video: SearchedVideo, out: Path, model: Path) -> VideoStatus:
    """Finds the poses of one video, in a process of its own, unless that was done before."""
    fresh, path = VideoStatus.of(video), out / _STATUS / f"{video.name}.json"
    if path.is_file() and (known := VideoStatus(**json.loads(path.read_text()))).is_about(fresh):
        return known
    problems: dict[str, str] = {}
    found: dict[float, FoundPoses] = {}
    try:
        stretches = video.stretches or ((0.0, read_duration(video.path)),)
    except (FileNotFoundError, VideoError) as error:
        stretches, problems["0"] = (), str(error)
    for start, stop in stretches:
        sampled = np.linspace(0, max(round((stop - start) * FPS) - 1, 0), _SHOWN).astype(int).tolist()
        try:
            found[start] = find_poses(video.path, model, start, stop, sampled=sampled)
        except (FileNotFoundError, ValueError) as error:
            problems[f"{start:g}"] = str(error)
    archive, samples = PoseArchive(out), out / _SAMPLES / f"{video.name}.jpg"
    if found:
        with replacing(archive.path(video.name)) as partial_file, partial_file.open("wb") as file:
            np.save(file, _joined(found).astype(np.float32))
        draw_samples(samples, next(iter(found.values())).samples)
    else:
        archive.path(video.name).unlink(missing_ok=True)
        samples.unlink(missing_ok=True)
    lost: Counter[str] = sum((one.lost for one in found.values()), Counter())
    status = VideoStatus(
        **{name: getattr(fresh, name) for name in ("name", "video", "bytes", "modified", "stretches")},
        frames=sum(len(one.poses) for one in found.values()),
        seen=sum(one.seen for one in found.values()),
        crowded=sum(one.crowded for one in found.values()),
        lost=dict(lost),
        problems=problems,
    )
    write_atomically(path, json.dumps(asdict(status), indent=1))
    return status


def _joined(found: Mapping[float, FoundPoses]) -> np.ndarray:
    """Poses ``[T, 17, 4]`` from the video's beginning to the end of the last stretch; absent where nobody looked."""
    starts = {round(start * FPS): one.poses for start, one in found.items()}
    poses = absent_poses(max(start + len(stretch) for start, stretch in starts.items()))
    for start, stretch in starts.items():
        poses[start : start + len(stretch)] = stretch
    return poses


def _count(statuses: Sequence[VideoStatus], max_bad: float) -> Funnel:
    """Counts stretches with and without poses, and what was irregular."""
    funnel = Funnel("find poses", max_bad)
    for status in statuses:
        funnel.keep(max(len(status.stretches), 1) - len(status.problems))
        for start, problem in status.problems.items():
            funnel.drop("clips without poses", f"{status.name} from {start} s: {problem}")
        funnel.note("frames without a person", status.name, status.frames - status.seen)
        funnel.note("frames with several people", status.name, status.crowded)
        for what, count in status.lost.items():
            funnel.note(what, status.name, count)
    return funnel


def _manifest(
    videos: Sequence[SearchedVideo],
    statuses: Sequence[VideoStatus],
    out: Path,
    request: dict[str, Any],
    funnel: Funnel,
) -> PoseManifest:
    archive = PoseArchive(out)
    with_poses = {status.name for status in statuses if status.frames}
    people = {video.name: (video.person, video.known_by) for video in videos if video.name in with_poses}
    test = choose_test_people({person for person, _ in people.values()}, TEST_SHARE)
    splits = {name: "test" if person in test else "train" for name, (person, _) in people.items()}
    return PoseManifest(
        synthetic=False,
        sequences=[PoseSequence(name, split, archive.frames(name)) for name, split in splits.items()],
        request=request,
        funnel=[funnel.summary()],
        people=people_on_sides(people, splits, "person where there are several"),
    )
