"""`mm-coach task annotate`: labels by a language model, checked, flagged, reviewed, and written in the published form."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from mm_adapter.cli.console import ConsoleReport
from mm_adapter.cli.old_endpoints import checked_budget, endpoint_of, print_estimate
from mm_data.annotation import (
    Annotation,
    annotate,
    cot_afa,
    desccoach,
    mirror_release,
    nae,
    read_review,
    write_review,
)
from mm_data.annotation.pipeline import LOG
from mm_data.asking.completions import Endpoint, Request, estimate
from mm_data.ground.files import check_apart, claim_folder
from mm_data.ground.funnel import Funnel
from mm_data.labelling import RulesLabeller
from mm_data.release.egoexo4d import read_release
from mm_data.tasks.cot_afa_files import COMMENTS, STEPS, read_steps, sheet_actions
from mm_data.tasks.desccoach_files import DIMENSIONS, FILE

REVIEW = "review.csv"
_MAX_TOKENS = 700


class _Run:
    """One command: asks its stages, or estimates them, and keeps a sheet for reviewers per stage."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.work = args, args.out / "annotation"
        self.endpoint: Endpoint | None = endpoint_of(args, _MAX_TOKENS) if args.model else None

    def ask(
        self, stage: str, count: int, requests: Callable[[], Iterable[Request]], about: Mapping[str, str] | None = None
    ) -> Annotation:
        """Asks one stage; decisions in its sheet count.

        Raises:
            ValueError: Too many answers are flagged; the sheet for reviewers is written before.
        """
        assert self.endpoint is not None
        budget = None
        if self.args.max_cost is not None:
            budget = checked_budget(self.args, estimate(self.endpoint, requests(), self.work / LOG))
        sheet = self.work / f"{stage}_{REVIEW}"
        decided = read_review(sheet)
        with ConsoleReport().progress(stage, count) as progress:
            found = annotate(
                stage, self.endpoint, requests(), self.work / LOG, decided, self.args.max_flagged, progress, budget
            )
        write_review(sheet, found.drafts, about or {}, decided)
        flagged = sum(draft.problem is not None for draft in found.drafts)
        print(f"{stage}: {len(found.kept)} of {len(found.drafts)} kept, {flagged} flagged; {sheet} is for reviewers")
        found.funnel.check()
        return found

    def estimated(self, stage: str, requests: Iterable[Request]) -> None:
        """Prints what is left to ask, and asks nothing."""
        assert self.endpoint is not None
        print(f"{stage}:")
        print_estimate(self.args, estimate(self.endpoint, requests, self.work / LOG))


def run_annotate(args: argparse.Namespace) -> None:
    """Annotates one task's data set."""
    if args.offline and args.task != "desccoach":
        raise ValueError(f"--offline labels remarks by rules; {args.task} needs a language model.")
    if not args.offline and not args.model:
        raise ValueError("Give --model, the name of the served model.")
    check_apart(args.out, args.source)
    if not args.estimate:
        claim_folder(args.out, {"annotated": args.task, "source": str(args.source.resolve())})
    {"nae": _nae, "cot-afa": _cot_afa, "desccoach": _desccoach}[args.task](args.source, args.out, _Run(args))


def _nae(root: Path, out: Path, run: _Run) -> None:
    performances = nae.read_performances(root)
    requests = partial(nae.requests, performances)
    if run.args.estimate:
        return run.estimated("narratives", requests())
    found = run.ask("narratives", nae.VERSIONS * len(performances), requests, nae.about_items(performances))
    mirror_release(root, out, ("train.caption.tsv", "test.caption.tsv"))
    nae.write_captions(out, performances, found.kept)
    return print(f"{out}: mm-coach task read nae {out} ITEMS")


def _cot_afa(root: Path, out: Path, run: _Run) -> None:
    pictures = cot_afa.Pictures(run.args.frames, run.args.image_size)
    published = None
    if (root / STEPS).is_file():
        steps = read_steps(root / STEPS)
    else:
        actions = sheet_actions(root)
        asked = partial(cot_afa.step_requests, actions)
        if run.args.estimate:
            run.estimated("steps", asked())
            steps = cot_afa.placeholder_steps(actions)
        else:
            published = cot_afa.published_steps(run.ask("steps", len(actions), asked).kept)
            cot_afa.write_steps(run.work, published)
            steps = read_steps(run.work / STEPS)
    sheet = Funnel("read clips", 1.0)
    rows, lacking = cot_afa.rows_to_explain(root, steps, sheet)
    for reason, count in sheet.dropped.items():
        print(f"left out {count}: {reason} (such as {sheet.examples[reason][0]})")
    requests = partial(cot_afa.explanation_requests, root, lacking, steps, pictures)
    if run.args.estimate:
        return run.estimated("explanations", requests())
    kept = {}
    if lacking:
        kept = run.ask(
            "explanations", len(lacking), requests, {r.name: f"{r.action}: {r.verdict}" for r in lacking}
        ).kept
    mirror_release(root, out, (COMMENTS, *([STEPS] if published else [])))
    if published:
        cot_afa.write_steps(out, published)
    cot_afa.write_explanations(root, out, rows, kept)
    return print(f"{out}: mm-coach task read cot-afa {out} ITEMS")


def _desccoach(root: Path, out: Path, run: _Run) -> None:
    source = read_release(root)
    windows = desccoach.windows_of(source)
    tasks = sorted({desccoach.task_of(window.take) for window in windows})
    if run.args.offline:
        labels = RulesLabeller().label(source.remarks)
        by_id = {label.remark.remark_id: label for label in labels if not isinstance(label, str)}
        said = {window.request: desccoach.commentary_of_labels(window, by_id) for window in windows}
        techpoints, kept = {}, {name: content for name, content in said.items() if content is not None}
        print(
            f"labels by rules: {len(kept)} of {len(windows)} windows say something about technique; no TechPoints without a model"
        )
    else:
        asked = partial(desccoach.techpoint_requests, tasks)
        if run.args.estimate:
            run.estimated("techpoints", asked())
            guessed = {task: {str(name): "x" * 80 for name in DIMENSIONS} for task in tasks}
            return run.estimated("commentary", desccoach.commentary_requests(windows, guessed))
        techpoints = run.ask("techpoints", len(tasks), asked).kept
        about = {w.request: " / ".join(remark.text for remark in w.remarks) for w in windows}
        requests = partial(desccoach.commentary_requests, windows, techpoints)
        kept = run.ask("commentary", len(windows), requests, about).kept
    mirror_release(root, out, (FILE,))
    desccoach.write_instances(out, windows, techpoints, kept)
    return print(f"{out}: mm-coach task read desccoach {out} ITEMS")
