"""A served coach under load: 32 questions at once through `mm-coach serve`, against transformers one by one.

    python benchmarks/serving.py COACH EXPORT TUPLES CODES FEATURES [--questions 32] [--minutes 10] [--dtype float32] [--save]

Both answer the same question about the same test clips, greedily, in the same type of weights; clips are uploaded and
encoded, and features extracted, before the clock starts. `ratio` is transformers' time over the server's when nobody asked
about these clips before; asked again, vLLM has the prompts in its cache. `--minutes` then keeps as many questions in flight (each
fourth uploads its clip anew, in another cut) and watches the resident memory of the front and of vLLM, tenth by tenth of the time.
"""

import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from record import finish, parse

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.inference.coach import Coach
from mm_adapter.serving.client import CoachClient
from mm_data.features import FeatureStore
from mm_data.items.manifest import ItemManifest
from mm_data.records import FPS, CoachingTuple
from mm_data.tasks.coaching import ASK_COMMENTARY, SYSTEM, commentary_prompt
from mm_data.tasks.questions import Words
from mm_data.tuples.store import read_tuples
from mm_tokenizers.codes import PoseCodeStore

_LIMIT = 64  # tokens of an answer


class Served:
    """The command in a process of its own.

    Args:
        export: What it serves.
        dtype: Of the weights.
        folder: For the log.
    """

    def __init__(self, export: Path, dtype: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = f"--dtype {dtype} --max-model-len 2048"
        command = [
            "mm-coach",
            "serve",
            str(export),
            "--port",
            str(port),
            f"--vllm={flags}",
            "--log",
            str(folder / "log"),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        while not is_ready(url):
            if self.process.poll() is not None:
                raise SystemExit(f"mm-coach serve ended; see {folder / 'log'}")
            time.sleep(1)
        self.coach = CoachClient(url)

    def upload(self, t: CoachingTuple, tuples: Path, videos: Path, shift: float = 0.0) -> str:
        """A test clip; ``shift`` moves its end by some seconds, which makes it another clip."""
        clip = t.learner
        files = {"exo": videos / clip.exo_video, "ego": videos / clip.ego_video}
        poses = tuples / "poses" / f"{clip.take_uid}.npy"
        return self.coach.upload(files, poses, clip.start / FPS, clip.stop / FPS - shift)["id"]

    def ask(self, clip: str) -> str:
        """An answer in words."""
        content = [{"type": "clip", "clip_id": clip}, {"type": "text", "text": ASK_COMMENTARY}]
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
        answer = {"vllm_xargs": {"coach_answer": "words"}, "temperature": 0, "max_tokens": _LIMIT}
        reply = self.coach.client.post("/v1/chat/completions", json={"model": "coach", "messages": messages, **answer})
        reply.raise_for_status()
        return reply.json()["choices"][0]["message"]["content"].strip()

    def memory(self) -> tuple[float, float]:
        """Resident MiB of the front with its workers, and of vLLM."""
        front = psutil.Process(self.process.pid)
        (engine,) = [child for child in front.children() if "vllm.entrypoints.openai.api_server" in child.cmdline()]
        inside = [engine, *engine.children(recursive=True)]
        outside = [front, *(child for child in front.children(recursive=True) if child not in inside)]
        sizes = [sum(process.memory_info().rss for process in group) / 2**20 for group in (outside, inside)]
        return sizes[0], sizes[1]

    def close(self) -> None:
        """Ends it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


def is_ready(url: str) -> bool:
    """Tells whether the server answers questions."""
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def under_load(
    served: Served, tests: list[CoachingTuple], tuples: Path, videos: Path, at_once: int, minutes: float
) -> dict[str, Any]:
    """Asks without a pause and watches the memory."""
    end, lock = time.monotonic() + 60 * minutes, threading.Lock()
    done, failed, samples = 0, Counter[str](), []

    def worker(number: int) -> None:
        nonlocal done
        turn = number
        clip = served.upload(tests[turn % len(tests)], tuples, videos)
        while time.monotonic() < end:
            try:
                if turn % 4 == 0:
                    clip = served.upload(tests[turn % len(tests)], tuples, videos, shift=(turn % 500) / 1000)
                served.ask(clip)
                with lock:
                    done += 1
            except (httpx.HTTPStatusError, ValueError) as error:
                with lock:
                    failed[str(error)[:200]] += 1
                time.sleep(0.5)
            turn += at_once + 1

    with ThreadPoolExecutor(at_once) as pool:
        for number in range(at_once):
            pool.submit(worker, number)
        while time.monotonic() < end:
            samples.append(served.memory())
            time.sleep(2)
    minutes_of = np.array_split(np.array(samples), 10)
    return {
        "minutes": minutes, "answers": done, "failed": dict(failed),
        "front_mib": [round(part[:, 0].mean()) for part in minutes_of], "vllm_mib": [round(part[:, 1].mean()) for part in minutes_of],
    }  # fmt: skip


def main() -> None:
    """Measures and prints."""
    args = parse(
        __doc__, "coach", "export", "tuples", "codes", "features", questions=32, rounds=3, minutes=0.0,
        dtype=("float32", "bfloat16"),
    )  # fmt: skip
    tests = read_tuples(args.tuples, "test")
    tests = [tests[k % len(tests)] for k in range(args.questions)]
    videos = Path(ItemManifest.read(args.tuples).source)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = SavedCoach.from_pretrained(args.coach, device, getattr(torch, args.dtype))
    plain = Coach(opened.model, opened.processor, PoseCodeStore.load(args.codes), FeatureStore(args.features))
    questions = [(t.tuple_id, Words(commentary_prompt(t.learner.clip_id), _LIMIT)) for t in tests]
    scratch = args.export.parent / f"serving-{os.getpid()}"
    scratch.mkdir()
    served = Served(args.export, args.dtype, scratch)
    try:
        clips = [served.upload(t, args.tuples, videos) for t in tests]
        seconds: dict[str, list[float]] = {"transformers": [], "server": []}
        answers: dict[str, list[str]] = {}
        with ThreadPoolExecutor(args.questions) as pool:
            served.ask(clips[0])
            for _ in range(args.rounds):
                begun = time.perf_counter()
                answers["transformers"] = plain.answer_words(questions, batch_size=1)
                seconds["transformers"].append(time.perf_counter() - begun)
                begun = time.perf_counter()
                answers["server"] = list(pool.map(served.ask, clips))
                seconds["server"].append(time.perf_counter() - begun)
        first = {name: round(values[0], 2) for name, values in seconds.items()}
        again = {name: round(statistics.median(values[1:]), 2) for name, values in seconds.items()}
        same = sum(a == b for a, b in zip(answers["transformers"], answers["server"], strict=True))
        result = {
            "ratio": round(first["transformers"] / first["server"], 2), "questions": args.questions, "dtype": args.dtype,
            "seconds": first, "seconds_asked_again": again, "same_answers": same,
        }  # fmt: skip
        if args.minutes:
            result["load"] = under_load(served, tests, args.tuples, videos, args.questions, args.minutes)
    finally:
        served.close()
    finish("serving", result, args.save)


if __name__ == "__main__":
    main()
