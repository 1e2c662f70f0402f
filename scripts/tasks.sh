#!/usr/bin/env bash
# NAE, CoT-AFA and DescCoach from empty folders to tables, on synthetic data: bash scripts/tasks.sh
# Run again to resume; every step leaves what is finished alone. RUN=folder chooses another place, TASKS="nae cot_afa" some of them.
# MIX=1 also trains one coach on all three. About an hour on two cores, of which each recipe has less than ten minutes.
set -euo pipefail
source "$(dirname "$0")/environment.sh" "train,metrics,miniature"

run="${RUN:-runs/tasks}"
read -ra tasks <<< "${TASKS:-nae cot_afa desccoach}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore PYTHONUNBUFFERED=1
launch=(accelerate launch --config_file recipes/accelerate/cpu.yaml --num_cpu_threads_per_process "$(nproc)")
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
declare -A sizes=([nae]=1600 [cot_afa]=1600 [desccoach]=200)

for task in "${tasks[@]}"; do
  step "$task: miniature, items"
  here="$run/$task"
  if [ ! -f "$here/items/items.json" ]; then
    mm-coach miniature "$here/release" --task "${task/_/-}" --takes "${sizes[$task]}" --workers "$(nproc)"
    poses=(); [ -d "$here/release/poses" ] && poses=(--poses "$here/release/poses")
    mm-coach task read "${task/_/-}" "$here/release" "$here/items" "${poses[@]}"
  fi
done
items=(); for task in "${tasks[@]}"; do items+=("$run/$task/items"); done
for folder in "${items[@]}"; do
  # One mean and spread for all of them, so that they can be mixed.
  mm-coach features from-poses "$folder" "$folder/features" --statistics-of "${items[@]}"
done

step "Language model (SmolLM2-135M-Instruct)"
mm-coach language-model "$run/language_model"

train() { # recipe, folder, further flags
  if [ ! -f "$2/coach/complete.json" ]; then
    "${launch[@]}" "recipes/$1.py" --config "recipes/configs/$1/quickstart.yaml" --language_model "$run/language_model" \
      --items "$run/$1/items" --output_dir "$2" "${@:3}"
  fi
}
for task in "${tasks[@]}"; do
  step "$task: coach, answers, table"
  train "$task" "$run/$task/training"
  mm-coach answer "$run/$task/training/coach" "$run/$task/items" "$run/$task/answers" --max-items 120
  mm-coach eval "$run/$task/answers" --suite "${task/_/-}" --out "$run/$task/table"
done

if [ -n "${MIX:-}" ]; then
  step "One coach for all"
  train "${tasks[0]}" "$run/mix/training" --mix "${items[@]:1}" --max_steps 600
  for task in "${tasks[@]}"; do
    mm-coach answer "$run/mix/training/coach" "$run/$task/items" "$run/mix/$task" --max-items 120
    mm-coach eval "single=$run/$task/answers" "mix=$run/mix/$task" --suite "${task/_/-}" --out "$run/mix/table_$task"
  done
fi
