"""All commands and their flags. What a command runs is named, not imported: torch takes seconds to load."""

import argparse
from pathlib import Path

from mm_adapter.cli import data


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds every command, in the order in which they are needed."""
    for add in (_add_doctor, _add_preparation, data.add_commands, _add_evaluation):
        add(commands)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "doctor", help="report versions, devices, Java, vLLM and disk, and how to mend what is missing"
    )
    parser.add_argument("--folder", type=Path, default=Path("."), help="where runs will be written")
    parser.set_defaults(run="mm_adapter.cli.doctor:run")


def _add_preparation(commands: argparse._SubParsersAction) -> None:
    mini = commands.add_parser("miniature", help="write a synthetic data set in Ego-Exo4D's on-disk format")
    mini.add_argument("out", type=Path)
    mini.add_argument("--takes", type=int, default=200, help="number of takes, two per participant")
    mini.add_argument("--seed", type=int, default=0, help="same takes and seed, same bytes")
    mini.add_argument("--workers", type=int, default=2)
    mini.add_argument("--no-videos", action="store_true", help="annotations and poses only: enough to build tuples")
    mini.set_defaults(run="mm_adapter.cli.prepare:run_miniature")

    features = commands.add_parser("features", help="frozen video features").add_subparsers(
        metavar="STEP", required=True
    )
    extract = features.add_parser("extract", help="encode the clips of a tuple folder; resumes at the clip")
    extract.add_argument("tuples", type=Path)
    extract.add_argument("out", type=Path)
    extract.add_argument("--encoder", default="tiny", help="tiny, S, B, L, 1B or 6B")
    extract.add_argument("--weights", type=Path, help="safetensors file; random weights without")
    extract.add_argument("--grid", type=int, default=1, help="tokens per frame along one side")
    extract.add_argument("--max-bad", type=float, default=0.02, help="share of clips that may be undecodable")
    extract.set_defaults(run="mm_adapter.cli.prepare:run_extract")

    tokenizer = commands.add_parser("tokenizer", help="pose tokens").add_subparsers(metavar="STEP", required=True)
    encode = tokenizer.add_parser("encode", help="tokenize the clips of a tuple folder")
    encode.add_argument("tuples", type=Path)
    encode.add_argument("tokenizer", type=Path)
    encode.add_argument("out", type=Path)
    encode.add_argument("--frames", type=int, default=10, help="frames sampled per clip")
    encode.set_defaults(run="mm_adapter.cli.prepare:run_encode")

    model = commands.add_parser(
        "language-model", help="write the embedded SmolLM2-135M-Instruct as a checkpoint folder"
    )
    model.add_argument("out", type=Path)
    model.set_defaults(run="mm_adapter.cli.prepare:run_language_model")


def _add_evaluation(commands: argparse._SubParsersAction) -> None:
    score = commands.add_parser(
        "evaluate", help="comment, rank and demonstrate on the test split, then score with baselines"
    )
    score.add_argument("coach", type=Path, help="a run's coach/ or checkpoint-N folder")
    score.add_argument("tuples", type=Path)
    score.add_argument("codes", type=Path, help="pose codes of the tuples")
    score.add_argument("out", type=Path)
    score.add_argument("--features", type=Path, help="feature store, unless the coach is pose-only")
    score.add_argument(
        "--gallery", choices=("activity", "all"), default="activity", help="which expert clips are ranked"
    )
    score.add_argument("--max-tuples", type=int, help="an evenly spaced subset of the test tuples")
    score.set_defaults(run="mm_adapter.cli.evaluation:run_evaluate")

    report = commands.add_parser("report", help="write a self-contained page about a finished run")
    report.add_argument("evaluation", type=Path, help="folder written by `mm-coach evaluate`")
    report.add_argument("out", type=Path, help="folder for index.html and metrics.json")
    report.add_argument("--training", type=Path, help="the coach's training folder, for the loss curve")
    report.add_argument("--tokenizer-training", type=Path, help="the tokenizer's training folder, for its curve")
    report.add_argument("--started", type=float, help="epoch seconds at which the whole run began")
    report.set_defaults(run="mm_adapter.cli.evaluation:run_report")
