"""What the command line names is looked for before anything is loaded: torch alone takes seconds."""

import argparse
from pathlib import Path

from mm_adapter.checkpoint.seal import COMPLETE

_VIDEOS = {"exo": "The exo video", "ego": "The ego video"}
_GALLERY = {"gallery": "The gallery", "codes": "The folder of pose codes", "features": "The feature store"}


def is_address(coach: str) -> bool:
    """Whether a coach is one behind a server."""
    return coach.lower().startswith(("http://", "https://"))


def check_chat_paths(args: argparse.Namespace) -> None:
    """Looks for the coach, the clip, what goes with it and the gallery of `mm-coach chat`.

    Raises:
        FileNotFoundError: Something is not there.
        ValueError: A file is named where a folder belongs, or the other way round.
    """
    for name, what in _VIDEOS.items():
        _check_file(getattr(args, name), what)
    _check_file(args.pose, "The pose file")
    if args.save.exists() and not args.save.is_dir():
        raise ValueError(f"--save {args.save} is a file; name a folder for the demonstrations.")
    if is_address(args.coach):
        return  # the rest is the server's own
    _check_coach(args.coach)
    _check_pose_model(args.pose_model)
    if args.weights is not None and not args.weights.exists():
        raise FileNotFoundError(f"The encoder's weights {args.weights} do not exist.")
    for name, what in _GALLERY.items():
        check_folder(getattr(args, name), what)


def _check_coach(coach: str) -> None:
    folder = Path(coach)
    if folder.is_dir():
        if not (folder / COMPLETE).is_file():
            raise FileNotFoundError(f"{folder} is no complete coach: it holds no {COMPLETE}; give a run's coach folder or one of its checkpoints.")  # fmt: skip
        return
    on_the_hub = coach.count("/") == 1 and not coach.startswith((".", "/", "~")) and not folder.parent.exists()
    if folder.exists() or not on_the_hub:
        problem = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"The coach {coach} {problem}; give a run's coach folder, one of its checkpoints, or OWNER/NAME on the Hugging Face Hub.")  # fmt: skip


def _check_file(path: Path | None, what: str) -> None:
    if path is None or path.is_file():
        return
    if path.is_dir():
        raise ValueError(f"{what} {path} is a folder; give the file.")
    raise FileNotFoundError(f"{what} {path} does not exist.")


def _check_pose_model(path: Path | None) -> None:
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"Pose model {path} does not exist; give a pose_landmarker_*.task file.")


def check_folder(path: Path | None, what: str) -> None:
    """Looks for a folder that a flag names.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is a file.
    """
    if path is None or path.is_dir():
        return
    if path.exists():
        raise ValueError(f"{what} {path} is a file; give the folder.")
    raise FileNotFoundError(f"{what} {path} does not exist.")
