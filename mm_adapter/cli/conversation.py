"""What `mm-coach chat` talks with: a coach that is loaded here, or one behind `mm-coach serve`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mm_adapter.cli.chat import ClipFlags
from mm_adapter.cli.console import stage_progress
from mm_adapter.cli.flags import EncoderFlags, GalleryFlags, SamplingFlags
from mm_adapter.inference.chat import ChatSession
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.experts import ExpertGallery, ExpertSearch
from mm_data.ground.progress import Progress
from mm_data.videos.cut import cut_video


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
    encoder: EncoderFlags,
    gallery: GalleryFlags,
    sampling: SamplingFlags,
    console: Console,
) -> Conversation:
    """Begins a conversation with a coach that is loaded here; notes go to the console."""
    experts = {"activity": gallery.activity, "codes": gallery.codes, "features": gallery.features}
    coach = Coach.from_pretrained(
        folder, base_model=base_model, encoder=encoder.build(), gallery=gallery.gallery, **experts
    )
    with stage_progress(quiet=clip.pose_model is None) as progress:
        talk = coach.clip(
            clip.exo,
            clip.ego,
            clip.pose,
            clip.start,
            clip.stop,
            clip.pose_model,
            sampling.sampling(),
            partial(progress, "finding poses"),
        )
    for note in talk.inputs.notes:
        console.print(note, style="yellow", highlight=False)
    prepare_experts, save_expert = lambda progress: None, _no_gallery
    if coach.gallery is not None and isinstance(talk.session.experts, ExpertSearch):
        prepare_experts = partial(_prepare, talk.session.experts)
        save_expert = partial(_cut, coach.gallery)
    joints, decode = talk.inputs.joints, coach.decode
    return Conversation(talk.session, joints, decode, prepare_experts, save_expert, coach.can_demonstrate)


def _prepare(search: ExpertSearch, progress: Progress) -> None:
    search.prepare(partial(progress, "how likely each expert is anyway"))


def _cut(experts: ExpertGallery, clip_id: str, out: Path) -> None:
    cut_video(*experts.stretch(clip_id), out)


def _no_gallery(clip_id: str, out: Path) -> None:
    raise FileNotFoundError(f"There is no gallery to find {clip_id} in.")
