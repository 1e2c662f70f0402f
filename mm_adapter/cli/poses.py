"""`mm-coach poses`: motion of any kind as poses, and poses as files and drawings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from mm_data.poses.manifest import PoseManifest

app = App(name="poses", help="Bring motion of any kind in as poses, and poses out.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MotionFlags:
    """What foreign motion does not say about itself."""

    unit: Literal["m", "cm", "mm", "inch", "cmu"] | None = None
    """Unit of lengths, by default m; cmu is that of CMU's BVH files, 5.644 cm."""

    scale: float | None = None
    """Metres per unit, for a unit without a name."""

    up: Literal["z", "y", "y-down"] | None = None
    """Axis that points up; by default the format's convention."""

    fps: float | None = None
    """Frame rate of arrays; by default the format's convention."""

    joint_map: Path | None = None
    """YAML of COCO joint: the file's joint or marker, for BVH, TRC and C3D with unusual names."""

    person: str | None = None
    """Regular expression; its first group in a file's path is the performer."""

    people: Path | None = None
    """Table (.csv or .jsonl) of file and person."""

    split_by: Literal["person", "sequence"] | None = None
    """What stays on one side of the split; sequence for motion of one person."""

    test_share: float | None = None
    """Share of the performers kept for testing; by default 0.1."""


_MOTION = MotionFlags()


@app.command(name="import")
def import_motion(source: Path, out: Path, *, format: str, motion: MotionFlags = _MOTION, workers: int = 2) -> None:
    """Turn BVH, TRC, C3D, joint arrays or a data set into a folder of COCO-17 poses.

    Args:
        source: File or folder of motion, or a data set.
        out: Pose folder.
        format: bvh, trc, c3d, coco17, wholebody, humanml3d, smpl, mediapipe, or dataset (what `data build` reads).
        motion: What foreign motion does not say about itself.
        workers: Number of processes that read a data set.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_data.folders import import_dataset
    from mm_data.ground.files import check_apart, claim_folder
    from mm_data.poses import pose_folder
    from mm_data.poses.people import read_people

    check_apart(out, source, motion.joint_map)
    claim_folder(out, {"made_by": "mm-coach poses import"})
    settings: dict[str, Any] = {name: value for name, value in vars(motion).items() if value is not None}
    if format == "dataset":
        if settings:
            raise ValueError(f"A data set says its own unit, axes, rate and people; leave out {', '.join(settings)}.")
        manifest = import_dataset(source, out, ConsoleReport(), workers)
    else:
        if motion.joint_map:
            settings["joint_map"] = _read_joint_map(motion.joint_map)
        if motion.people:
            settings["people"] = read_people(motion.people)
        options = pose_folder.ImportOptions(format, **settings)
        manifest = pose_folder.import_motion(source, out, options, ConsoleReport())
    _describe(manifest)
    sides = (f"{len(manifest.names(s))} {s} sequences of {manifest.frames(s)} frames" for s in ("train", "test"))
    print(f"{out}: {', '.join(sides)}")


def _describe(manifest: PoseManifest) -> None:
    """Prints what was left out, what was irregular and whose motion it is."""
    from mm_data.poses.people import describe_people

    for stage in manifest.funnel:
        for reason, count in stage["dropped"].items():
            print(f"left out {count}: {reason} (such as {stage['examples'][reason][0]})")
        for what, count in stage["noted"].items():
            print(f"{count:,} {what} (such as in {stage['examples'][what][0]})")
    for line in describe_people(manifest):
        print(line)


def _read_joint_map(path: Path) -> Any:
    import yaml

    from mm_data.ground.files import read_text

    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({error}).") from error


@app.command
def find(
    source: Path,
    out: Path,
    *,
    pose_model: Path,
    person: str | None = None,
    people: Path | None = None,
    workers: int = 1,
    max_bad: float = 0.1,
) -> None:
    """Find the poses of people in videos (MediaPipe), with a page of drawings to look at; resumes at the video.

    Args:
        source: Folder of videos, of one's own takes and remarks, or of items (whose clips alone are looked at); or one video.
        out: Pose folder, for `task read --poses` and `train pose_tokenizer --poses`.
        pose_model: File pose_landmarker_*.task.
        person: Regular expression; its first group in a video's path is who moves in it.
        people: Table (.csv or .jsonl) of file and person.
        workers: Number of processes.
        max_bad: Share of the clips in which nobody may be found.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.cli.quiet import held_back
    from mm_data.estimation.folder import find_poses_of_videos
    from mm_data.folders import read_videos
    from mm_data.ground.files import check_apart
    from mm_data.poses.people import read_people

    check_apart(out, source, pose_model, people)
    if workers < 1:
        raise ValueError(f"--workers is {workers}; it has to be at least 1.")
    videos = read_videos(source, person, read_people(people) if people else None)
    with held_back():
        manifest, statuses = find_poses_of_videos(videos, source, pose_model, out, ConsoleReport(), workers, max_bad)
    _describe(manifest)
    print(f"{out}: poses of {len(manifest.sequences)} of {len(statuses)} videos; look at {out / 'index.html'}")


@app.command
def export(
    source: Path,
    out: Path,
    *,
    tokenizer: Path | None = None,
    item: str | None = None,
    against: Path | None = None,
    fps: float = 4.0,
) -> None:
    """Write joints, codes or pose tokens as .npy, .bvh or a drawing (.png, .gif, .mp4).

    Args:
        source: .npy of joints, .npz or .jsonl of codes, or .txt of pose tokens.
        out: File whose ending says what is written.
        tokenizer: Tokenizer of the codes; a coach and an export have it in pose_tokenizer/.
        item: Which tuple of a .jsonl; by default the first.
        against: Another source that is drawn below it, such as the learner's poses.
        fps: Frames per second of what is written.
    """
    import numpy as np

    from mm_adapter.features.pose_codes import read_joints
    from mm_data.ground.files import check_apart
    from mm_data.poses.bvh_writer import write_bvh
    from mm_data.poses.drawing import ENDINGS, LEARNER, SHOWN, draw
    from mm_tokenizers import load_tokenizer

    check_apart(out, source, against, tokenizer)
    decoder = load_tokenizer(tokenizer) if tokenizer else None
    if item is not None and source.suffix != ".jsonl":
        raise ValueError(f"--item chooses from a .jsonl; {source} holds one sequence.")
    if against is not None and out.suffix not in ENDINGS:
        raise ValueError(f"--against is for drawings ({', '.join(ENDINGS)}), not for {out.suffix}.")
    joints = read_joints(source, decoder, item)
    if out.suffix == ".npy":
        np.save(out, joints)
    elif out.suffix == ".bvh":
        write_bvh(out, joints, fps)
    elif out.suffix in ENDINGS:
        motions = {"shown": (joints, SHOWN)}
        if against:
            motions = {"learner": (read_joints(against, decoder, item), LEARNER), **motions}
        draw(out, motions, fps)
    else:
        raise ValueError(f"{out}: give a file that ends in .npy, .bvh, {', '.join(ENDINGS)}.")
    print(f"{out}: {len(joints)} frames")
