#!/usr/bin/env bash
# From an empty folder to a trained coach and its report, on synthetic data: bash scripts/quickstart.sh
# Run again to resume; every step leaves what is finished alone. RUN=folder chooses another place.
set -euo pipefail
source "$(dirname "$0")/environment.sh" "train,metrics,miniature"

run="${RUN:-runs/quickstart}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore PYTHONUNBUFFERED=1
# One process with all cores: accelerate would otherwise give it a single thread.
launch=(accelerate launch --config_file recipes/accelerate/cpu.yaml --num_cpu_threads_per_process "$(nproc)")
mkdir -p "$run"
[ -f "$run/started" ] || date +%s > "$run/started"
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

step "1/8 Miniature Ego-Exo4D (synthetic)"
mm-coach miniature "$run/miniature" --takes 200 --workers "$(nproc)"

step "2/8 Coaching tuples: read, label, split, pair, align"
mm-coach data build "$run/miniature" "$run/tuples" --experts-train 2

step "3/8 Video features (tiny InternVideo2 with random weights)"
mm-coach features extract "$run/tuples" "$run/features" --encoder tiny

step "4/8 Pose tokenizer"
if [ -f "$run/pose_tokenizer/metrics.json" ]; then
  echo "$run/pose_tokenizer is trained"
else
  "${launch[@]}" recipes/pose_tokenizer.py --config recipes/configs/pose_tokenizer/quickstart.yaml \
    --poses "$run/tuples" --output_dir "$run/pose_tokenizer"
fi
mm-coach tokenizer encode "$run/tuples" "$run/pose_tokenizer/tokenizer" "$run/pose_codes" --frames 5

step "5/8 Language model (SmolLM2-135M-Instruct)"
mm-coach language-model "$run/language_model"

step "6/8 Coach: commentary, retrieval and pose generation in one model"
if [ -f "$run/coach_training/coach/complete.json" ]; then
  echo "$run/coach_training/coach is trained"
else
  "${launch[@]}" recipes/expertaf.py --config recipes/configs/expertaf/quickstart.yaml \
    --language_model "$run/language_model" --tuples "$run/tuples" --features "$run/features" \
    --pose_tokenizer "$run/pose_tokenizer/tokenizer" --pose_codes "$run/pose_codes" --output_dir "$run/coach_training"
fi

step "7/8 Answers about participants who were never seen"
mm-coach answer "$run/coach_training/coach" "$run/tuples" "$run/answers" \
  --features "$run/features" --codes "$run/pose_codes" --max-items 72

step "8/8 Numbers and report"
mm-coach eval "$run/answers"
mm-coach report "$run/answers" "$run/report" --training "$run/coach_training" \
  --tokenizer-training "$run/pose_tokenizer" --started "$(cat "$run/started")"

cat <<DONE

Report:  $run/report/index.html   (numbers: $run/report/metrics.json)
The data is synthetic and the video encoder random: this shows that the path works.

Go on:
  your own data      mm-coach data build EGOEXO4D_FOLDER TUPLES          (docs/data.md shows the formats)
  a bigger model     python recipes/expertaf.py --config recipes/configs/expertaf/llama3_8b_lora.yaml --dry-run
  another run        RUN=runs/second bash scripts/quickstart.sh
  what is missing    mm-coach doctor
DONE
