"""`mm-coach miniature`: a stand-in for licensed data."""

from pathlib import Path


def miniature(
    out: Path,
    *,
    task: str = "expertaf",
    takes: int = 200,
    seed: int = 0,
    workers: int = 2,
    no_videos: bool = False,
) -> None:
    """Write a synthetic data set in a task's true on-disk format; a finished one is left as it is.

    Args:
        out: New folder.
        task: expertaf (Ego-Exo4D), desccoach (the same with commentary), nae (dives with scores), cot-afa (exercises with standard and
            faulty form), or module:NAME for one of your own.
        takes: Number of takes, dives or clips.
        seed: Seed of everything that is drawn; the same takes and seed give the same bytes.
        workers: Number of processes that render.
        no_videos: Write annotations and poses only: enough for tuples and for coaches that see poses alone.
    """
    from mm_adapter.cli.console import ConsoleReport
    from mm_adapter.tasks.known import find_task
    from mm_data.miniature.claim import claim_miniature, finish_miniature

    write = find_task(task).miniature
    if write is None:
        raise ValueError(f"{task} has no miniature.")
    request = {"task": task, "takes": takes, "seed": seed, "videos": not no_videos}
    if (finished := claim_miniature(out, request)) is not None:
        print(f"{out} is there already: {finished} (synthetic)")
        return
    with ConsoleReport().progress("rendering", takes) as progress:
        counts = write(out, takes, seed, workers, progress=progress, videos=not no_videos)
        progress(takes)
    finish_miniature(out, request, counts)
    print(f"{out}: {counts} (synthetic)")
