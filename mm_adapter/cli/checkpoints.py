"""Commands that look at a coach on disk."""

import argparse
import math
from pathlib import Path

from rich.table import Table
from safetensors import safe_open

from mm_adapter.checkpoint.coach import read_config, weight_problem
from mm_adapter.checkpoint.run_record import read_run_record
from mm_adapter.checkpoint.seal import problems, read_manifest
from mm_adapter.cli.console import plain_console
from mm_adapter.export.read import RECORD, check_export
from mm_adapter.model.language_model import find_base_model


def run_inspect(args: argparse.Namespace) -> None:
    """Prints what a checkpoint is and holds, from its headers alone."""
    manifest, config, run = read_manifest(args.folder), read_config(args.folder), read_run_record(args.folder)
    facts = {
        "step": manifest.get("step", "unknown"),
        "mode": config.mode + (f", {config.quantization}" if config.quantization else ""),
        "base model": f"{config.base_model} ({config.base_model_fingerprint[:12]})",
        "pose tokenizer": config.pose_tokenizer[:12],
        "clip": f"{config.pose_frames} × {config.pose_tokens_per_frame} pose tokens ({config.pose_form}), "
        f"{config.video_tokens} video tokens of {' and '.join(config.views) or 'no view'}",
        "video encoder": config.video_encoder or "none",
        "trained with": f"commit {run.get('git_commit', 'unknown')[:12]}, transformers {run.get('versions', {}).get('transformers')}",
        "can be resumed": "yes" if "trainer_state.json" in manifest["files"] else "no, weights only",
    }
    console = plain_console()
    table = Table(title=str(args.folder), title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    console.print(table)
    tensors = Table(title_justify="left")
    for heading in ("file", "tensors", "parameters", "bytes"):
        tensors.add_column(heading, justify="left" if heading == "file" else "right")
    for name, entry in manifest["files"].items():
        count = parameters = ""
        if name.endswith(".safetensors"):
            sizes = tensor_sizes(args.folder / name)
            count, parameters = f"{len(sizes):,}", f"{sum(sizes):,}"
        tensors.add_row(name, count, parameters, f"{entry['bytes']:,}")
    console.print(tensors)


def tensor_sizes(path: Path) -> list[int]:
    """Values of each tensor of a safetensors file, from its header."""
    with safe_open(path, "pt") as file:
        return [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118


def run_verify(args: argparse.Namespace) -> int:
    """Checks every file's hash, every weight's values and the base model; exit status 1 if something is wrong."""
    if (args.folder / RECORD).is_file():  # an export: merged, so there is no base model beside it
        check_export(args.folder)
        print(f"{args.folder}: every file is as it was exported.")
        return 0
    found = problems(args.folder, everything=True)
    config = read_config(args.folder)
    for file in map(args.folder.joinpath, read_manifest(args.folder)["files"]):
        if file.suffix != ".safetensors" or file.parent.name == "pose_tokenizer" or file.name.startswith("optimizer"):
            continue
        if not file.is_file() or any(problem.startswith(f"{file.relative_to(args.folder)} ") for problem in found):
            continue  # its values mean nothing
        with safe_open(file, "pt") as tensors:
            wrong = [weight_problem(key, tensors.get_tensor(key)) for key in tensors.keys()]  # noqa: SIM118
        found += [f"{file.relative_to(args.folder)}: {problem}" for problem in wrong if problem]
    note = ""
    if config.mode != "full":
        try:
            find_base_model(config.base_model, config.base_model_fingerprint, args.folder, args.base_model)
        except FileNotFoundError:
            if args.base_model is not None:
                raise
            note = (
                f" The base model {config.base_model} is not here and was not checked; --base-model says where it is."
            )
        except ValueError as error:
            found.append(str(error))
    for problem in found:
        print(problem)
    print(f"{args.folder}: {len(found)} problems.{note}")
    return 1 if found else 0
