#!/usr/bin/env bash
# NAE, CoT-AFA and DescCoach from empty folders to tables, on synthetic data: bash scripts/tasks.sh
# Run again to resume; every step leaves what is finished alone. RUN=folder chooses another place, TASKS="nae cot_afa" some of them.
# About 40 minutes on two cores, of which each recipe trains for less than ten. PRESET=quickstart trains SmolLM2-135M-Instruct instead of
# a small random Llama. MIX=1 also trains one coach on all three; SWITCHES=1 compares tasks' inputs with and without what gives them away.
set -euo pipefail
source "$(dirname "$0")/environment.sh" "train,metrics,miniature"

run="${RUN:-runs/tasks}" preset="${PRESET:-small}"
read -ra tasks <<< "${TASKS:-nae cot_afa desccoach}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore PYTHONUNBUFFERED=1
launch=(accelerate launch --config_file recipes/accelerate/cpu.yaml --num_cpu_threads_per_process "$(nproc)")
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
takes=1600 # dives, exercises, or takes of two repetitions

for task in "${tasks[@]}"; do
  step "$task: miniature, items"
  here="$run/$task"
  if [ ! -f "$here/items/items.json" ]; then
    # Coaches see joints here, so nothing is filmed; leave --no-videos out for clips to look at.
    mm-coach miniature "$here/release" --task "${task/_/-}" --takes "$takes" --workers "$(nproc)" --no-videos
    poses=(); [ -d "$here/release/poses" ] && poses=(--poses "$here/release/poses")
    mm-coach task read "${task/_/-}" "$here/release" "$here/items" "${poses[@]}"
  fi
done
items=(); for task in "${tasks[@]}"; do items+=("$run/$task/items"); done
for folder in "${items[@]}"; do mm-coach features from-poses "$folder" "$folder/features"; done

step "Language model ($preset)"
language_model="$run/language_model_$preset"
if [ ! -f "$language_model/config.json" ]; then
  case "$preset" in
    small) python scripts/make_small_llama.py "${items[@]}" "$language_model" --vocabulary 2048 ;;
    *) mm-coach language-model "$language_model" ;;
  esac
fi

train() { # recipe, folder, further flags
  if [ ! -f "$2/coach/complete.json" ]; then
    "${launch[@]}" "recipes/$1.py" --config "recipes/configs/$1/$preset.yaml" --language_model "$language_model" \
      --items "$run/$1/items" --output_dir "$2" "${@:3}"
  fi
}
answer() { # task, coach's run, folder of answers, further flags
  mm-coach answer "$2/coach" "$run/$1/items" "$3" "${@:4}"
}
for task in "${tasks[@]}"; do
  step "$task: coach, answers, table"
  here="$run/$task/$preset"
  train "$task" "$here"
  answer "$task" "$here" "$here/answers"
  mm-coach eval "$here/answers" --out "$here/table"
  mm-coach eval diff "$here/answers" --against "pose nearest neighbour" --out "$here/table"
done

if [ -n "${MIX:-}" ]; then
  step "One coach for all"
  mix="$run/mix/$preset" others=()
  declare -A weight=([nae]=1 [cot_afa]=1 [desccoach]=0.5) # about as many clips of each in an epoch
  for task in "${tasks[@]}"; do # one basis for all of them: a coach has one encoder
    mm-coach features from-poses "$run/$task/items" "$run/mix/features_$task" --statistics-of "${items[@]}"
    if [ "$task" != "${tasks[0]}" ]; then
      part="--mix.$((${#others[@]} / 6))"
      others+=("$part.items" "$run/$task/items" "$part.features" "$run/mix/features_$task" "$part.weight" "${weight[$task]}")
    fi
  done
  train "${tasks[0]}" "$mix" --features "$run/mix/features_${tasks[0]}" "${others[@]}" \
    --short_epochs 5 --max_steps 2930
  for task in "${tasks[@]}"; do
    answer "$task" "$mix" "$mix/$task" --features "$run/mix/features_$task"
    mm-coach eval "single=$run/$task/$preset/answers" "mix=$mix/$task" --out "$mix/table_$task"
  done
fi

if [ -n "${SWITCHES:-}" ]; then
  step "With and without what gives answers away"
  declare -A told=([nae]="--difficulty True" [desccoach]="--hint True")
  for task in "${tasks[@]}"; do
    here="$run/$task/$preset"
    if [ "$task" = cot_afa ]; then # its steps are those of the true class in training anyhow
      answer "$task" "$here" "$here/told_answers" --set steps=ground-truth
    else
      # shellcheck disable=SC2086 # a flag and its value
      train "$task" "$here/told" ${told[$task]}
      answer "$task" "$here/told" "$here/told_answers"
    fi
    mm-coach eval "not told=$here/answers" "told=$here/told_answers" --out "$here/switches"
  done
fi
