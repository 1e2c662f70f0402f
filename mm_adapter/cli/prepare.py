"""Commands that prepare training: the miniature and the embedded language model."""

import argparse

from mm_adapter.base_models import write_embedded_language_model
from mm_adapter.cli.console import progress_bar
from mm_data.files import claim_folder


def run_miniature(args: argparse.Namespace) -> None:
    """Writes the miniature."""
    from mm_data.miniature import write_miniature
    from mm_data.miniature.desccoach import write_desccoach
    from mm_data.miniature.dives import write_dives
    from mm_data.miniature.gym import write_gym

    writers = {"expertaf": write_miniature, "desccoach": write_desccoach, "nae": write_dives, "cot-afa": write_gym}
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=args.takes)
        counts = writers[args.task](
            args.out, args.takes, args.seed, args.workers,
            progress=lambda done: progress.update(task, completed=done), videos=not args.no_videos,
        )  # fmt: skip
        progress.update(task, completed=args.takes)
    print(f"{args.out}: {counts} (synthetic)")


def run_language_model(args: argparse.Namespace) -> None:
    """Writes the embedded language model unless it is there."""
    if (args.out / "model.safetensors").is_file():
        print(f"{args.out} is there already")
        return
    claim_folder(args.out, {"language_model": "SmolLM2-135M-Instruct"})
    write_embedded_language_model(args.out)
    print(f"{args.out}: SmolLM2-135M-Instruct")
