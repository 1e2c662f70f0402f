"""`mm-coach serve`: vLLM, and in front of it plain videos, poses and a page."""

import argparse
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from rich.console import Console
from torch import Tensor

from mm_adapter.chat.experts import ExpertGallery, ExpertSearch
from mm_adapter.chat.remote import KEY
from mm_adapter.cli.console import progress_bar
from mm_adapter.export import check_export
from mm_adapter.front.app import LOOPBACK, Front, Limits, front_app
from mm_adapter.front.clips import ClipShelf, ClipWorkers
from mm_adapter.front.coach import ExportedCoach
from mm_adapter.front.engine import Engine, RunningEngine
from mm_adapter.front.experts import ClipParts, EngineRanker
from mm_adapter.inference.retrieval import PRIOR_PROMPTS, Ranker
from mm_adapter.serving.plugin import check_vllm_version
from mm_data.features import FeatureStore
from mm_data.tuple_store import read_manifest
from mm_tokenizers.codes import PoseCodeStore


def run_serve(args: argparse.Namespace) -> None:
    """Starts the engine, then answers until it is interrupted or the engine ends."""
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the engine ends too
    key = os.environ.get(KEY) or None
    if args.host not in LOOPBACK and key is None:
        raise ValueError(f"{args.host} can be reached by others: set an API key in the environment ({KEY}=...).")
    if args.pose_model is not None and not args.pose_model.is_file():
        raise FileNotFoundError(f"Pose model {args.pose_model} does not exist; give a pose_landmarker_*.task file.")
    check_vllm_version()
    check_export(args.export)
    coach = ExportedCoach.open(args.export)
    codes, features = PoseCodeStore.load(args.codes) if args.codes else None, _features(args, coach)
    experts = None
    if args.gallery is not None:
        if codes is not None and codes.tokenizer_fingerprint != coach.config.pose_tokenizer:
            raise ValueError(f"{args.codes} was made with another pose tokenizer than the coach's.")
        looks = coach.config.video_tokens > 0
        experts = ExpertGallery.open(args.gallery, codes, features, args.activity, looks)
    with ExitStack() as stack:
        workers = ClipWorkers(args.export, args.pose_model, args.workers)
        stack.callback(workers.close)
        engine = _engine(args, stack, console)
        parts = ClipParts(coach, ClipShelf(workers), codes, features)
        search = None
        if experts is not None and codes is not None:
            search = ExpertSearch(experts, EngineRanker(engine, parts, codes))
            _prepare(search)
        synthetic = args.gallery is not None and bool(read_manifest(args.gallery)["synthetic"])
        limits = Limits(args.max_upload_mb, args.max_requests)
        front = Front(coach, engine, parts, search, args.pose_model is not None, synthetic, limits)
        _answer(args, front, key, engine, console)


def _features(args: argparse.Namespace, coach: ExportedCoach) -> FeatureStore | None:
    if args.features is None or not coach.config.video_tokens:
        return None
    features = FeatureStore(args.features)
    if features.manifest.made_by != coach.config.video_encoder:
        raise ValueError(
            f"{args.features} was made by {features.manifest.encoder}, not by the encoder that the coach was trained on."
        )
    return features


def _engine(args: argparse.Namespace, stack: ExitStack, console: Console) -> Engine:
    if args.engine is not None:
        engine = Engine(args.engine, os.environ.get("VLLM_API_KEY", ""))
        if not engine.ready():
            raise ValueError(f"No vLLM server answers at {args.engine}.")
        return engine
    log = args.log or Path(tempfile.mkdtemp(prefix="mm-coach-serve-")) / "vllm.log"
    console.print(f"vLLM starts; its log: {log}", soft_wrap=True, highlight=False)
    engine = stack.enter_context(RunningEngine(args.export, shlex.split(args.vllm), log))
    with console.status("") as status:
        while not engine.ready():
            engine.check()
            status.update(f"vLLM loads the coach ({engine.seconds:.0f} s)")
            time.sleep(0.5)
    console.print(f"vLLM is ready after {engine.seconds:.0f} s", highlight=False)
    return engine


def _prepare(search: ExpertSearch) -> None:
    """The experts' priors, with progress: an engine on a CPU needs minutes for a large gallery."""
    gallery = search.experts.gallery
    with progress_bar() as bar:
        task = bar.add_task("experts' priors", total=PRIOR_PROMPTS * len(gallery.activity))
        rank: Ranker = search.rank

        def counted(learner: str, remark: str, pool: Sequence[str]) -> Tensor:
            likely = rank(learner, remark, list(pool))
            bar.advance(task, len(pool))
            return likely

        search.rank = counted
        search.prepare()
        search.rank = rank


def _answer(args: argparse.Namespace, front: Front, key: str | None, engine: Engine, console: Console) -> None:
    config = uvicorn.Config(
        front_app(front, args.host, key),
        host=args.host,
        port=args.port,
        log_level="warning",
        limit_concurrency=4 * args.max_requests,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    address = f"http://{'127.0.0.1' if args.host in LOOPBACK else args.host}:{args.port}"
    console.print(f"[bold]{address}[/bold]  the page; {address}/v1 for OpenAI's clients (model coach)", soft_wrap=True)
    if "(random weights)" in front.coach.config.video_encoder:
        console.print("[yellow]The coach's video encoder has random weights.[/yellow]")

    def watch() -> None:
        while not server.should_exit:
            if isinstance(engine, RunningEngine) and not engine.alive:
                server.should_exit = True
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()
    server.run()
    if isinstance(engine, RunningEngine):
        engine.check()
