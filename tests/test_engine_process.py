"""vLLM's process: the memory it is given on a CPU, and what is said where it ends."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mm_adapter.serving.http.engine import RunningEngine, root_cause
from mm_adapter.serving.memory import LEAST_CACHE, MOST_CACHE, cache_flags

GIB = 2**30


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the bytes that are free, on a machine without an accelerator."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    return lambda size: monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=size))


def test_the_cache_is_modest_on_a_cpu(free: Any, tmp_path: Path) -> None:
    """Half of what the weights leave free, within bounds."""
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "encoder.safetensors").write_bytes(bytes(1000))
    (tmp_path / "model.safetensors").write_bytes(bytes(3000))
    for bytes_free, cache in ((2 * GIB + 4000, GIB), (500 * GIB, MOST_CACHE), (1000, LEAST_CACHE)):
        free(bytes_free)
        assert cache_flags(tmp_path, [], {}) == ["--kv-cache-memory-bytes", str(cache)]
        assert cache_flags(tmp_path, ["--max-model-len", "2048"], {"VLLM_CPU_KVCACHE_SPACE": ""}) != []


@pytest.mark.parametrize(
    "flags",
    [
        ["--gpu-memory-utilization", "0.5"],
        ["--gpu-memory-utilization=0.5"],
        ["--gpu_memory_utilization", "0.5"],
        ["--max-model-len", "2048", "--kv-cache-memory-bytes=2G"],
        ["--kv_cache_memory_bytes", "2G"],
        ["--config", "vllm.yaml"],
    ],
)
def test_whoever_decides_is_obeyed(free: Any, tmp_path: Path, flags: list[str]) -> None:
    free(8 * GIB)
    assert cache_flags(tmp_path, flags, {}) == []


def test_the_environment_decides_too(free: Any, tmp_path: Path) -> None:
    free(8 * GIB)
    assert cache_flags(tmp_path, [], {"VLLM_CPU_KVCACHE_SPACE": "2"}) == []


def test_an_accelerator_keeps_its_own_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    assert cache_flags(tmp_path, [], {}) == []


TRACEBACK = """\
(APIServer pid=1) WARNING 01-01 10:00:00 [utils.py:255] Found a limit; errors like `OSError: [Errno 24]` may follow.
(APIServer pid=1) INFO 01-01 10:00:00 [core.py:1] starting
(VllmWorker-0 pid=3) ERROR 01-01 10:00:01 [executor.py:953] Traceback (most recent call last):
(VllmWorker-0 pid=3) ERROR 01-01 10:00:01 [executor.py:953]     raise ValueError(
(VllmWorker-0 pid=3) ERROR 01-01 10:00:01 [executor.py:953] ValueError: 13 of 19 GiB are free, 18 are wanted.
(EngineCore pid=2) ERROR 01-01 10:00:02 [core.py:1510] Exception: Start failed. See stack trace for root cause.
Exception: Start failed. See stack trace for root cause.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (TRACEBACK, "ValueError: 13 of 19 GiB are free, 18 are wanted."),
        ("INFO\ntorch.cuda.OutOfMemoryError: CUDA out of memory.\nRuntimeError: again", "torch.cuda.OutOfMemoryError: CUDA out of memory."),
        ("\x1b[31m(Worker_TP0 pid=7)\x1b[0m ERROR 01-01 10:00:01 [a.py:9] KeyError: 'x'", "KeyError: 'x'"),
        ("usage: api_server.py [-h]\napi_server.py: error: unrecognized arguments: --no-such", "api_server.py: error: unrecognized arguments: --no-such"),
        ("RuntimeError: Engine core initialization failed. See root cause above.", None),
        ("Killed", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_first_error_is_the_cause(log: str, cause: str | None) -> None:
    assert root_cause(log) == cause


@pytest.mark.parametrize(("log", "said"), [(TRACEBACK, "status 3: ValueError: 13 of 19 GiB"), ("a\nb", "the end of ")])
def test_what_is_said_where_the_engine_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, said: str
) -> None:
    popen = subprocess.Popen
    code = f"import sys; print({log!r}); sys.exit(3)"
    monkeypatch.setattr("subprocess.Popen", lambda _, **options: popen([sys.executable, "-c", code], **options))
    with RunningEngine(tmp_path, [], tmp_path / "log") as engine:
        engine.process.wait()
        with pytest.raises(ChildProcessError) as error:
            engine.check()
    assert "vLLM ended with status 3" in str(error.value) and said in str(error.value)
    assert str(tmp_path / "log") in str(error.value)
