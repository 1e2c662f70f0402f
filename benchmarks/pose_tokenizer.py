"""Trains a preset of the pose tokenizer on the miniature and measures it on performers it has never seen.

    python benchmarks/pose_tokenizer.py WORK [--preset compact] [--save] [-- recipe flags]

Makes a miniature of 200 takes (no videos) and its tuples in WORK. `ratio` is the round trip's PA-MPJPE over the mean
pose's. What follows `--` goes to the recipe, such as `--max_steps 3000`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from record import finish, parse

from mm_eval.statistics.intervals import interval_text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("step", "joint_loss", "commitment_loss", "codes_used", "perplexity", "held_out_mpjpe_mm")


def run(*command: str | Path) -> None:
    """One command from the project's root; stops on failure."""
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def main() -> None:
    """Trains and prints the curve and the figures."""
    words, recipe_flags = sys.argv[1:], []
    if "--" in words:
        words, recipe_flags = words[: words.index("--")], words[words.index("--") + 1 :]
    args = parse(__doc__, "work", words=words, preset="compact")
    work = args.work.resolve()
    run("mm-coach", "miniature", work / "miniature", "--takes", "200", "--no-videos")
    run("mm-coach", "data", "build", work / "miniature", work / "tuples", "--experts-train", "2")
    out = work / args.preset
    begun = time.time()
    run(
        "accelerate", "launch", "--config_file", "recipes/accelerate/cpu.yaml",
        "--num_cpu_threads_per_process", str(os.cpu_count()), "recipes/pose_tokenizer.py",
        "--config", f"recipes/configs/pose_tokenizer/{args.preset}.yaml",
        "--poses", work / "tuples", "--output_dir", out, *recipe_flags,
    )  # fmt: skip
    minutes = (time.time() - begun) / 60
    log = json.loads((out / "trainer_state.json").read_text())["log_history"]
    print("\n" + "".join(f"{column:>19}" for column in COLUMNS))
    for entry in log:
        if "joint_loss" in entry:
            print("".join(f"{entry[column]:>19.4g}" for column in COLUMNS))
    result = json.loads((out / "metrics.json").read_text())
    print(
        f"\n{args.preset}: {minutes:.1f} minutes, {result['frames']} frames of {result['sequences']} sequences, unseen performers"
    )
    print(
        f"PA-MPJPE {result['pa_mpjpe_mm']['value']:.2f} mm ({interval_text(result['pa_mpjpe_mm']['interval'], 2)}), mean pose {result['mean_pose']['pa_mpjpe_mm']:.0f}"
    )
    aligned, mean = result["pa_mpjpe_mm"]["value"], result["mean_pose"]["pa_mpjpe_mm"]
    summary = {
        "preset": args.preset,
        "ratio": round(aligned / mean, 4),
        "pa_mpjpe_mm": round(aligned, 2),
        "mpjpe_mm": round(result["mpjpe_mm"]["value"], 2),
        "codes_used": round(result["codes_used"], 4),
        "codes_unchanged": round(result["codes_unchanged"], 4),
        "mirrored_mpjpe_mm": round(result["mirrored_mpjpe_mm"], 2),
        "mirror_gap_mm": round(result["mirror_gap_mm"], 1),
        "one_hidden_joint_mm": {key: round(value, 1) for key, value in result["hidden_joints"][0].items()},
        "minutes": round(minutes, 1),
    }
    finish("pose_tokenizer", summary, args.save)


if __name__ == "__main__":
    main()
