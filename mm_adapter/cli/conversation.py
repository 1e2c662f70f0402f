"""What `mm-coach chat` talks with: a coach that is loaded here, or one behind `mm-coach serve`."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli.chat import ClipFlags
from mm_adapter.cli.console import ConsoleReport
from mm_adapter.cli.flags import EncoderFlags, GalleryFlags, SamplingFlags
from mm_adapter.distributed import native_dtype
from mm_adapter.evaluation.predictions import Progress
from mm_adapter.evaluation.test_set import can_demonstrate
from mm_adapter.features.extract import as_trained_on
from mm_adapter.inference.chat import ChatSession
from mm_adapter.inference.coach import Coach, decode_codes
from mm_adapter.inference.experts import ExpertGallery, ExpertSearch
from mm_adapter.inference.own_clip import Stretch, learner_codes, learner_features
from mm_adapter.inference.pose_estimator import estimate_poses
from mm_adapter.inference.ranking import rank_by_demonstration
from mm_adapter.samples.clip_stores import LEARNER, JoinedFeatures, JoinedPoses
from mm_data.features import FeatureStore
from mm_data.poses.checks import describe
from mm_data.records import FPS
from mm_data.release.read import load_clip_poses
from mm_data.videos.cut import cut_video
from mm_tokenizers.codes import PoseCodeStore


@dataclass(frozen=True)
class Conversation:
    """A session and what showing takes, wherever the coach is.

    Attributes:
        session: The conversation.
        joints: The learner's canonical poses ``[T, 17, 4]``, or None where nobody looked at them.
        decode: Turns codes ``[T, M]`` into joints ``[T, 17, 3]``.
        prepare_experts: Does what the first search for experts would wait for.
        save_expert: Writes an expert's clip.
        can_demonstrate: Whether the coach learned to demonstrate.
    """

    session: ChatSession
    joints: np.ndarray | None
    decode: Callable[[np.ndarray], np.ndarray]
    prepare_experts: Callable[[Progress], None]
    save_expert: Callable[[str, Path], None]
    can_demonstrate: bool


def at_server(
    address: str, clip: ClipFlags, of_server: Mapping[str, Any], sampling: SamplingFlags, console: Console
) -> Conversation:
    """Begins a conversation with a server's coach; ``of_server`` are flags that the server has for itself, by name."""
    from mm_adapter.serving.client import KEY, CoachClient  # the `serve` extra

    flags = {**of_server, "pose_model": clip.pose_model}
    if names := [f"--{name.replace('_', '-')}" for name, value in flags.items() if value not in (None, False)]:
        raise ValueError(f"{', '.join(names)}: the server has its own; give them to `mm-coach serve`.")
    remote = CoachClient(address, os.environ.get(KEY, ""))
    uploaded = remote.upload(clip.videos(), clip.pose, clip.start, clip.stop)
    for note in uploaded["notes"]:
        console.print(note, style="yellow", highlight=False)
    experts = remote if remote.about["experts"] else None
    session = ChatSession(remote, remote.poses, experts, sampling.sampling(), uploaded["id"])
    joints = None
    if uploaded["joints"] is not None:
        points = [[[*(p or (np.nan,) * 3), p is not None] for p in pose] for pose in uploaded["joints"]]
        joints = np.array(points, float)
    can_show = remote.about["can_demonstrate"]
    return Conversation(session, joints, remote.joints, lambda progress: None, remote.save_expert, can_show)


def here(
    folder: str,
    base_model: str | None,
    clip: ClipFlags,
    encoder_flags: EncoderFlags,
    gallery: GalleryFlags,
    sampling: SamplingFlags,
    scratch: Path,
    console: Console,
) -> Conversation:
    """Begins a conversation with a coach that is loaded here; ``scratch`` is an empty folder, notes go to the console."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    saved = SavedCoach.from_pretrained(folder, device, native_dtype(device), base_model=base_model)
    config = saved.model.config
    if config.pose_form == "text":
        raise ValueError(f"{folder} writes poses as text; chat needs a coach with pose tokens.")
    stretch = Stretch.of(clip.videos(), clip.start, clip.stop)
    if config.video_tokens:
        stretch, lacking = stretch.with_views(config.views)
        if lacking:
            note = f"No {' and '.join(lacking)} video: the other one stands in for it."
            console.print(note, style="yellow")
    learner, joints = {}, None
    if (raw := _poses(clip, stretch, console, needed=config.pose_form != "none")) is not None:
        learner[LEARNER], joints = learner_codes(raw, saved.pose_tokenizer, config.pose_frames)
    codes = PoseCodeStore.load(gallery.codes) if gallery.codes else None
    if codes and codes.tokenizer_fingerprint != config.pose_tokenizer:
        raise ValueError(f"{gallery.codes} was made with another pose tokenizer than the coach's.")
    features = None
    if config.video_tokens and (built := encoder_flags.build("tiny")) is not None:
        encoder, name = built
        encoder = as_trained_on(encoder, name, config).to(device)
        of_clip = learner_features(stretch, encoder, name, config, scratch / "features")
        features = JoinedFeatures(of_clip, FeatureStore(gallery.features) if gallery.features else None)
    poses = JoinedPoses(codes, learner)
    coach = Coach(saved.model, saved.processor, poses, features)
    search, prepare_experts, save_expert = None, lambda progress: None, _no_gallery
    if gallery.gallery:
        store = features.gallery if features else None
        experts = ExpertGallery.open(gallery.gallery, codes, store, gallery.activity, config.video_tokens > 0)
        search = ExpertSearch(experts, partial(rank_by_demonstration, coach))
        prepare_experts, save_expert = partial(_prepare, search), partial(_cut, experts)
    session = ChatSession(coach, poses, search, sampling.sampling())
    decode = partial(decode_codes, saved.pose_tokenizer)
    return Conversation(session, joints, decode, prepare_experts, save_expert, can_demonstrate(saved))


def _prepare(search: ExpertSearch, progress: Progress) -> None:
    search.prepare(partial(progress, "how likely each expert is anyway"))


def _cut(experts: ExpertGallery, clip_id: str, out: Path) -> None:
    cut_video(*experts.stretch(clip_id), out)


def _no_gallery(clip_id: str, out: Path) -> None:
    raise FileNotFoundError(f"There is no gallery to find {clip_id} in.")


def _poses(clip: ClipFlags, stretch: Stretch, console: Console, needed: bool) -> np.ndarray | None:
    """Raw poses ``[n, 17, 4]`` of the stretch; None where the coach needs none and no flag names any."""
    if clip.pose is not None:
        notes: Counter[str] = Counter()
        poses = load_clip_poses(clip.pose, notes)
        for sentence in describe(notes):
            console.print(f"{sentence}.", style="yellow")
        return stretch.poses_of(poses, str(clip.pose))
    if clip.pose_model is None and not needed:
        return None
    if clip.pose_model is None:
        model = "a model that finds them (--pose-model pose_landmarker_full.task)"
        raise ValueError(f"Give the learner's poses (--pose FILE), or {model}.")
    video = stretch.filmed_from_outside
    with ConsoleReport().progress("finding poses", round((stretch.stop - stretch.start) * FPS)) as progress:
        poses = estimate_poses(video, clip.pose_model, stretch.start, stretch.stop, lambda done, total: progress(done))
    seen = int((poses[..., 3] > 0).any(1).sum())
    console.print(f"found a person in {seen} of {len(poses)} frames")
    return poses
