"""`mm-coach chat`: a conversation about one's own clip in the terminal."""

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console

from mm_adapter.base_models import native_dtype
from mm_adapter.chat.estimator import estimate_poses
from mm_adapter.chat.experts import ExpertGallery, ExpertSearch
from mm_adapter.chat.learner import LEARNER, JoinedFeatures, JoinedPoses, Stretch, learner_codes, learner_features
from mm_adapter.chat.session import ChatSession
from mm_adapter.checkpoint import PretrainedCoach
from mm_adapter.cli.console import ConsoleReport
from mm_adapter.cli.test_set import can_demonstrate
from mm_adapter.export import as_trained_on
from mm_adapter.inference.generation import Coach
from mm_adapter.inference.predict import decode_codes
from mm_adapter.inference.retrieval import rank_by_demonstration
from mm_adapter.inference.sampling import Sampling
from mm_adapter.internvideo2 import build_encoder
from mm_data.expertaf_task import ASK_COMMENTARY
from mm_data.features import FeatureStore
from mm_data.motion.bvh_writer import write_bvh
from mm_data.motion.drawing import LEARNER as LEARNER_COLOUR
from mm_data.motion.drawing import SHOWN, draw
from mm_data.records import FPS
from mm_data.sources import load_pose_file
from mm_data.video import VideoError
from mm_data.video_cut import cut_video
from mm_tokenizers.codes import PoseCodeStore


@dataclass(frozen=True)
class Conversation:
    """A session and what showing takes, wherever the coach is.

    Attributes:
        session: The conversation.
        joints: The learner's canonical poses ``[T, 17, 4]``, or None where nobody looked at them.
        decode: Codes to joints.
        save_expert: Writes an expert's clip.
        can_demonstrate: Whether the coach learned to.
    """

    session: ChatSession
    joints: np.ndarray | None
    decode: Callable[[np.ndarray], np.ndarray]
    save_expert: Callable[[str, Path], None]
    can_demonstrate: bool


def run_chat(args: argparse.Namespace) -> None:
    """Prepares the clip and talks about it until the last question, or the end of the input."""
    console = Console()
    with ExitStack() as stack:
        if str(args.coach).startswith(("http://", "https://")):
            talk = _at_server(args, console)
        else:
            talk = _here(args, Path(stack.enter_context(TemporaryDirectory())), console)
        for question in _questions(args, console):
            if talk.session.wants_to_see(question):
                if talk.can_demonstrate:
                    _show(console, talk, args.save)
                else:
                    console.print("[yellow]This coach was trained to comment alone; it cannot show anything.[/yellow]")
                continue
            console.print("[bold]coach[/bold] ", end="")
            for piece in talk.session.ask(question):
                console.print(piece, end="", highlight=False, markup=False)
            console.print()


def _at_server(args: argparse.Namespace, console: Console) -> Conversation:
    from mm_adapter.chat.remote import KEY, RemoteCoach  # the `serve` extra

    own = ("pose_model", "encoder", "weights", "frames", "image_size", "gallery", "codes", "features", "activity")
    if given := [f"--{name.replace('_', '-')}" for name in own if getattr(args, name) is not None]:
        raise ValueError(f"{', '.join(given)}: the server has its own; give them to `mm-coach serve`.")
    remote = RemoteCoach(args.coach, os.environ.get(KEY, ""))
    clip = remote.upload(_videos(args), args.pose, args.start, args.stop)
    for note in clip["notes"]:
        console.print(f"[yellow]{note}[/yellow]", highlight=False)
    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.seed)
    experts = remote if remote.about["experts"] else None
    session = ChatSession(remote, remote.poses, experts, sampling, clip["id"])
    joints = None
    if clip["joints"] is not None:
        points = [[[*(p or (np.nan,) * 3), p is not None] for p in pose] for pose in clip["joints"]]
        joints = np.array(points, float)
    return Conversation(session, joints, remote.joints, remote.save_expert, remote.about["can_demonstrate"])


def _videos(args: argparse.Namespace) -> dict[str, Path]:
    videos = {view: path for view, path in (("ego", args.ego), ("exo", args.exo)) if path is not None}
    if not videos:
        raise ValueError("Give the learner's video: --exo FILE, --ego FILE or both.")
    return videos


def _here(args: argparse.Namespace, scratch: Path, console: Console) -> Conversation:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = PretrainedCoach.from_pretrained(args.coach, device, native_dtype(device))
    config = opened.model.config
    if config.pose_form == "text":
        raise ValueError(f"{args.coach} writes poses as text; chat needs a coach with pose tokens.")
    stretch = Stretch.of(_videos(args), args.start, args.stop)
    if config.video_tokens:
        stretch, lacking = stretch.with_views(config.views)
        if lacking:
            console.print(f"[yellow]No {' and '.join(lacking)} video: the other one stands in for it.[/yellow]")
    codes, joints = learner_codes(_poses(args, stretch, console), opened.pose_tokenizer, config.pose_frames)
    gallery_codes = PoseCodeStore.load(args.codes) if args.codes else None
    if gallery_codes and gallery_codes.tokenizer_fingerprint != config.pose_tokenizer:
        raise ValueError(f"{args.codes} was made with another pose tokenizer than the coach's.")
    features = None
    if config.video_tokens:
        encoder, name = build_encoder(
            args.encoder or "tiny", args.weights, args.frames, args.image_size, random_weights=args.random_weights
        )
        encoder = as_trained_on(encoder, name, config).to(device)
        mine = learner_features(stretch, encoder, name, config, scratch / "features")
        features = JoinedFeatures(mine, FeatureStore(args.features) if args.features else None)
    poses = JoinedPoses(gallery_codes, {LEARNER: codes})
    coach = Coach(opened.model, opened.processor, poses, features)
    search, save_expert = None, _nobody
    if args.gallery:
        store = features.gallery if features else None
        experts = ExpertGallery.open(args.gallery, gallery_codes, store, args.activity, config.video_tokens > 0)
        search = ExpertSearch(experts, partial(rank_by_demonstration, coach))

        def save_expert(clip_id: str, out: Path) -> None:
            cut_video(*experts.stretch(clip_id), out)

    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.seed)
    session = ChatSession(coach, poses, search, sampling)
    return Conversation(
        session, joints, partial(decode_codes, opened.pose_tokenizer), save_expert, can_demonstrate(opened)
    )


def _nobody(clip_id: str, out: Path) -> None:
    raise FileNotFoundError(f"There is no gallery to find {clip_id} in.")


def _poses(args: argparse.Namespace, stretch: Stretch, console: Console) -> np.ndarray:
    """Raw poses ``[n, 17, 4]`` of the stretch."""
    if args.pose is not None:
        return stretch.poses_of(load_pose_file(args.pose), str(args.pose))
    if args.pose_model is None:
        raise ValueError(
            "Give the learner's poses (--pose FILE), or a model that finds them (--pose-model pose_landmarker_full.task)."
        )
    video = stretch.filmed_from_outside
    with ConsoleReport().progress("finding poses", round((stretch.stop - stretch.start) * FPS)) as progress:
        poses = estimate_poses(video, args.pose_model, stretch.start, stretch.stop, lambda done, total: progress(done))
    found = int((poses[..., 3] > 0).any(1).sum())
    console.print(f"found a person in {found} of {len(poses)} frames")
    return poses


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


def _show(console: Console, talk: Conversation, save: Path) -> None:
    shown = talk.session.show()
    save.mkdir(parents=True, exist_ok=True)
    number = next(n for n in itertools.count(1) if not (save / f"demonstration-{n}.png").exists())
    corrected = talk.decode(shown.codes)
    motions = {"shown": (corrected, SHOWN)}
    if talk.joints is not None:
        own = np.where(talk.joints[..., 3:] > 0, talk.joints[..., :3], np.nan)
        motions = {"learner": (own, LEARNER_COLOUR), **motions}
    stem = save / f"demonstration-{number}"
    for ending in (".png", ".mp4"):
        draw(stem.with_suffix(ending), motions, fps=4)
    np.save(stem.with_suffix(".npy"), corrected)
    write_bvh(stem.with_suffix(".bvh"), corrected, fps=4)
    console.print(f"[bold]coach[/bold] the corrected poses over yours: {stem}.png, .mp4, .npy, .bvh", soft_wrap=True)
    if not shown.ranking:
        return
    console.print("experts who do it so, most likely first (log-likelihood − prior):")
    for place, (clip_id, score) in enumerate(shown.ranking[:3], start=1):
        out = save / f"demonstration-{number}-expert-{place}.mp4"
        try:
            talk.save_expert(clip_id, out)
        except (FileNotFoundError, VideoError) as error:
            console.print(f"  {clip_id} ({score:.3f}): {error}", highlight=False, soft_wrap=True)
        else:
            console.print(f"  {out} ({score:.3f}): {clip_id}", highlight=False, soft_wrap=True)
