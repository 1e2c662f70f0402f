"""What `mm-coach chat` talks with: a coach that is loaded here, or one behind `mm-coach serve`."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from mm_adapter.cli.console import stage_progress
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.inference.chat import ChatSession
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.experts import ExpertSearch
from mm_adapter.inference.sampling import Sampling
from mm_data.videos.cut import cut_video

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversation:
    """A session and what showing takes, wherever the coach is.

    Attributes:
        session: The conversation.
        joints: The learner's canonical poses ``[T, 17, 4]``, or None where nobody looked at them.
        decode: Codes to joints.
        prepare_experts: Does what the first search for experts would wait for, and reports (done, total).
        save_expert: Writes an expert's clip.
        can_demonstrate: Whether the coach learned to.
    """

    session: ChatSession
    joints: np.ndarray | None
    decode: Callable[[np.ndarray], np.ndarray]
    prepare_experts: Callable[[Progress], None]
    save_expert: Callable[[str, Path], None]
    can_demonstrate: bool


def at_server(args: argparse.Namespace, console: Console) -> Conversation:
    """A conversation with a server's coach.

    Raises:
        ConnectionError: The server does not answer.
        ValueError: A flag is the server's own, or the server refuses the clip.
    """
    from mm_adapter.serving.client import KEY, CoachClient  # the `serve` extra

    own = (
        "base_model",
        "pose_model",
        "encoder",
        "weights",
        "frames",
        "image_size",
        "gallery",
        "codes",
        "features",
        "activity",
    )
    if given := [f"--{name.replace('_', '-')}" for name in own if getattr(args, name) is not None]:
        raise ValueError(f"{', '.join(given)}: the server has its own; give them to `mm-coach serve`.")
    remote = CoachClient(args.coach, os.environ.get(KEY, ""))
    clip = remote.upload(_videos(args), args.pose, args.start, args.stop)
    for note in clip["notes"]:
        console.print(note, style="yellow", highlight=False)
    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.seed)
    experts = remote if remote.about["experts"] else None
    session = ChatSession(remote, remote.poses, experts, sampling, clip["id"])
    joints = None
    if clip["joints"] is not None:
        points = [[[*(p or (np.nan,) * 3), p is not None] for p in pose] for pose in clip["joints"]]
        joints = np.array(points, float)
    return Conversation(
        session, joints, remote.joints, lambda progress: None, remote.save_expert, remote.about["can_demonstrate"]
    )


def _videos(args: argparse.Namespace) -> dict[str, Path]:
    videos = {view: path for view, path in (("ego", args.ego), ("exo", args.exo)) if path is not None}
    if not videos:
        raise ValueError("Give the learner's video: --exo FILE, --ego FILE or both.")
    return videos


def here(args: argparse.Namespace, console: Console) -> Conversation:
    """A conversation with a coach that is loaded here.

    Args:
        args: Of the command.
        console: Where notes are printed.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The coach, the clip, its poses or the gallery do not fit each other.
        VideoError: A video cannot be read.
    """
    encoder = args.encoder or "tiny"
    options = {"random_weights": args.random_weights}
    coach = Coach.from_pretrained(
        args.coach,
        base_model=args.base_model,
        encoder=build_encoder(encoder, args.weights, args.frames, args.image_size, **options),
        gallery=args.gallery,
        activity=args.activity,
        codes=args.codes,
        features=args.features,
    )
    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.seed)
    with stage_progress(quiet=args.pose_model is None) as progress:
        clip = coach.clip(
            args.exo, args.ego, args.pose, args.start, args.stop, args.pose_model, sampling,
            lambda done, total: progress("finding poses", done, total),
        )  # fmt: skip
    for note in clip.inputs.notes:
        console.print(note, style="yellow", highlight=False)
    prepare_experts, save_expert = lambda progress: None, _nobody
    if (gallery := coach.gallery) is not None and isinstance(clip.session.experts, ExpertSearch):
        prepare_experts = clip.session.experts.prepare

        def save_expert(clip_id: str, out: Path) -> None:
            cut_video(*gallery.stretch(clip_id), out)

    return Conversation(
        clip.session, clip.inputs.joints, coach.decode, prepare_experts, save_expert, coach.can_demonstrate
    )


def _nobody(clip_id: str, out: Path) -> None:
    raise FileNotFoundError(f"There is no gallery to find {clip_id} in.")
