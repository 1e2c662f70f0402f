"""`mm-coach checkpoint`: what a coach on disk is, and whether it is as it was written."""

from pathlib import Path

from cyclopts import App

app = App(name="checkpoint", help="Look at coaches on disk.")


@app.command
def inspect(folder: Path) -> None:
    """Print what a checkpoint is, what it was built on and what it holds.

    Args:
        folder: A run's coach/ or checkpoint-N folder.
    """
    from mm_adapter.checkpoint.coach import read_config
    from mm_adapter.checkpoint.inspection import tensor_sizes
    from mm_adapter.checkpoint.run_record import read_run_record
    from mm_adapter.checkpoint.seal import read_manifest
    from mm_adapter.cli.console import print_table

    manifest, config, run = read_manifest(folder), read_config(folder), read_run_record(folder)
    facts = {
        "step": manifest.get("step", "unknown"),
        "mode": config.mode + (f", {config.quantization}" if config.quantization else ""),
        "base model": f"{config.base_model} ({config.base_model_fingerprint[:12]})",
        "pose tokenizer": config.pose_tokenizer[:12],
        "clip": f"{config.pose_frames} × {config.pose_tokens_per_frame} pose tokens ({config.pose_form}), "
        f"{config.video_tokens} video tokens of {' and '.join(config.views) or 'no view'}",
        "video encoder": config.video_encoder or "none",
        "trained with": f"commit {run.get('git_commit', 'unknown')[:12]}, "
        f"transformers {run.get('versions', {}).get('transformers')}",
        "can be resumed": "yes" if "trainer_state.json" in manifest["files"] else "no, weights only",
    }
    print_table(("", ""), facts.items(), title=str(folder))
    rows = []
    for name, entry in manifest["files"].items():
        sizes = tensor_sizes(folder / name) if name.endswith(".safetensors") else None
        counts = ("", "") if sizes is None else (f"{len(sizes):,}", f"{sum(sizes):,}")
        rows.append((name, *counts, f"{entry['bytes']:,}"))
    print_table(("file", "tensors", "parameters", "bytes"), rows, numbers=("tensors", "parameters", "bytes"))


@app.command
def verify(folder: Path, *, base_model: str | None = None) -> int:
    """Check hashes, weights and the base model; exit status 1 if something is wrong.

    Args:
        folder: A coach, a checkpoint or an export.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.

    Returns:
        Exit status.
    """
    from mm_adapter.checkpoint.inspection import verify_coach
    from mm_adapter.export.read import RECORD, check_export

    if (folder / RECORD).is_file():  # an export: merged, so there is no base model beside it
        check_export(folder)
        print(f"{folder}: every file is as it was exported.")
        return 0
    found, unchecked = verify_coach(folder, base_model)
    for problem in found:
        print(problem)
    note = f" The base model {unchecked} is not here and was not checked; --base-model says where it is."
    print(f"{folder}: {len(found)} problems.{note if unchecked else ''}")
    return 1 if found else 0
