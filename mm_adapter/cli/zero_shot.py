"""`mm-coach zero-shot`: a vision-language model behind an endpoint on a test set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mm_adapter.cli.endpoints import EndpointFlags

_ENDPOINT = EndpointFlags()
_ANSWER_TOKENS = 400


def zero_shot(
    run: Path,
    out: Path,
    *,
    suite: Literal["expertaf", "desccoach", "nae", "cot-afa"] = "expertaf",
    frames: int = 8,
    image_size: int = 448,
    views: Annotated[Sequence[Literal["exo", "ego"]], Parameter(consume_multiple=1)] = ("exo", "ego"),
    max_items: int | None = None,
    tell_category: bool = False,
    max_failed: float = 0.02,
    endpoint: EndpointFlags = _ENDPOINT,
) -> None:
    """Ask any vision-language model behind an endpoint about a run's test set, frames as images; resumes.

    Args:
        run: Folder with answers.jsonl: its items are asked about.
        out: Folder of the answers.
        suite: Task whose instruction is given.
        frames: Number of frames per view, evenly spaced.
        image_size: Most pixels of the longer side.
        views: Views that are shown.
        max_items: Number of items of an evenly spaced subset; by default all.
        tell_category: nae: name the kind of performance, which is one of the actions that the answer should name (a hint at the truth;
            signatures say so).
        max_failed: Share of answers that may fail.
        endpoint: Endpoint that is asked.
    """
    from mm_adapter.cli.console import stage_progress
    from mm_data.ground.files import check_apart, check_ours
    from mm_eval.answers.test_sets import TRAINING, evenly_spaced, read_answers
    from mm_eval.answers.zero_shot import LOG, RECORD, Frames, Question, ask, classes_of, estimate_asking, write_run

    check_apart(out, run, inside=True)
    check_ours(out, (RECORD, LOG))
    everything = read_answers(run)
    items = evenly_spaced(everything, max_items)
    training = read_answers(run, TRAINING) if (run / TRAINING).is_file() else []
    pictures, classes = Frames(frames, image_size, tuple(views)), classes_of(everything, training)
    question = Question(suite, pictures, classes, tell_category)
    inputs, server, budget = question.inputs(), endpoint.endpoint(_ANSWER_TOKENS), None
    if endpoint.estimate or endpoint.max_cost is not None:
        estimate = estimate_asking(items, question, server, out)
        endpoint.print_estimate(estimate)
        if endpoint.estimate:
            return
        budget = endpoint.budget(estimate)
    out.mkdir(parents=True, exist_ok=True)
    with stage_progress() as progress:
        answered = ask(items, question, server, out, lambda done: progress("answers", done, len(items)), budget)
    failed = sum(answered.failures.values())
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(answered.failures.items())) or "none"
    if failed > max_failed * len(items):
        raise ValueError(
            f"{failed} of {len(items)} answers failed ({reasons}), more than --max-failed {max_failed:g} allows. "
            "The others are kept; run again to ask what the endpoint could not answer."
        )
    write_run(out, run, answered, training, question, server)
    print(f"{out}: {len(items)} answers, failed: {reasons}; {'; '.join(inputs)}")
    if suite == "expertaf":
        print(f"score them: mm-coach evaluate {out} TUPLES CODES EVALUATION --features FEATURES")
    else:
        print(f"score them: mm-coach eval {out} --suite {suite}")
