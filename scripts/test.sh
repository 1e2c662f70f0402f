#!/usr/bin/env bash
# Environment, lint, types and the whole test suite: bash scripts/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname "$0")/environment.sh" "train,qlora,metrics,miniature,dev"
bash scripts/vllm_cpu.sh # the plugin is tested inside the engine

export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
ruff check .
ruff format --check .
pyright
pytest "$@"
