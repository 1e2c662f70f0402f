"""What `mm-coach chat` talks with: a coach that is loaded here, or one behind `mm-coach serve`."""

import argparse
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli.console import ConsoleReport
from mm_adapter.distributed import native_dtype
from mm_adapter.evaluation.test_set import can_demonstrate
from mm_adapter.features.extract import as_trained_on
from mm_adapter.features.internvideo2 import build_encoder
from mm_adapter.inference.chat import ChatSession
from mm_adapter.inference.coach import Coach, decode_codes
from mm_adapter.inference.experts import ExpertGallery, ExpertSearch
from mm_adapter.inference.own_clip import Stretch, learner_codes, learner_features
from mm_adapter.inference.pose_estimator import estimate_poses
from mm_adapter.inference.ranking import rank_by_demonstration
from mm_adapter.inference.sampling import Sampling
from mm_adapter.samples.clip_stores import LEARNER, JoinedFeatures, JoinedPoses
from mm_data.features import FeatureStore
from mm_data.poses.checks import describe
from mm_data.records import FPS
from mm_data.release.read import load_clip_poses
from mm_data.videos.cut import cut_video
from mm_tokenizers.codes import PoseCodeStore

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


def here(args: argparse.Namespace, scratch: Path, console: Console) -> Conversation:
    """A conversation with a coach that is loaded here.

    Args:
        args: Of the command.
        scratch: Empty folder.
        console: Where notes are printed.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The coach, the clip, its poses or the gallery do not fit each other.
        VideoError: A video cannot be read.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = SavedCoach.from_pretrained(args.coach, device, native_dtype(device), base_model=args.base_model)
    config = opened.model.config
    if config.pose_form == "text":
        raise ValueError(f"{args.coach} writes poses as text; chat needs a coach with pose tokens.")
    stretch = Stretch.of(_videos(args), args.start, args.stop)
    if config.video_tokens:
        stretch, lacking = stretch.with_views(config.views)
        if lacking:
            note = f"No {' and '.join(lacking)} video: the other one stands in for it."
            console.print(note, style="yellow")
    own, joints = {}, None
    if (raw := _poses(args, stretch, console, needed=config.pose_form != "none")) is not None:
        own[LEARNER], joints = learner_codes(raw, opened.pose_tokenizer, config.pose_frames)
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
    poses = JoinedPoses(gallery_codes, own)
    coach = Coach(opened.model, opened.processor, poses, features)
    search, prepare_experts, save_expert = None, lambda progress: None, _nobody
    if args.gallery:
        store = features.gallery if features else None
        experts = ExpertGallery.open(args.gallery, gallery_codes, store, args.activity, config.video_tokens > 0)
        search = ExpertSearch(experts, partial(rank_by_demonstration, coach))
        prepare_experts = search.prepare

        def save_expert(clip_id: str, out: Path) -> None:
            cut_video(*experts.stretch(clip_id), out)

    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.seed)
    session = ChatSession(coach, poses, search, sampling)
    decode = partial(decode_codes, opened.pose_tokenizer)
    return Conversation(session, joints, decode, prepare_experts, save_expert, can_demonstrate(opened))


def _nobody(clip_id: str, out: Path) -> None:
    raise FileNotFoundError(f"There is no gallery to find {clip_id} in.")


def _poses(args: argparse.Namespace, stretch: Stretch, console: Console, needed: bool) -> np.ndarray | None:
    """Raw poses ``[n, 17, 4]`` of the stretch; None where the coach needs none and no flag names any."""
    if args.pose is not None:
        notes: Counter[str] = Counter()
        poses = load_clip_poses(args.pose, notes)
        for sentence in describe(notes):
            console.print(f"{sentence}.", style="yellow")
        return stretch.poses_of(poses, str(args.pose))
    if args.pose_model is None and not needed:
        return None
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
