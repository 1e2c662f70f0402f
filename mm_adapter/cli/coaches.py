"""Commands about a trained coach and their flags."""

import argparse
from pathlib import Path

from mm_adapter.cli.old_flags import (
    add_base_model,
    add_bert,
    add_encoder,
    add_gallery,
    add_sampling,
    add_test_set,
    add_vllm,
)

_PREDICTIONS = "folder with one .jsonl per function"


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds them, in the order in which they are needed."""
    for add in (_add_evaluation, _add_table, _add_chat, _add_serve):
        add(commands)


def _add_chat(commands: argparse._SubParsersAction) -> None:
    chat = commands.add_parser("chat", help="ask a coach about your own clip, in the terminal")
    chat.add_argument(
        "coach", help="a run's coach/ or checkpoint-N folder, a name on the Hub, or the address of `mm-coach serve`"
    )
    add_base_model(chat)
    chat.add_argument("--exo", type=Path, help="video from outside")
    chat.add_argument("--ego", type=Path, help="video from the learner's eyes")
    chat.add_argument("--start", type=float, default=0.0, help="first second of the clip")
    chat.add_argument("--stop", type=float, help="its end; by default the video's")
    chat.add_argument(
        "--pose",
        type=Path,
        help="poses at 30 fps: .npy [T, 17, 4] or an Ego-Exo4D pose file; of the whole video, or exactly as long as the clip",
    )
    chat.add_argument(
        "--pose-model", type=Path, help="pose_landmarker_*.task: MediaPipe finds the poses in the exo video"
    )
    add_encoder(chat, purpose="; by default tiny")
    add_gallery(chat)
    chat.add_argument(
        "--ask", nargs="+", metavar="QUESTION", help="ask these and end, instead of waiting for questions"
    )
    chat.add_argument("--save", type=Path, default=Path("chat"), help="folder for demonstrations")
    add_sampling(chat)
    chat.set_defaults(run="mm_adapter.cli.chat:run_chat")


def _add_evaluation(commands: argparse._SubParsersAction) -> None:
    score = commands.add_parser(
        "evaluate", help="comment, rank and demonstrate on the test split, then score with baselines"
    )
    add_test_set(
        score,
        "a run's coach/ or checkpoint-N folder, a name on the Hub, a folder of zero-shot answers, or the word nearest-neighbour (of video features)",
        "folder of predictions and scores",
    )
    score.add_argument("--demonstrator", type=Path, help="another coach for retrieval and poses")
    score.add_argument(
        "--privileged", action="store_true", help="show the expert's clip or remark too (ExpertAF's full-sup)"
    )
    add_bert(score)
    score.set_defaults(run="mm_adapter.cli.evaluation:run_evaluate")

    generate = commands.add_parser(
        "generate",
        help="answers of a coach on the test split, item by item; resumes; several processes: accelerate launch -m mm_adapter.cli",
    )
    add_test_set(
        generate,
        "a run's coach/ or checkpoint-N folder, or a name on the Hub; an export for --backend vllm",
        _PREDICTIONS,
    )
    _add_remarks(generate)
    generate.add_argument(
        "--functions",
        nargs="+",
        choices=("commentary", "demonstration", "retrieval"),
        default=["commentary", "demonstration", "retrieval"],
    )
    generate.add_argument("--backend", choices=("transformers", "vllm"), default="transformers")
    add_vllm(generate)
    add_sampling(generate)
    generate.set_defaults(run="mm_adapter.cli.predictions:run_generate")

    retrieve = commands.add_parser(
        "retrieve", help="rank the gallery by likelihood for every test tuple; as `generate`"
    )
    add_test_set(retrieve, "a run's coach/ or checkpoint-N folder, or a name on the Hub", _PREDICTIONS)
    _add_remarks(retrieve)
    retrieve.set_defaults(run="mm_adapter.cli.predictions:run_retrieve")

    report = commands.add_parser("report", help="write a self-contained page about a finished run")
    report.add_argument("evaluation", type=Path, help="folder written by `mm-coach evaluate`")
    report.add_argument("out", type=Path, help="folder for index.html and metrics.json")
    report.add_argument("--training", type=Path, help="the coach's training folder, for the loss curve")
    report.add_argument("--tokenizer-training", type=Path, help="the tokenizer's training folder, for its curve")
    report.add_argument("--started", type=float, help="epoch seconds at which the whole run began")
    report.set_defaults(run="mm_adapter.cli.evaluation:run_report")


def _add_remarks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--remarks", type=Path, help=".jsonl of tuple_id and text to ask about, instead of generated ones"
    )


def _add_table(commands: argparse._SubParsersAction) -> None:
    tables = commands.add_parser("table", help="systems against each other, with intervals and cost").add_subparsers(
        metavar="PAPER", required=True
    )
    table = tables.add_parser(
        "expertaf", help="ExpertAF's Table 1: trains and evaluates baselines and ablations; what is there is kept"
    )
    table.add_argument("out", type=Path, help="folder with one folder per row, table.md and table.json")
    table.add_argument("--config", type=Path, required=True, help="base preset of recipes/expertaf.py")
    table.add_argument("--variants", type=Path, help="rows; by default recipes/configs/expertaf/table1.yaml")
    table.add_argument("--rows", nargs="+", help="only these rows")
    table.add_argument("--collect", action="store_true", help="train and evaluate nothing, only collect")
    table.add_argument(
        "--launch", type=Path, help="launch file of accelerate; by default one process (recipes/accelerate/cpu.yaml)"
    )
    table.add_argument("--threads", type=int, help="CPU threads per process")
    table.add_argument("--extract", help="flags of `mm-coach features extract` for clips that an ablation adds")
    table.add_argument("--max-tuples", type=int, help="an evenly spaced subset of the test tuples")
    table.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the preset to change")
    table.set_defaults(run="mm_adapter.cli.table:run_expertaf")


def _add_serve(commands: argparse._SubParsersAction) -> None:
    serve = commands.add_parser(
        "serve", help="vLLM with an exported coach, and in front of it plain videos, poses and a page to try it"
    )
    serve.add_argument("export", type=Path, help="export in layout coach, with its video encoder")
    serve.add_argument("--host", default="127.0.0.1", help="others than the loopback need MM_COACH_API_KEY")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument(
        "--pose-model", type=Path, help="pose_landmarker_*.task: MediaPipe finds the poses in videos sent without"
    )
    add_gallery(serve)
    serve.add_argument("--max-upload-mb", type=int, default=200, help="megabytes of one request")
    serve.add_argument("--max-requests", type=int, default=64, help="questions in the engine at a time")
    serve.add_argument("--workers", type=int, default=2, help="processes that decode videos")
    serve.add_argument("--engine", help="address of a vLLM server that runs already, instead of starting one")
    serve.add_argument("--log", type=Path, help="file for vLLM's output; by default a temporary one")
    add_vllm(serve)
    serve.set_defaults(run="mm_adapter.cli.serve:run_serve")
