"""`mm-coach chat`: a conversation about one's own clip in the terminal."""

import argparse
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.cli.paths import check_chat_paths, is_address
from mm_adapter.cli.quiet import held_back, without_warnings
from mm_data.tasks.expertaf import ASK_COMMENTARY

if TYPE_CHECKING:
    from mm_adapter.cli.conversations import Conversation
    from mm_adapter.inference.chat import Demonstration

_ENDS = ("quit", "exit", "q", "bye")
_HELPS = ("help", "h", "?")
_HELP = f"""\
An empty line asks: {ASK_COMMENTARY}
Ask further: "what about my left arm?"
"show me" draws the corrected poses over yours, and looks for experts where there is a gallery.
quit, exit or Ctrl-D ends."""


def run_chat(args: argparse.Namespace) -> None:
    """Prepares the clip and talks about it until the last question, or the end of the input."""
    console = plain_console()
    check_chat_paths(args)
    with ExitStack() as stack:
        stack.enter_context(without_warnings())
        talk = _opened(args, stack, console)
        for question in _questions(args, console):
            if talk.session.wants_to_see(question):
                if talk.can_demonstrate:
                    _show(console, talk, args.save)
                else:
                    note = "This coach was trained to comment alone; it cannot show anything."
                    console.print(note, style="yellow")
                continue
            console.print("coach ", style="bold", end="")
            for piece in talk.session.ask(question):
                console.print(piece, end="", highlight=False, soft_wrap=True)
            console.print()


def _opened(args: argparse.Namespace, stack: ExitStack, console: Console) -> "Conversation":
    with held_back():
        with console.status("loading"):  # torch alone takes seconds
            from mm_adapter.cli.conversations import at_server, here
        if is_address(args.coach):
            return at_server(args, console)
        return here(args, console)


def _questions(args: argparse.Namespace, console: Console) -> Iterator[str]:
    if args.ask:
        for question in args.ask:
            console.print(Text.assemble(("you", "bold"), f"   {question}"), highlight=False)
            yield question
        return
    console.print(f"Empty line: the coach begins ({ASK_COMMENTARY}). 'show me' demonstrates. 'help' says more, 'quit' ends.", style="dim")  # fmt: skip
    while True:
        try:
            line = console.input(Text("you   ", "bold")).strip()
        except EOFError:
            return
        command = line.lower().lstrip("/:").rstrip("!. ()")
        if command in _ENDS:
            return
        if command in _HELPS:
            console.print(_HELP, highlight=False)
        else:
            yield line or ASK_COMMENTARY


def _show(console: Console, talk: "Conversation", save: Path) -> None:
    """Corrected poses at once; experts, whose search takes its time, after them."""
    with console.status("drawing the corrected poses"):
        shown = talk.session.show()
        stem = _save(talk, shown, save)
    text = f" the corrected poses over yours: {stem}.png, .mp4, .npy, .bvh"
    console.print(Text.assemble(("coach", "bold"), text), soft_wrap=True)
    if talk.session.experts is not None:
        _show_experts(console, talk, shown, stem)


def _save(talk: "Conversation", shown: "Demonstration", save: Path) -> Path:
    """Draws and writes a demonstration; its files' common beginning."""
    import numpy as np

    from mm_data.poses.bvh_writer import write_bvh
    from mm_data.poses.drawing import LEARNER, SHOWN, draw

    save.mkdir(parents=True, exist_ok=True)
    number = next(n for n in itertools.count(1) if not (save / f"demonstration-{n}.png").exists())
    corrected = talk.decode(shown.codes)
    motions = {"shown": (corrected, SHOWN)}
    if talk.joints is not None:
        own = np.where(talk.joints[..., 3:] > 0, talk.joints[..., :3], np.nan)
        motions = {"learner": (own, LEARNER), **motions}
    stem = save / f"demonstration-{number}"
    for ending in (".png", ".mp4"):
        draw(stem.with_suffix(ending), motions, fps=4)
    np.save(stem.with_suffix(".npy"), corrected)
    write_bvh(stem.with_suffix(".bvh"), corrected, fps=4)
    return stem


def _show_experts(console: Console, talk: "Conversation", shown: "Demonstration", stem: Path) -> None:
    from mm_data.videos.frames import VideoError

    with stage_progress() as progress:
        talk.prepare_experts(lambda done, total: progress("how likely each expert is anyway", done, total))
    with console.status("looking for experts"):
        ranking = talk.session.find_experts(shown)
    console.print("experts who do it so, most likely first (log-likelihood − prior):")
    for place, (clip_id, score) in enumerate(ranking[:3], start=1):
        out = stem.with_name(f"{stem.name}-expert-{place}.mp4")
        try:
            talk.save_expert(clip_id, out)
        except (FileNotFoundError, VideoError) as error:
            console.print(f"  {clip_id} ({score:.3f}): {error}", highlight=False, soft_wrap=True)
        else:
            console.print(f"  {out} ({score:.3f}): {clip_id}", highlight=False, soft_wrap=True)
