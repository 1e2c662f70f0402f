"""All commands and their flags. What a command runs is named, not imported: torch takes seconds to load."""

import argparse
from pathlib import Path

from mm_adapter.cli import data, evaluations, tasks
from mm_adapter.cli.old_flags import add_encoder


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds every command, in the order in which they are needed."""
    for add in (
        _add_preparation,
        data.add_commands,
        _add_features,
        _add_tokenizer,
        tasks.add_commands,
        evaluations.add_commands,
    ):
        add(commands)


def _add_preparation(commands: argparse._SubParsersAction) -> None:
    mini = commands.add_parser("miniature", help="write a synthetic data set in a task's true on-disk format")
    mini.add_argument("out", type=Path)
    mini.add_argument(
        "--task",
        choices=("expertaf", "desccoach", "nae", "cot-afa"),
        default="expertaf",
        help="Ego-Exo4D, the same with DescCoach's commentary, dives with scores, or exercises with standard and faulty form",
    )
    mini.add_argument("--takes", type=int, default=200, help="number of takes, dives or clips")
    mini.add_argument("--seed", type=int, default=0, help="same takes and seed, same bytes")
    mini.add_argument("--workers", type=int, default=2)
    mini.add_argument(
        "--no-videos",
        action="store_true",
        help="annotations and poses only: enough for tuples and for coaches that see poses alone",
    )
    mini.set_defaults(run="mm_adapter.cli.prepare:run_miniature")

    model = commands.add_parser(
        "language-model", help="write the embedded SmolLM2-135M-Instruct as a checkpoint folder"
    )
    model.add_argument("out", type=Path)
    model.set_defaults(run="mm_adapter.cli.prepare:run_language_model")


def _add_features(commands: argparse._SubParsersAction) -> None:
    steps = commands.add_parser("features", help="frozen video features").add_subparsers(metavar="STEP", required=True)

    extract = steps.add_parser(
        "extract",
        help="encode clips; resumes at the clip; several processes: accelerate launch scripts/extract_features.py",
    )
    extract.add_argument(
        "source", type=Path, help="tuple or task folder, or a .csv/.jsonl of clip, start, stop and a column per view"
    )
    extract.add_argument("out", type=Path, help="feature store")
    extract.add_argument(
        "--videos", type=Path, help="root of the videos; by default the data set, or the table's folder"
    )
    add_encoder(extract, default="tiny")
    extract.add_argument(
        "--output",
        default="tokens",
        choices=("tokens", "pooled"),
        help="g×g tokens per frame, or one embedding per clip",
    )
    extract.add_argument("--grid", type=int, default=1, help="tokens per frame along one side")
    extract.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "bfloat16", "float16", "float32"),
        help="of the weights; auto is bfloat16 on GPUs that have it, else float32",
    )
    extract.add_argument(
        "--attention", default="sdpa", choices=("sdpa", "flash"), help="flash needs the flash-attn package"
    )
    extract.add_argument("--compile", action="store_true", help="torch.compile the encoder")
    extract.add_argument("--decoder", default="pyav", choices=("pyav", "torchcodec"), help="torchcodec decodes faster")
    extract.add_argument("--batch-size", type=int, default=8, help="clips per encoder call")
    extract.add_argument("--workers", type=int, default=2, help="decoding threads per process")
    extract.add_argument("--max-bad", type=float, default=0.02, help="share of clips that may be undecodable")
    extract.add_argument("--retry-bad", action="store_true", help="try clips again that could not be decoded before")
    extract.set_defaults(run="mm_adapter.cli.features:run_extract")

    omnivore = steps.add_parser(
        "import-omnivore", help="use Ego-Exo4D's released Omnivore features instead of an encoder"
    )
    omnivore.add_argument("tuples", type=Path)
    omnivore.add_argument("release", type=Path, help="Ego-Exo4D download with features/omnivore_video")
    omnivore.add_argument("out", type=Path)
    omnivore.add_argument("--tokens", type=int, default=4, help="rows per clip and view")
    omnivore.add_argument("--max-bad", type=float, default=0.02, help="share of clips whose files may be missing")
    omnivore.add_argument("--retry-bad", action="store_true", help="try clips again whose files were missing before")
    omnivore.set_defaults(run="mm_adapter.cli.features:run_import_omnivore")

    arrays = steps.add_parser("import-arrays", help="published features, one array per clip: Video Swin, I3D, ...")
    arrays.add_argument("source", type=Path, help="tuple or task folder, or a table of clips")
    arrays.add_argument("arrays", type=Path, help="folder with <clip>.npy or .pt of shape [rows, width]")
    arrays.add_argument("out", type=Path)
    arrays.add_argument("--name", required=True, help="what made them, such as 'Video Swin-B (Kinetics-600)'")
    arrays.add_argument("--tokens", type=int, default=8, help="rows per clip, evenly spaced")
    arrays.add_argument("--view", choices=("ego", "exo"), default="exo")
    arrays.add_argument("--max-bad", type=float, default=0.02, help="share of clips whose arrays may be missing")
    arrays.add_argument("--retry-bad", action="store_true", help="try clips again whose arrays were missing before")
    arrays.set_defaults(run="mm_adapter.cli.features:run_import_arrays")

    joints = steps.add_parser(
        "from-poses", help="joints as features, a token per frame: a skeleton stream without an encoder"
    )
    joints.add_argument("source", type=Path, help="tuple or task folder with poses")
    joints.add_argument("out", type=Path)
    joints.add_argument("--frames", type=int, default=8, help="tokens per clip")
    joints.add_argument(
        "--statistics-of",
        type=Path,
        nargs="+",
        help="folders whose training clips give the principal components; all parts of a mixture need the same. By default the source",
    )
    joints.add_argument("--max-bad", type=float, default=0.02, help="share of clips whose poses may be unusable")
    joints.set_defaults(run="mm_adapter.cli.features:run_from_poses")

    listing = steps.add_parser("ls", help="what made a store, how large it is, and what was rejected")
    listing.add_argument("store", type=Path)
    listing.add_argument("--clips", action="store_true", help="one line per clip")
    listing.set_defaults(run="mm_adapter.cli.feature_stores:run_ls")

    verify = steps.add_parser("verify", help="check every array against its hash; exit status 1 if something is wrong")
    verify.add_argument("store", type=Path)
    verify.set_defaults(run="mm_adapter.cli.feature_stores:run_verify")

    merge = steps.add_parser("merge", help="join stores of the same encoder into a new one")
    merge.add_argument("out", type=Path)
    merge.add_argument("stores", type=Path, nargs="+")
    merge.set_defaults(run="mm_adapter.cli.feature_stores:run_merge")


def _add_tokenizer(commands: argparse._SubParsersAction) -> None:
    poses = commands.add_parser("poses", help="motion of any kind as poses").add_subparsers(
        metavar="STEP", required=True
    )
    motion = poses.add_parser("import", help="BVH, joint arrays or a data set to a folder of COCO-17 poses")
    motion.add_argument("source", type=Path)
    motion.add_argument("out", type=Path)
    motion.add_argument(
        "--format",
        required=True,
        help="bvh, coco17, wholebody, humanml3d, smpl, mediapipe, or dataset (what `data build` reads)",
    )
    motion.add_argument(
        "--unit",
        choices=("m", "cm", "mm", "inch", "cmu"),
        help="unit of lengths, by default m; cmu is that of CMU's BVH files, 5.644 cm",
    )
    motion.add_argument("--scale", type=float, help="metres per unit, for a unit without a name")
    motion.add_argument(
        "--up", choices=("z", "y", "y-down"), help="axis that points up; by default the format's convention"
    )
    motion.add_argument("--fps", type=float, help="frame rate of arrays; by default the format's convention")
    motion.add_argument("--joint-map", type=Path, help="YAML of COCO joint: BVH joint, for rigs with unusual names")
    motion.add_argument("--person", help="regular expression; its first group in a file's path is the performer")
    motion.add_argument("--people", type=Path, help="table (.csv or .jsonl) of file and person")
    motion.add_argument(
        "--split-by", choices=("person", "sequence"), help="what stays on one side; sequence for motion of one person"
    )
    motion.add_argument("--test-share", type=float, help="share of the performers kept for testing; by default 0.1")
    motion.add_argument("--workers", type=int, default=2, help="processes that read a data set")
    motion.set_defaults(run="mm_adapter.cli.tokenizer:run_import_motion")

    shown = poses.add_parser(
        "export", help="joints, codes or pose tokens as .npy, .bvh or a drawing (.png, .gif, .mp4)"
    )
    shown.add_argument("source", type=Path, help=".npy of joints, .npz or .jsonl of codes, or .txt of pose tokens")
    shown.add_argument("out", type=Path, help="its ending says what is written")
    shown.add_argument("--tokenizer", type=Path, help="of the codes; a coach and an export have it in pose_tokenizer/")
    shown.add_argument("--item", help="which tuple of a .jsonl; by default the first")
    shown.add_argument("--against", type=Path, help="drawings: another source below it, such as the learner's poses")
    shown.add_argument("--fps", type=float, default=4.0, help="frames per second of what is written")
    shown.set_defaults(run="mm_adapter.cli.pose_export:run_export_poses")

    steps = commands.add_parser("tokenizer", help="pose tokens").add_subparsers(metavar="STEP", required=True)
    encode = steps.add_parser(
        "encode", help="tokenize the clips of a tuple or task folder, or the frames of one .npy of poses"
    )
    encode.add_argument(
        "source", type=Path, help="tuple folder, task folder, .npy [T, 17, 3 or 4], or an Ego-Exo4D pose file"
    )
    encode.add_argument("tokenizer", type=Path)
    encode.add_argument("out", type=Path, help="folder of codes, or .npz for one .npy")
    encode.add_argument("--frames", type=int, default=10, help="frames sampled per clip of a tuple folder")
    encode.set_defaults(run="mm_adapter.cli.tokenizer:run_encode")

    decode = steps.add_parser("decode", help="codes back to poses")
    decode.add_argument("codes", type=Path, help="what `tokenizer encode` wrote")
    decode.add_argument("tokenizer", type=Path)
    decode.add_argument("out", type=Path, help=".npy of one sequence, or .npz with one array per clip")
    decode.set_defaults(run="mm_adapter.cli.tokenizer:run_decode")

    score = steps.add_parser("eval", help="what is lost on the way through tokens and back; numbers and a page")
    score.add_argument("tokenizer", type=Path)
    score.add_argument("poses", type=Path, help="tuple folder, or folder written by `mm-coach poses import`")
    score.add_argument("out", type=Path, help="folder for metrics.json and index.html")
    score.add_argument("--split", default="test", choices=("train", "test"))
    score.add_argument("--max-frames", type=int, default=300, help="consecutive frames per sequence")
    score.set_defaults(run="mm_adapter.cli.tokenizer:run_eval")

    read = steps.add_parser("import-pct", help="a PCT checkpoint (three coordinates, no image guidance) as a tokenizer")
    read.add_argument("checkpoint", type=Path)
    read.add_argument("out", type=Path)
    read.set_defaults(run="mm_adapter.cli.tokenizer:run_import_pct")

    write = steps.add_parser("export-pct", help="a tokenizer as a checkpoint that PCT's and ExpertAF's code load")
    write.add_argument("tokenizer", type=Path)
    write.add_argument("out", type=Path)
    write.add_argument("--prefix", default="keypoint_head.tokenizer.", help="of every key; '' for bare keys")
    write.set_defaults(run="mm_adapter.cli.tokenizer:run_export_pct")
