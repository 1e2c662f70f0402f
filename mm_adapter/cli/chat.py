"""`mm-coach chat`: a conversation about one's own clip in the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.cli.flags import EncoderFlags, GalleryFlags, SamplingFlags
from mm_adapter.cli.quiet import held_back, without_warnings

if TYPE_CHECKING:
    from mm_adapter.cli.conversation import Conversation
    from mm_adapter.inference.chat import Demonstration

_ENDS = ("quit", "exit", "q", "bye")
_HELPS = ("help", "h", "?")
_HELP = """\
An empty line asks: {question}
Ask further: "what about my left arm?"
"show me" draws the corrected poses over yours, and looks for experts where there is a gallery.
quit, exit or Ctrl-D ends."""


@Parameter(name="*")
@dataclass(frozen=True)
class ClipFlags:
    """The learner's clip."""

    exo: Path | None = None
    """Video from outside."""

    ego: Path | None = None
    """Video from the learner's eyes."""

    start: float = 0.0
    """First second of the clip."""

    stop: float | None = None
    """Second at which the clip ends; by default the video's end."""

    pose: Path | None = None
    """Poses at 30 fps: .npy [T, 17, 4] or an Ego-Exo4D pose file; of the whole video, or exactly as long as the clip."""

    pose_model: Path | None = None
    """File pose_landmarker_*.task: MediaPipe finds the poses in the exo video."""

    def videos(self) -> dict[str, Path]:
        """Returns view to video; no video at all is an error."""
        videos = {view: path for view, path in (("ego", self.ego), ("exo", self.exo)) if path is not None}
        if not videos:
            raise ValueError("Give the learner's video: --exo FILE, --ego FILE or both.")
        return videos


_CLIP, _ENCODER, _GALLERY, _GREEDY = ClipFlags(), EncoderFlags(), GalleryFlags(), SamplingFlags()


def chat(
    coach: str,
    *,
    base_model: str | None = None,
    clip: ClipFlags = _CLIP,
    encoder: EncoderFlags = _ENCODER,
    gallery: GalleryFlags = _GALLERY,
    ask: Annotated[list[str] | None, Parameter(consume_multiple=1, json_list=False)] = None,
    save: Path = Path("chat"),
    sampling: SamplingFlags = _GREEDY,
) -> None:
    """Ask a coach about your own clip, in the terminal.

    Args:
        coach: A run's coach/ or checkpoint-N folder, a name on the Hub, or the address of `mm-coach serve`.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.
        clip: The learner's clip.
        encoder: Encoder that the coach was trained on; it finds tiny and efficientnet-lite0 by itself.
        gallery: Experts among whom a demonstration is looked for.
        ask: Questions to ask and end, instead of waiting for questions.
        save: Folder for demonstrations.
        sampling: How tokens are drawn.
    """
    _check_paths(coach, clip, encoder, gallery, save)  # before anything is loaded: torch alone takes seconds

    console = plain_console()
    with without_warnings():
        talk = _begin(coach, base_model, clip, encoder, gallery, sampling, console)
        if talk.session.coach.phrases:
            offers = ", ".join(f'"{phrase}"' for phrase in talk.session.coach.phrases)
            console.print(f"It was also taught to answer {offers}.", style="dim")
        for question in _questions(ask, console):
            if talk.session.wants_to_see(question):
                if talk.can_demonstrate:
                    _show(console, talk, save)
                else:
                    note = "This coach was trained to comment alone; it cannot show anything."
                    console.print(note, style="yellow")
                continue
            if (task := talk.session.task_of(question)) is not None:
                _assess(console, talk, task)
                continue
            console.print("coach ", style="bold", end="")
            for piece in talk.session.ask(question):
                console.print(piece, end="", highlight=False, soft_wrap=True)
            console.print()


def _begin(
    coach: str,
    base_model: str | None,
    clip: ClipFlags,
    encoder: EncoderFlags,
    gallery: GalleryFlags,
    sampling: SamplingFlags,
    console: Console,
) -> Conversation:
    with held_back():
        with console.status("loading"):
            from mm_adapter.cli.conversation import at_server, here
        if _is_address(coach):
            return at_server(
                coach, clip, {"base_model": base_model, **vars(encoder), **vars(gallery)}, sampling, console
            )
        return here(coach, base_model, clip, encoder, gallery, sampling, console)


def _questions(questions: Sequence[str] | None, console: Console) -> Iterator[str]:
    if questions:
        for question in questions:
            console.print(Text.assemble(("you", "bold"), f"   {question}"), highlight=False)
            yield question
        return
    from mm_data.tasks.coaching import ASK_COMMENTARY

    empty = f"Empty line: the coach begins ({ASK_COMMENTARY})."
    console.print(f"{empty} 'show me' demonstrates. 'help' says more, 'quit' ends.", style="dim")
    while True:
        try:
            line = console.input(Text("you   ", "bold")).strip()
        except EOFError:
            return
        command = line.lower().lstrip("/:").rstrip("!. ()")
        if command in _ENDS:
            return
        if command in _HELPS:
            console.print(_HELP.format(question=ASK_COMMENTARY), highlight=False)
        else:
            yield line or ASK_COMMENTARY


def _assess(console: Console, talk: Conversation, task: str) -> None:
    """Prints what the coach says in a task, and what it states beside the words."""
    with console.status(f"answering as in {task}"):
        answer = talk.session.assess(task)
    console.print(Text.assemble(("coach", "bold"), f" {answer.text or '(no words)'}"), soft_wrap=True)
    for name, text in answer.stated().items():
        console.print(f"      {name}: {text}", highlight=False, soft_wrap=True)
    for part in answer.unread or ():
        console.print(f"      not readable: {part}", style="yellow", highlight=False)


def _show(console: Console, talk: Conversation, save: Path) -> None:
    """Corrected poses at once; experts, whose search takes its time, after them."""
    with console.status("drawing the corrected poses"):
        demonstration = talk.session.show()
        stem = _save(talk, demonstration, save)
    text = f" the corrected poses over yours: {stem}.png, .mp4, .npy, .bvh"
    console.print(Text.assemble(("coach", "bold"), text), soft_wrap=True)
    if talk.session.experts is not None:
        _show_experts(console, talk, demonstration, stem)


def _save(talk: Conversation, demonstration: Demonstration, save: Path) -> Path:
    """Draws and writes a demonstration; its files' common beginning."""
    import numpy as np

    from mm_data.poses.bvh_writer import write_bvh
    from mm_data.poses.drawing import LEARNER, SHOWN, draw

    save.mkdir(parents=True, exist_ok=True)
    number = next(n for n in itertools.count(1) if not (save / f"demonstration-{n}.png").exists())
    corrected = talk.decode(demonstration.codes)
    motions = {"shown": (corrected, SHOWN)}
    if talk.joints is not None:
        visible = np.where(talk.joints[..., 3:] > 0, talk.joints[..., :3], np.nan)
        motions = {"learner": (visible, LEARNER), **motions}
    stem = save / f"demonstration-{number}"
    for ending in (".png", ".mp4"):
        draw(stem.with_suffix(ending), motions, fps=4)
    np.save(stem.with_suffix(".npy"), corrected)
    write_bvh(stem.with_suffix(".bvh"), corrected, fps=4)
    return stem


def _show_experts(console: Console, talk: Conversation, demonstration: Demonstration, stem: Path) -> None:
    from mm_data.videos.frames import VideoError

    with stage_progress() as progress:
        talk.prepare_experts(progress)
    with console.status("looking for experts"):
        ranking = talk.session.find_experts(demonstration)
    console.print("experts who do it so, most likely first (log-likelihood − prior):")
    for place, (clip_id, score) in enumerate(ranking[:3], start=1):
        out = stem.with_name(f"{stem.name}-expert-{place}.mp4")
        try:
            talk.save_expert(clip_id, out)
        except (FileNotFoundError, VideoError) as error:
            console.print(f"  {clip_id} ({score:.3f}): {error}", highlight=False, soft_wrap=True)
        else:
            console.print(f"  {out} ({score:.3f}): {clip_id}", highlight=False, soft_wrap=True)


def _is_address(coach: str) -> bool:
    """Whether a coach is one behind a server."""
    return coach.lower().startswith(("http://", "https://"))


def _check_paths(coach: str, clip: ClipFlags, encoder: EncoderFlags, gallery: GalleryFlags, save: Path) -> None:
    for path, what in ((clip.exo, "The exo video"), (clip.ego, "The ego video"), (clip.pose, "The pose file")):
        if path is not None and path.is_dir():
            raise ValueError(f"{what} {path} is a folder; give the file.")
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{what} {path} does not exist.")
    if save.exists() and not save.is_dir():
        raise ValueError(f"--save {save} is a file; name a folder for the demonstrations.")
    if _is_address(coach):
        return  # the rest is the server's own
    _check_coach(coach)
    if clip.pose_model is not None and not clip.pose_model.is_file():
        raise FileNotFoundError(f"Pose model {clip.pose_model} does not exist; give a pose_landmarker_*.task file.")
    if encoder.weights is not None and not encoder.weights.exists():
        raise FileNotFoundError(f"The encoder's weights {encoder.weights} do not exist.")
    codes, features = (gallery.codes, "The folder of pose codes"), (gallery.features, "The feature store")
    for path, what in ((gallery.gallery, "The gallery"), codes, features):
        if path is not None and path.is_file():
            raise ValueError(f"{what} {path} is a file; give the folder.")
        if path is not None and not path.is_dir():
            raise FileNotFoundError(f"{what} {path} does not exist.")


def _check_coach(coach: str) -> None:
    from mm_adapter.checkpoint.seal import COMPLETE

    folder = Path(coach)
    if folder.is_dir():
        if not (folder / COMPLETE).is_file():
            advice = "give a run's coach folder or one of its checkpoints"
            raise FileNotFoundError(f"{folder} is no complete coach: it holds no {COMPLETE}; {advice}.")
        return
    on_the_hub = coach.count("/") == 1 and not coach.startswith((".", "/", "~")) and not folder.parent.exists()
    if folder.exists() or not on_the_hub:
        problem = "is a file" if folder.exists() else "does not exist"
        advice = "give a run's coach folder, one of its checkpoints, or OWNER/NAME on the Hugging Face Hub"
        raise FileNotFoundError(f"The coach {coach} {problem}; {advice}.")
