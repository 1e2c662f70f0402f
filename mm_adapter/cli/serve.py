"""`mm-coach serve`: vLLM, and in front of it plain videos, poses and a page."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mm_adapter.cli.console import plain_console, stage_progress
from mm_adapter.cli.flags import EngineFlags, GalleryFlags, words_of

if TYPE_CHECKING:
    from mm_adapter.serving.http.app import Front
    from mm_adapter.serving.http.engine import Engine
    from mm_adapter.serving.http.exported_coach import Export
    from mm_data.features import FeatureStore

_IDLE_CONNECTIONS = 64  # browsers keep some open
_GALLERY = GalleryFlags()


def serve(
    export: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    pose_model: Path | None = None,
    gallery: GalleryFlags = _GALLERY,
    max_upload_mb: int = 200,
    max_requests: int = 64,
    workers: int = 2,
    engine: str | None = None,
    log: Path | None = None,
    vllm: EngineFlags | None = None,
) -> None:
    """Start vLLM with an exported coach, and in front of it plain videos, poses and a page to try it.

    Args:
        export: Export in layout coach, with its video encoder.
        host: Address to listen on; others than the loopback need MM_COACH_API_KEY.
        port: Port to listen on.
        pose_model: File pose_landmarker_*.task: MediaPipe finds the poses in videos sent without.
        gallery: Experts among whom a demonstration is looked for.
        max_upload_mb: Megabytes of one request.
        max_requests: Number of questions in the engine at a time.
        workers: Processes that decode videos.
        engine: Address of a vLLM server that runs already, instead of starting one.
        log: File for vLLM's output; by default a temporary one.
        vllm: Flags for vLLM: --vllm.max-model-len 4096; `true` after one that takes no value: --vllm.enforce-eager true.
    """
    from mm_adapter.export.read import check_export
    from mm_adapter.inference.experts import ExpertGallery, ExpertSearch, ranker_of
    from mm_adapter.serving import LOOPBACK
    from mm_adapter.serving.client import KEY
    from mm_adapter.serving.http.answerer import EngineAnswerer
    from mm_adapter.serving.http.app import Front, Limits
    from mm_adapter.serving.http.clips import ClipShelf, ClipWorkers
    from mm_adapter.serving.http.conversation import shelf_parts
    from mm_adapter.serving.http.exported_coach import Export
    from mm_data.tuples.store import is_synthetic
    from mm_tokenizers.codes import PoseCodeStore

    console = plain_console()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the engine ends too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    key = os.environ.get(KEY) or None
    if host not in LOOPBACK and key is None:
        raise ValueError(f"{host} can be reached by others: set an API key in the environment ({KEY}=...).")
    if pose_model is not None and not pose_model.is_file():
        raise FileNotFoundError(f"Pose model {pose_model} does not exist; give a pose_landmarker_*.task file.")
    for name, number in (("max-upload-mb", max_upload_mb), ("max-requests", max_requests), ("workers", workers)):
        if number < 1:
            raise ValueError(f"--{name} is {number}; it has to be at least 1.")
    for name, value in vars(gallery).items():
        if gallery.gallery is None and value is not None:
            raise ValueError(f"--{name} belongs to a --gallery; give its tuple folder.")
    check_export(export)
    coach = Export.open(export)
    codes, features = PoseCodeStore.load(gallery.codes) if gallery.codes else None, _features(gallery.features, coach)
    experts = None
    if gallery.gallery is not None:
        if codes is not None and codes.tokenizer_fingerprint != coach.config.pose_tokenizer:
            raise ValueError(f"{gallery.codes} was made with another pose tokenizer than the coach's.")
        looks = coach.config.video_tokens > 0
        experts = ExpertGallery.open(gallery.gallery, codes, features, gallery.activity, looks)
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(host, port))
        pool = ClipWorkers(export, pose_model, workers)
        stack.callback(pool.close)
        running = _engine(export, engine, vllm, log, stack, console)
        shelf, search = ClipShelf(pool), None
        if experts is not None and codes is not None:
            search = ExpertSearch(
                experts, ranker_of(EngineAnswerer(running, coach, codes, features, shelf_parts(coach, shelf)))
            )
            with stage_progress() as progress:  # an engine on a CPU needs minutes for a large gallery
                search.prepare(lambda done, total: progress("experts' priors", done, total))
        synthetic = gallery.gallery is not None and is_synthetic(gallery.gallery)
        limits = Limits(max_upload_mb, max_requests)
        front = Front(coach, running, shelf, search, pose_model is not None, synthetic, limits)
        _answer(front, host, port, max_requests, key, listener, console)


def _listener(host: str, port: int) -> socket.socket:
    """Before anything is loaded: a port that is taken would be found minutes later."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ValueError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port.") from error


def _features(folder: Path | None, coach: Export) -> FeatureStore | None:
    from mm_data.features import FeatureStore

    if folder is None or not coach.config.video_tokens:
        return None
    features = FeatureStore(folder)
    if features.manifest.made_by != coach.config.video_encoder:
        maker = features.manifest.encoder
        raise ValueError(f"{folder} was made by {maker}, not by the encoder that the coach was trained on.")
    return features


def _engine(
    export: Path, address: str | None, flags: EngineFlags | None, log: Path | None, stack: ExitStack, console: Console
) -> Engine:
    from mm_adapter.serving.http.engine import Engine, RunningEngine
    from mm_adapter.serving.vllm.plugin import check_vllm_version

    if address is not None:
        engine = Engine(address, os.environ.get("VLLM_API_KEY", ""))
        engine.find_model()
        note = f"the engine at {address} serves {engine.model}; it has to be the same export"
        console.print(note, soft_wrap=True)
        return engine
    check_vllm_version()
    log = log or Path(tempfile.mkdtemp(prefix="mm-coach-serve-")) / "vllm.log"
    console.print(f"vLLM starts; its log: {log}", soft_wrap=True, highlight=False)
    engine = stack.enter_context(RunningEngine(export, words_of(flags), log))
    with console.status("") as status:
        while not engine.ready():
            engine.check()
            status.update(f"vLLM loads the coach ({engine.seconds:.0f} s)")
            time.sleep(0.5)
    console.print(f"vLLM is ready after {engine.seconds:.0f} s", highlight=False)
    return engine


def _answer(
    front: Front, host: str, port: int, max_requests: int, key: str | None, listener: socket.socket, console: Console
) -> None:
    """Answers until it is interrupted or the engine ends."""
    import uvicorn

    from mm_adapter.serving.http.app import front_app
    from mm_adapter.serving.http.engine import RunningEngine

    config = uvicorn.Config(
        front_app(front, host, key),
        log_level="warning",
        limit_concurrency=_IDLE_CONNECTIONS + 4 * max_requests,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
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
