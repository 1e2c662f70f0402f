"""`mm-coach zero-shot`: a vision-language model behind an endpoint on a test set."""

import argparse
import json
import shutil

from mm_adapter.cli.console import stage_progress
from mm_adapter.cli.old_endpoints import checked_budget, endpoint_of, print_estimate
from mm_data.ground.files import check_apart, check_ours, write_atomically
from mm_data.tasks.overlap import overlap
from mm_eval.answers.test_sets import TRAINING, evenly_spaced, material_of, read_answers, write_about, write_answers
from mm_eval.answers.zero_shot import COT_AFA, LOG, RECORD, Frames, Told, ask, classes_of, estimate_asking, instruction

_ANSWER_TOKENS = 400


def run_zero_shot(args: argparse.Namespace) -> None:
    """Asks about every item of a run's test set and writes the answers as a run of its own.

    Raises:
        ValueError: More answers failed than allowed; those that did not are kept. Or the task does not take --tell-category.
    """
    check_apart(args.out, args.run_folder, inside=True)
    check_ours(args.out, (RECORD, LOG))
    everything = read_answers(args.run_folder)
    items = evenly_spaced(everything, args.max_items)
    trained = (args.run_folder / TRAINING).is_file()
    training = read_answers(args.run_folder, TRAINING) if trained else []
    told = Told(classes_of(everything, training), args.tell_category)
    inputs = told.inputs(args.suite)
    frames = Frames(args.frames, args.image_size, tuple(args.views))
    endpoint = endpoint_of(args, _ANSWER_TOKENS)
    if args.estimate or args.max_cost is not None:
        expected = estimate_asking(items, args.suite, endpoint, frames, told, args.out)
        print_estimate(args, expected)
        if args.estimate:
            return
        budget = checked_budget(args, expected)
    else:
        budget = None
    args.out.mkdir(parents=True, exist_ok=True)
    with stage_progress() as progress:
        asked = ask(
            items, args.suite, endpoint, frames, told, args.out,
            lambda done: progress("answers", done, len(items)), budget,
        )  # fmt: skip
    failed = sum(asked.failures.values())
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(asked.failures.items())) or "none"
    if failed > args.max_failed * len(items):
        raise ValueError(
            f"{failed} of {len(items)} answers failed ({reasons}), more than --max-failed {args.max_failed:g} allows. The others are kept; "
            "run again to ask what the endpoint could not answer."
        )
    write_answers(args.out, asked.items)
    alone = args.suite == COT_AFA and not trained
    notes = [f"classes to choose from are those of the run alone: it has no {TRAINING}"] if alone else []
    if training:
        shared = overlap(material_of(training), material_of(items)).sentence()
        notes.append(f"{shared} (Training: that of the run, which baselines answer with.)")
    write_about(args.out, inputs, notes)
    if trained:
        shutil.copyfile(args.run_folder / TRAINING, args.out / TRAINING)
    prompt = instruction(args.suite)
    record = {
        "suite": args.suite,
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "parameters": dict(endpoint.parameters),
        "frames": vars(frames),
        "prompt": {prompt.name: prompt.digest},
        "inputs": inputs,
        "failures": asked.failures,
    }
    write_atomically(args.out / RECORD, json.dumps(record, indent=1))
    print(f"{args.out}: {len(items)} answers, failed: {reasons}; {'; '.join(inputs)}")
    if args.suite == "expertaf":
        print(f"score them: mm-coach evaluate {args.out} TUPLES CODES EVALUATION --features FEATURES")
    else:
        print(f"score them: mm-coach eval {args.out} --suite {args.suite}")
