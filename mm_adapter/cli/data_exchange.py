"""`mm-coach data` commands towards people and other files: review, import-expertaf, export-llava, vary."""

import argparse
import json
from pathlib import Path

from mm_adapter.cli.console import ConsoleReport
from mm_data.exchange.expertaf_import import import_expertaf
from mm_data.exchange.llava_format import write_llava
from mm_data.ground.files import check_apart
from mm_data.records import SPLITS
from mm_data.release.read import read_source
from mm_data.tuples.manifest import TupleManifest
from mm_data.tuples.review.decisions import REVIEW
from mm_data.tuples.store import read_tuples
from mm_data.tuples.variants import EXPERTS, write_variant


def add_steps(steps: argparse._SubParsersAction) -> None:
    """Adds the commands below `mm-coach data`."""
    review = steps.add_parser("review", help="open a page on this machine to accept, fix or reject test tuples")
    review.add_argument("tuples", type=Path)
    review.add_argument("--decisions", type=Path, help="append-only file that reviewers share; TUPLES/review.jsonl by default")  # fmt: skip
    review.add_argument("--port", type=int, default=8765)
    review.set_defaults(run=run_review)

    imported = steps.add_parser("import-expertaf", help="make a tuple folder from ExpertAF's released JSON")
    imported.add_argument("source", type=Path, help="Ego-Exo4D download with poses")
    imported.add_argument("train", type=Path)
    imported.add_argument("test", type=Path)
    imported.add_argument("out", type=Path)
    imported.add_argument("--max-drop-rate", type=float, default=0.5)
    imported.add_argument("--workers", type=int, default=2)
    imported.set_defaults(run=run_import)

    exported = steps.add_parser("export-llava", help="write a split as a LLaVA conversation file")
    exported.add_argument("tuples", type=Path)
    exported.add_argument("out", type=Path)
    exported.add_argument("--split", default="train", choices=SPLITS)
    exported.set_defaults(run=run_export)

    varied = steps.add_parser("vary", help="the same tuples with other demonstrations to train on, for ablations")
    varied.add_argument("tuples", type=Path)
    varied.add_argument("out", type=Path)
    varied.add_argument(
        "--experts",
        required=True,
        choices=EXPERTS,
        help="one demonstration per activity, or each expert's clip before the praise without alignment",
    )
    varied.set_defaults(run=run_vary)


def run_vary(args: argparse.Namespace) -> None:
    """Writes the folder."""
    changed = write_variant(args.tuples, args.out, args.experts)
    print(
        f"{args.out}: {changed} training tuples have another demonstration. Make pose codes and features for its clips."
    )


def run_review(args: argparse.Namespace) -> None:
    """Serves the page until it is interrupted."""
    try:
        import uvicorn

        from mm_data.tuples.review.server import LOOPBACK, review_app
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is missing: pip install 'mm-coach[review]'.") from error
    if not 0 < args.port < 65536:
        raise ValueError(f"--port is {args.port}; ports are 1 to 65535.")
    decisions = args.decisions or args.tuples / REVIEW
    app = review_app(args.tuples, decisions)
    print(
        f"http://{LOOPBACK[0]}:{args.port}  (this machine only; Ctrl-C ends it)\ndecisions go to {decisions}",
        flush=True,
    )
    uvicorn.run(app, host=LOOPBACK[0], port=args.port, log_level="warning")


def run_import(args: argparse.Namespace) -> None:
    """Imports and prints the funnel."""
    files = {"train": args.train, "test": args.test}
    manifest = import_expertaf(args.source, files, args.out, ConsoleReport(), args.max_drop_rate, args.workers)
    print(json.dumps(manifest.funnel, indent=1))
    print(f"{args.out}: {manifest.tuples}; {manifest.shared_participants} participants on both sides")


def run_export(args: argparse.Namespace) -> None:
    """Writes the LLaVA file."""
    check_apart(args.out, args.tuples)
    source = read_source(TupleManifest.read(args.tuples).source)
    tuples = read_tuples(args.tuples, args.split)
    if not tuples:
        raise ValueError(f"{args.tuples} has no tuple in its {args.split} split, so there is nothing to export.")
    write_llava(args.out, tuples, {uid: take.take_name for uid, take in source.takes.items()})
    print(f"{args.out}: {len(tuples)} conversations")
