"""Commands that prepare training: the miniature and the embedded language model."""

import argparse
import json

from mm_adapter.checkpoint.run_record import differences
from mm_adapter.cli.console import progress_bar
from mm_adapter.model.language_model import embedded_source_hash, weights_fingerprint, write_embedded_language_model
from mm_data.ground.files import write_atomically
from mm_data.ground.safe_load import read_json

_RECORD = "embedded.json"
"""Says of which embedded file a language model was written; written last."""


def run_miniature(args: argparse.Namespace) -> None:
    """Writes the miniature; a finished one of the same task, size and seed is left as it is."""
    from mm_data.miniature import write_miniature
    from mm_data.miniature.claim import claim_miniature, finish_miniature
    from mm_data.miniature.desccoach import write_desccoach
    from mm_data.miniature.dives import write_dives
    from mm_data.miniature.gym import write_gym

    writers = {"expertaf": write_miniature, "desccoach": write_desccoach, "nae": write_dives, "cot-afa": write_gym}
    request = {"task": args.task, "takes": args.takes, "seed": args.seed, "videos": not args.no_videos}
    if (finished := claim_miniature(args.out, request)) is not None:
        print(f"{args.out} is there already: {finished} (synthetic)")
        return
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=args.takes)
        counts = writers[args.task](
            args.out, args.takes, args.seed, args.workers,
            progress=lambda done: progress.update(task, completed=done), videos=not args.no_videos,
        )  # fmt: skip
        progress.update(task, completed=args.takes)
    finish_miniature(args.out, request, counts)
    print(f"{args.out}: {counts} (synthetic)")


def run_language_model(args: argparse.Namespace) -> None:
    """Writes the embedded language model unless it is there.

    Raises:
        ValueError: The folder holds something else, or what an interrupted run left.
    """
    record = args.out / _RECORD
    if record.is_file():
        written = read_json(record, "")
        source, weights = embedded_source_hash(), weights_fingerprint(str(args.out))
        if changed := differences(written, {"source": source, "weights": weights}):
            raise ValueError(f"{args.out} holds another model: {'; '.join(changed)}. Give another folder.")
        print(f"{args.out} is there already")
        return
    if args.out.is_dir() and any(args.out.iterdir()):
        raise ValueError(
            f"{args.out} is not empty and holds no finished model of this command ({_RECORD} is missing); give another folder, or delete it."
        )
    args.out.mkdir(parents=True, exist_ok=True)  # transformers only logs that a folder cannot be made
    write_embedded_language_model(args.out)
    made = {"source": embedded_source_hash(), "weights": weights_fingerprint(str(args.out))}
    write_atomically(record, json.dumps(made, indent=1))
    print(f"{args.out}: SmolLM2-135M-Instruct")
