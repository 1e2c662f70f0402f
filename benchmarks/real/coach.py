"""A small coach trained on one part of a table and asked about the other: what the benchmarks on real people share."""

import subprocess
import sys
from pathlib import Path

from real.where import mm_coach
from record import timed

FRAMES = 16


def ask_coach(table: Path, people: Path, fold: Path, model: Path, steps: int) -> float:
    """Trains a random Llama of 5 M parameters on a table's training rows, its joints as features, and asks it about the test rows; resumes.

    Args:
        table: Table with a split.
        people: Folder of poses.
        fold: Receives ``items``, ``run`` and ``answers``.
        model: Folder of the random language model; made of this table's words where there is none.
        steps: Training steps of 16 clips.

    Returns:
        Seconds that training took.
    """
    items = fold / "items"
    if not (items / "items.json").is_file():
        mm_coach("task", "read", "table", table, items, "--poses", people)
    mm_coach("features", "from-poses", items, items / "features", "--frames", str(FRAMES))
    if not model.exists():
        script = Path(__file__).resolve().parents[2] / "scripts" / "make_small_llama.py"
        subprocess.run([sys.executable, script, items, model, "--vocabulary", "512"], check=True)
    flags = ("--language_model", model, "--items", items, "--output_dir", fold / "run", "--max_steps", str(steps))
    seconds, _ = timed(mm_coach, "train", "task", "--config", "small", *flags)
    mm_coach("answer", fold / "run" / "coach", items, fold / "answers")
    return seconds
