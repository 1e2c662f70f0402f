"""`mm-coach features`: frozen video features on disk."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from mm_adapter.cli.flags import EncoderFlags

app = App(name="features", help="Make feature stores and look after them.")
_DEFAULT_ENCODER = EncoderFlags()


@app.command
def extract(
    source: Path,
    out: Path,
    *,
    videos: Path | None = None,
    encoder: EncoderFlags = _DEFAULT_ENCODER,
    output: Literal["tokens", "pooled"] = "tokens",
    grid: int = 1,
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto",
    attention: Literal["sdpa", "flash"] = "sdpa",
    compile: bool = False,
    decoder: Literal["pyav", "torchcodec"] = "pyav",
    batch_size: int = 8,
    workers: int = 2,
    max_bad: float = 0.02,
    retry_bad: bool = False,
) -> None:
    """Encode clips; resumes. Several processes: accelerate launch -m mm_adapter.cli features extract.

    Args:
        source: Tuple or task folder, or a .csv/.jsonl of clip, start, stop and a column per view.
        out: Feature store.
        videos: Root of the videos; by default the data set, or the table's folder.
        encoder: Encoder of the videos; by default efficientnet-lite0 (ImageNet's weights).
        output: g×g tokens per frame, or one embedding per clip.
        grid: Number of tokens per frame along one side.
        dtype: dtype of the weights; auto is bfloat16 on GPUs that have it, else float32.
        attention: Kernel of the attention; flash needs the flash-attn package.
        compile: Compile the encoder with torch.compile.
        decoder: Library that reads the videos; torchcodec decodes faster.
        batch_size: Number of clips per encoder call.
        workers: Number of decoding threads per process.
        max_bad: Share of clips that may be undecodable.
        retry_bad: Try clips again that could not be decoded before.
    """
    import torch

    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.distributed import launched_processes, native_dtype
    from mm_adapter.features.extract import ExtractionOptions, extract_features
    from mm_data.folders import read_clips
    from mm_data.ground.files import check_apart
    from mm_data.videos.frames import torchcodec_loads

    state = launched_processes()
    device = state.device or torch.device("cpu")
    if decoder == "torchcodec" and not torchcodec_loads():
        raise ValueError(
            "torchcodec is not installed or does not load here; use --decoder pyav (`mm-coach doctor` says more)."
        )
    if dtype == "auto":
        precision = native_dtype(device) if device.type == "cuda" else torch.float32
    else:
        precision = getattr(torch, dtype)
    options = ExtractionOptions(
        output, grid, decoder, batch_size, attention, compile, workers, max_bad_share=max_bad, retry_bad=retry_bad
    )
    check_apart(out, source, videos, encoder.weights, inside=True)
    clips, root = read_clips(source, videos)
    built = encoder.build("efficientnet-lite0", precision)
    assert built is not None  # there is a default
    model, name = built
    report = ConsoleReport(quiet=not state.is_main_process)
    with report.progress(f"encoding clips with {name}", len(clips)) as progress:
        rejected = extract_features(
            model.to(device),
            name,
            clips,
            root,
            out,
            options,
            state.process_index,
            state.num_processes,
            lambda done, total: progress(done * len(clips) // max(total, 1)),
        )
    if rejected is None:
        print(f"process {state.process_index} is done; others still have clips to encode")
        return
    _report(out, len(clips) - len(rejected), rejected)


@app.command
def import_omnivore(
    tuples: Path, release: Path, out: Path, *, tokens: int = 4, max_bad: float = 0.02, retry_bad: bool = False
) -> None:
    """Use Ego-Exo4D's released Omnivore features instead of an encoder.

    Args:
        tuples: Tuple folder.
        release: Ego-Exo4D download with features/omnivore_video.
        out: Feature store.
        tokens: Number of rows per clip and view.
        max_bad: Share of clips whose files may be missing.
        retry_bad: Try clips again whose files were missing before.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.features import published
    from mm_data.ground.files import check_apart
    from mm_data.tuples.store import clips_of_folder

    check_apart(out, tuples, release, inside=True)
    clips = clips_of_folder(tuples)
    with ConsoleReport().progress("cutting clips", len(clips)) as progress:
        rejected = published.import_omnivore(
            release, clips, out, tokens, max_bad, retry_bad, lambda done, total: progress(done)
        )
    _report(out, len(clips) - len(rejected), rejected)


@app.command
def import_arrays(
    source: Path,
    arrays: Path,
    out: Path,
    *,
    name: str,
    tokens: int = 8,
    view: Literal["ego", "exo"] = "exo",
    max_bad: float = 0.02,
    retry_bad: bool = False,
) -> None:
    """Use published features, one array per clip: Video Swin, I3D, and others.

    Args:
        source: Tuple or task folder, or a table of clips.
        arrays: Folder with <clip>.npy or .pt of shape [rows, width].
        out: Feature store.
        name: What made them, such as 'Video Swin-B (Kinetics-600)'.
        tokens: Number of rows per clip, evenly spaced.
        view: View that the arrays are of.
        max_bad: Share of clips whose arrays may be missing.
        retry_bad: Try clips again whose arrays were missing before.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.features import published
    from mm_data.folders import read_clips
    from mm_data.ground.files import check_apart

    check_apart(out, arrays)
    check_apart(out, source, inside=True)
    clips = {clip.clip_id: clip for clip in read_clips(source)[0]}
    with ConsoleReport().progress("reading arrays", len(clips)) as progress:
        rejected = published.import_arrays(
            arrays, clips, out, name, tokens, view, max_bad, retry_bad, lambda done, total: progress(done)
        )
    _report(out, len(clips) - len(rejected), rejected)


@app.command
def from_poses(
    source: Path, out: Path, *, frames: int = 8, statistics_of: list[Path] | None = None, max_bad: float = 0.02
) -> None:
    """Use joints as features, a token per frame: a skeleton stream without an encoder.

    Args:
        source: Tuple or task folder with poses.
        out: Feature store.
        frames: Number of tokens per clip.
        statistics_of: Folders whose training clips give the principal components, by default the source; all parts of a
            mixture need the same.
        max_bad: Share of clips whose poses may be unusable.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.features.skeleton import joint_basis, write_pose_features
    from mm_data.features import FeatureStore
    from mm_data.ground.files import check_apart

    check_apart(out, source, *(statistics_of or []), inside=True)
    basis = joint_basis(statistics_of or [source], frames)
    with ConsoleReport().progress("projecting joints", 1) as progress:
        rejected = write_pose_features(source, out, basis, frames, max_bad)
        progress(1)
    _report(out, len(FeatureStore(out)), rejected, f" of {frames} frames")


@app.command
def ls(store: Path, *, clips: bool = False) -> None:
    """Print what made a store, how large it is, and what was rejected.

    Args:
        store: Feature store.
        clips: Print one line per clip as well.
    """
    from mm_data.features import FeatureStore

    opened = FeatureStore(store)
    manifest = opened.manifest
    size = sum((store / name).stat().st_size for name in manifest.sha256) / 2**20
    counts = f"{len(opened)} clips, {len(manifest.rejected)} rejected"
    print(f"{store}: {counts}, {size:.1f} MiB in {len(manifest.sha256) - 1} arrays")
    print(f"  encoder        {manifest.encoder}  {manifest.encoder_hash[:16]}")
    print(f"  preprocessing  {manifest.preprocessing}")
    rows = f"{manifest.num_tokens} × {manifest.width} {manifest.dtype}"
    print(f"  per clip       {rows} for each of {', '.join(manifest.views)}")
    for clip, reason in manifest.rejected.items():
        print(f"  rejected       {clip}: {reason}")
    if clips:
        print("\n".join(opened))


@app.command
def verify(store: Path) -> int:
    """Check every array against its hash; exit status 1 if something is wrong.

    Args:
        store: Feature store.

    Returns:
        Exit status.
    """
    from mm_data.features import FeatureManifest, verify_store

    problems = verify_store(store)
    for problem in problems:
        print(problem)
    arrays = sum(name.endswith(".npy") for name in FeatureManifest.read(store).sha256)
    print(
        f"{store}: " + (f"{len(problems)} problems in {arrays} arrays" if problems else f"{arrays} arrays as written")
    )
    return 1 if problems else 0


@app.command
def merge(out: Path, stores: list[Path]) -> None:
    """Join stores of the same encoder into a new one.

    Args:
        out: New feature store.
        stores: The stores.
    """
    from mm_data.features import FeatureStore, merge_stores

    merge_stores(stores, out)
    print(f"{out}: {len(FeatureStore(out))} clips of {len(stores)} stores")


def _report(out: Path, kept: int, rejected: dict[str, str], about: str = "") -> None:
    """Prints what a store holds; a store of nothing is an error."""
    from mm_adapter.cli.console import plain_console

    for clip, reason in list(rejected.items())[:5]:
        plain_console(stderr=True).print(f"left out {clip}: {reason}")
    if not kept:
        raise ValueError(
            f"{out} holds no clip: all {len(rejected)} were left out. Mend them and run again with --retry-bad."
        )
    print(f"{out}: {kept} clips{about}, {len(rejected)} left out")
