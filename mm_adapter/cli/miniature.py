"""`mm-coach miniature`: a stand-in for licensed data."""

from pathlib import Path
from typing import Literal


def miniature(
    out: Path,
    *,
    task: Literal["expertaf", "desccoach", "nae", "cot-afa"] = "expertaf",
    takes: int = 200,
    seed: int = 0,
    workers: int = 2,
    no_videos: bool = False,
) -> None:
    """Write a synthetic data set in a task's true on-disk format; a finished one is left as it is.

    Args:
        out: New folder.
        task: Ego-Exo4D, the same with DescCoach's commentary, dives with scores, or exercises with standard and faulty form.
        takes: Number of takes, dives or clips.
        seed: Seed of everything that is drawn; the same takes and seed give the same bytes.
        workers: Number of processes that render.
        no_videos: Write annotations and poses only: enough for tuples and for coaches that see poses alone.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_data.miniature import write_miniature
    from mm_data.miniature.claim import claim_miniature, finish_miniature
    from mm_data.miniature.desccoach import write_desccoach
    from mm_data.miniature.dives import write_dives
    from mm_data.miniature.gym import write_gym

    writers = {"expertaf": write_miniature, "desccoach": write_desccoach, "nae": write_dives, "cot-afa": write_gym}
    request = {"task": task, "takes": takes, "seed": seed, "videos": not no_videos}
    if (finished := claim_miniature(out, request)) is not None:
        print(f"{out} is there already: {finished} (synthetic)")
        return
    with ConsoleReport().progress("rendering", takes) as progress:
        counts = writers[task](out, takes, seed, workers, progress=progress, videos=not no_videos)
        progress(takes)
    finish_miniature(out, request, counts)
    print(f"{out}: {counts} (synthetic)")
