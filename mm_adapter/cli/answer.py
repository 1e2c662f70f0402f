"""`mm-coach answer`."""

from pathlib import Path

from mm_adapter.cli.flags import Switches


def answer(
    coach: Path,
    items: Path,
    out: Path,
    *,
    base_model: str | None = None,
    features: Path | None = None,
    codes: Path | None = None,
    max_items: int | None = None,
    switches: Switches | None = None,
) -> None:
    """Write a coach's answers to a task's test items, for `eval`, `judge` and `human`; resumes.

    Args:
        coach: A run's coach/ or checkpoint-N folder, or a name on the Hub.
        items: Folder of items.
        out: Folder for answers.jsonl and training.jsonl.
        base_model: Folder or Hub name of the coach's language model, where it is not where training had it.
        features: Feature store; by default ITEMS/features.
        codes: Pose codes; by default ITEMS/pose_codes.
        max_items: Number of test items, evenly spaced; by default all.
        switches: Switches of the task.
    """
    from mm_adapter.checkpoint.coach import coach_folder
    from mm_adapter.cli.console import stage_progress
    from mm_adapter.distributed import launched_processes
    from mm_adapter.evaluation.answer_folder import answer_folder
    from mm_data.ground.files import check_apart
    from mm_eval.answers.test_sets import OURS

    check_apart(out, coach, items, features, codes)
    folder, state = coach_folder(coach), launched_processes()
    with stage_progress(quiet=not state.is_main_process) as progress:
        written = answer_folder(
            folder,
            items,
            out,
            features=features,
            codes=codes,
            limit=max_items,
            switches=switches or {},
            base_model=base_model,
            progress=progress,
        )
    if written is None:
        return print(f"process {state.process_index} is done; others still have items")
    for note in written.notes:
        print(note)
    unread = sum(bool(item.answers[OURS].unread) for item in written.answers)
    inputs = "; ".join(written.inputs)
    print(f"{out}: {len(written.answers)} answers, {unread} of them not wholly readable; {inputs}")
    print(f"mm-coach eval {out} --suite {written.task}")
