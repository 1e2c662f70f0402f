"""`mm-coach chat`: a conversation about one's own clip in the terminal."""

import argparse
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console

from mm_adapter.base_models import native_dtype
from mm_adapter.chat.estimator import estimate_poses
from mm_adapter.chat.learner import LEARNER, JoinedFeatures, JoinedPoses, Stretch, learner_codes, learner_features
from mm_adapter.chat.session import ChatSession, Demonstration, Experts
from mm_adapter.checkpoint import PretrainedCoach
from mm_adapter.cli.console import ConsoleReport
from mm_adapter.cli.test_set import can_demonstrate
from mm_adapter.dataset import without_rejected
from mm_adapter.export import as_trained_on
from mm_adapter.inference.generation import Coach
from mm_adapter.inference.predict import decode_codes
from mm_adapter.inference.retrieval import Gallery
from mm_adapter.inference.sampling import Sampling
from mm_adapter.internvideo2 import build_encoder
from mm_data.expertaf_task import ASK_COMMENTARY
from mm_data.features import FeatureStore
from mm_data.motion.bvh_writer import write_bvh
from mm_data.motion.drawing import LEARNER as LEARNER_COLOUR
from mm_data.motion.drawing import SHOWN, draw
from mm_data.records import FPS, Clip
from mm_data.sources import load_pose_file
from mm_data.tuple_store import clips_of, read_gallery, read_tuples
from mm_tokenizers.codes import PoseCodeStore


def run_chat(args: argparse.Namespace) -> None:
    """Prepares the clip and talks about it until the last question, or the end of the input."""
    console = Console()
    with TemporaryDirectory() as scratch, _opened(args, Path(scratch), console) as (session, joints, coach, experts):
        for question in _questions(args, console):
            if session.wants_to_see(question):
                if can_demonstrate(coach):
                    _show(console, session.show(), joints, coach, experts, args.save)
                else:
                    console.print("[yellow]This coach was trained to comment alone; it cannot show anything.[/yellow]")
                continue
            console.print("[bold]coach[/bold] ", end="")
            for piece in session.ask(question):
                console.print(piece, end="", highlight=False, markup=False)
            console.print()


@contextmanager
def _opened(
    args: argparse.Namespace, scratch: Path, console: Console
) -> Iterator[tuple[ChatSession, np.ndarray, PretrainedCoach, dict[str, Clip]]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = PretrainedCoach.from_pretrained(args.coach, device, native_dtype(device))
    config = opened.model.config
    if config.pose_form == "text":
        raise ValueError(f"{args.coach} writes poses as text; chat needs a coach with pose tokens.")
    videos = {view: path for view, path in (("ego", args.ego), ("exo", args.exo)) if path is not None}
    if not videos:
        raise ValueError("Give the learner's video: --exo FILE, --ego FILE or both.")
    stretch = Stretch.of(videos, args.start, args.stop)
    if config.video_tokens and (lacking := [view for view in config.views if view not in videos]):
        other = next(iter(videos))
        console.print(f"[yellow]No {' and '.join(lacking)} video: the {other} video stands in for it.[/yellow]")
        stretch = Stretch({view: videos.get(view, videos[other]) for view in config.views}, stretch.start, stretch.stop)
    codes, joints = learner_codes(_poses(args, stretch, console), opened.pose_tokenizer, config.pose_frames)
    gallery_codes = PoseCodeStore.load(args.codes) if args.codes else None
    if gallery_codes and gallery_codes.tokenizer_fingerprint != config.pose_tokenizer:
        raise ValueError(f"{args.codes} was made with another pose tokenizer than the coach's.")
    features = None
    if config.video_tokens:
        encoder, name = build_encoder(args.encoder, args.weights, args.frames, args.image_size)
        encoder = as_trained_on(encoder, name, config).to(device)
        mine = learner_features(stretch, encoder, name, config, scratch / "features")
        features = JoinedFeatures(mine, FeatureStore(args.features) if args.features else None)
    poses = JoinedPoses(gallery_codes, {LEARNER: codes})
    experts, clips = _experts(args, poses, features) if args.gallery else (None, {})
    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.seed)
    yield (
        ChatSession(Coach(opened.model, opened.processor, poses, features), poses, experts, sampling),
        joints,
        opened,
        clips,
    )


def _poses(args: argparse.Namespace, stretch: Stretch, console: Console) -> np.ndarray:
    """Raw poses ``[n, 17, 4]`` of the stretch."""
    if args.pose is not None:
        poses = load_pose_file(args.pose)
        wanted = round((stretch.stop - stretch.start) * FPS)
        first = round(stretch.start * FPS) if len(poses) > wanted + 1 else 0
        if len(poses) < first + wanted - 1:
            raise ValueError(
                f"{args.pose} has {len(poses)} frames at {FPS} fps; the clip from {stretch.start:.2f} to {stretch.stop:.2f} s needs {first + wanted}."
            )
        return poses[first : first + wanted]
    if args.pose_model is None:
        raise ValueError(
            "Give the learner's poses (--pose FILE), or a model that finds them (--pose-model pose_landmarker_full.task)."
        )
    video = stretch.videos.get("exo") or next(iter(stretch.videos.values()))
    with ConsoleReport().progress("finding poses", round((stretch.stop - stretch.start) * FPS)) as progress:
        poses = estimate_poses(video, args.pose_model, stretch.start, stretch.stop, lambda done, total: progress(done))
    found = int((poses[..., 3] > 0).any(1).sum())
    console.print(f"found a person in {found} of {len(poses)} frames")
    return poses


def _experts(
    args: argparse.Namespace, poses: JoinedPoses, features: JoinedFeatures | None
) -> tuple[Experts, dict[str, Clip]]:
    """Experts of a tuple folder, and its clips. Everything is checked here, before anybody has asked a question."""
    if args.codes is None or (features is not None and features.gallery is None):
        lacking = "--codes" if args.codes is None else "--features"
        raise ValueError(f"--gallery needs the {lacking} of its tuples.")
    store = features.gallery if features else None
    test, _ = without_rejected(read_tuples(args.gallery, "test"), store)
    training, _ = without_rejected(read_tuples(args.gallery, "train"), store)
    rejected = store.manifest.rejected if store else {}
    known = {t.activity for t in training}  # priors need training prompts of the same activity
    further = [
        (clip, name) for clip, name in read_gallery(args.gallery) if clip.clip_id not in rejected and name in known
    ]
    gallery = Gallery.of([t for t in test if t.activity in known], further, within_activity=True)
    if args.activity is not None and args.activity not in gallery.activity.values():
        names = ", ".join(sorted(set(gallery.activity.values())))
        raise ValueError(f"No expert of {args.activity!r} in {args.gallery}; there are {names}.")
    clips = clips_of(test + training) | {clip.clip_id: clip for clip, _ in further}
    for what, missing in (("codes", poses.missing(clips)), ("features", features.missing(clips) if features else [])):
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(clips)} clips of {args.gallery} have no {what}, such as {missing[0]}; give those of this folder."
            )
    return Experts(gallery, args.activity, training), clips


def _questions(args: argparse.Namespace, console: Console) -> Iterator[str]:
    if args.ask:
        for question in args.ask:
            console.print(f"[bold]you[/bold]   {question}", highlight=False)
            yield question
        return
    console.print(f"[dim]Empty line: the coach begins ({ASK_COMMENTARY}). 'show me' demonstrates. Ctrl-D ends.[/dim]")
    while True:
        try:
            yield console.input("[bold]you[/bold]   ").strip() or ASK_COMMENTARY
        except EOFError:
            return


def _show(
    console: Console,
    shown: Demonstration,
    joints: np.ndarray,
    coach: PretrainedCoach,
    clips: dict[str, Clip],
    save: Path,
) -> None:
    save.mkdir(parents=True, exist_ok=True)
    number = next(n for n in itertools.count(1) if not (save / f"demonstration-{n}.png").exists())
    corrected = decode_codes(coach.pose_tokenizer, shown.codes)
    own = np.where(joints[..., 3:] > 0, joints[..., :3], np.nan)
    motions = {"learner": (own, LEARNER_COLOUR), "shown": (corrected, SHOWN)}
    stem = save / f"demonstration-{number}"
    for ending in (".png", ".mp4"):
        draw(stem.with_suffix(ending), motions, fps=4)
    np.save(stem.with_suffix(".npy"), corrected)
    write_bvh(stem.with_suffix(".bvh"), corrected, fps=4)
    console.print(f"[bold]coach[/bold] the corrected poses over yours: {stem}.png, .mp4, .npy, .bvh", soft_wrap=True)
    if not shown.ranking:
        return
    console.print("experts who do it so, most likely first (log-likelihood − prior):")
    for clip_id, score in shown.ranking[:3]:
        clip = clips[clip_id]
        times = f"{clip.start / FPS:.2f}–{clip.stop / FPS:.2f} s"
        console.print(f"  {clip.exo_video}, {times} ({score:.3f})", highlight=False, soft_wrap=True)
