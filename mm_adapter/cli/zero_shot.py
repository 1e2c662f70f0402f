"""`mm-coach zero-shot`: a vision-language model behind an endpoint on a test set."""

import argparse
import json
import shutil

from mm_adapter.cli.console import stage_progress
from mm_adapter.cli.endpoints import checked_budget, endpoint_of, print_estimate
from mm_data.files import check_apart, check_ours, write_atomically
from mm_eval.answers import TRAINING, evenly_spaced, read_answers, write_answers
from mm_eval.zero_shot import RECORD, ask, estimate_asking, instruction
from mm_eval.zero_shot.asking import LOG, Frames

_ANSWER_TOKENS = 400


def run_zero_shot(args: argparse.Namespace) -> None:
    """Asks about every item of a run's test set and writes the answers as a run of its own.

    Raises:
        ValueError: More answers failed than allowed; those that did not are kept.
    """
    check_apart(args.out, args.run_folder, inside=True)
    check_ours(args.out, (RECORD, LOG))
    items = evenly_spaced(read_answers(args.run_folder), args.max_items)
    frames = Frames(args.frames, args.image_size, tuple(args.views))
    endpoint = endpoint_of(args, _ANSWER_TOKENS)
    if args.estimate or args.max_cost is not None:
        expected = estimate_asking(items, args.suite, endpoint, frames, args.out)
        print_estimate(args, expected)
        if args.estimate:
            return
        budget = checked_budget(args, expected)
    else:
        budget = None
    args.out.mkdir(parents=True, exist_ok=True)
    with stage_progress() as progress:
        asked = ask(
            items, args.suite, endpoint, frames, args.out, lambda done: progress("answers", done, len(items)), budget
        )
    failed = sum(asked.failures.values())
    told = ", ".join(f"{count} {name}" for name, count in sorted(asked.failures.items())) or "none"
    if failed > args.max_failed * len(items):
        raise ValueError(
            f"{failed} of {len(items)} answers failed ({told}), more than --max-failed {args.max_failed:g} allows. The others are kept; "
            "run again to ask what the endpoint could not answer."
        )
    write_answers(args.out, asked.items)
    if (args.run_folder / TRAINING).is_file():
        shutil.copyfile(args.run_folder / TRAINING, args.out / TRAINING)
    prompt = instruction(args.suite)
    record = {
        "suite": args.suite,
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "parameters": dict(endpoint.parameters),
        "frames": vars(frames),
        "prompt": {prompt.name: prompt.digest},
        "failures": asked.failures,
    }
    write_atomically(args.out / RECORD, json.dumps(record, indent=1))
    print(f"{args.out}: {len(items)} answers, failed: {told}")
    if args.suite == "expertaf":
        print(f"score them: mm-coach evaluate {args.out} TUPLES CODES EVALUATION --features FEATURES")
    else:
        print(f"score them: mm-coach eval {args.out} --suite {args.suite}")
