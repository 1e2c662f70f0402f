"""`mm-coach serve`: vLLM, and in front of it plain videos, poses and a page."""

import argparse
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from rich.console import Console
from rich.text import Text

from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.export.read import check_export
from mm_adapter.inference.experts import ExpertGallery, ExpertSearch
from mm_adapter.serving import LOOPBACK
from mm_adapter.serving.client import KEY
from mm_adapter.serving.http.app import Front, Limits, front_app
from mm_adapter.serving.http.clips import ClipShelf, ClipWorkers
from mm_adapter.serving.http.engine import Engine, RunningEngine
from mm_adapter.serving.http.exported_coach import Export
from mm_adapter.serving.http.ranker import EngineRanker
from mm_adapter.serving.vllm.plugin import check_vllm_version
from mm_data.features import FeatureStore
from mm_data.tuples.store import read_manifest
from mm_tokenizers.codes import PoseCodeStore

_IDLE_CONNECTIONS = 64  # browsers keep some open


def run_serve(args: argparse.Namespace) -> None:
    """Starts the engine, then answers until it is interrupted or the engine ends."""
    console = plain_console()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the engine ends too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    key = os.environ.get(KEY) or None
    if args.host not in LOOPBACK and key is None:
        raise ValueError(f"{args.host} can be reached by others: set an API key in the environment ({KEY}=...).")
    if args.pose_model is not None and not args.pose_model.is_file():
        raise FileNotFoundError(f"Pose model {args.pose_model} does not exist; give a pose_landmarker_*.task file.")
    _check_flags(args)
    check_export(args.export)
    coach = Export.open(args.export)
    codes, features = PoseCodeStore.load(args.codes) if args.codes else None, _features(args, coach)
    experts = None
    if args.gallery is not None:
        if codes is not None and codes.tokenizer_fingerprint != coach.config.pose_tokenizer:
            raise ValueError(f"{args.codes} was made with another pose tokenizer than the coach's.")
        looks = coach.config.video_tokens > 0
        experts = ExpertGallery.open(args.gallery, codes, features, args.activity, looks)
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(args.host, args.port))
        workers = ClipWorkers(args.export, args.pose_model, args.workers)
        stack.callback(workers.close)
        engine = _engine(args, stack, console)
        shelf, search = ClipShelf(workers), None
        if experts is not None and codes is not None:
            search = ExpertSearch(experts, EngineRanker(engine, coach, shelf, codes, features))
            with stage_progress() as progress:  # an engine on a CPU needs minutes for a large gallery
                search.prepare(lambda done, total: progress("experts' priors", done, total))
        synthetic = args.gallery is not None and bool(read_manifest(args.gallery)["synthetic"])
        limits = Limits(args.max_upload_mb, args.max_requests)
        front = Front(coach, engine, shelf, search, args.pose_model is not None, synthetic, limits)
        _answer(args, front, key, listener, console)


def _check_flags(args: argparse.Namespace) -> None:
    for name in ("max_upload_mb", "max_requests", "workers"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}; it has to be at least 1.")
    for name in ("codes", "features", "activity"):
        if args.gallery is None and getattr(args, name) is not None:
            raise ValueError(f"--{name} belongs to a --gallery; give its tuple folder.")


def _listener(host: str, port: int) -> socket.socket:
    """Before anything is loaded: a port that is taken would be found minutes later."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ValueError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port.") from error


def _features(args: argparse.Namespace, coach: Export) -> FeatureStore | None:
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
        engine.find_model()
        console.print(
            f"the engine at {args.engine} serves {engine.model}; it has to be the same export", soft_wrap=True
        )
        return engine
    check_vllm_version()
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


def _answer(args: argparse.Namespace, front: Front, key: str | None, listener: socket.socket, console: Console) -> None:
    config = uvicorn.Config(
        front_app(front, args.host, key),
        log_level="warning",
        limit_concurrency=_IDLE_CONNECTIONS + 4 * args.max_requests,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    address = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{args.port}"
    text = f"  the page; {address}/v1 for OpenAI's clients (model coach)"
    console.print(Text.assemble((address, "bold"), text), soft_wrap=True)
    if "(random weights)" in front.coach.config.video_encoder:
        console.print("The coach's video encoder has random weights.", style="yellow")

    def watch() -> None:
        while not server.should_exit:
            if isinstance(front.engine, RunningEngine) and not front.engine.alive:
                server.should_exit = True
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()
    server.run(sockets=[listener])
    if isinstance(front.engine, RunningEngine):
        front.engine.check()
