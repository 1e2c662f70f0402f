"""`mm-coach task annotate`: labels by a language model, checked, flagged, reviewed, and written in the published form."""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mm_adapter.cli.console import ConsoleReport
from mm_adapter.cli.endpoints import checked_budget, endpoint_of, print_estimate
from mm_data.annotation import Annotation, annotate, cot_afa, desccoach, mirror_release, nae, read_review, write_review
from mm_data.annotation.pipeline import LOG
from mm_data.completions import Endpoint, Estimate, Request, estimate
from mm_data.egoexo4d import read_release
from mm_data.files import write_atomically
from mm_data.funnel import Funnel
from mm_data.labelling import RulesLabeller
from mm_data.tasks.cot_afa_files import CAPTIONS, COMMENTS, STEPS, read_steps, read_test_captions, sheet_actions
from mm_data.tasks.desccoach_files import FILE

REVIEW, TECHPOINTS = "review.csv", "techpoints.json"
_MAX_TOKENS = 700


class _Run:
    """One command: asks its stages and keeps a sheet for reviewers."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.work = args, args.out / "annotation"
        self.endpoint: Endpoint | None = endpoint_of(args, _MAX_TOKENS) if args.model else None
        self.review = read_review(args.review)

    def ask(self, stage: str, requests: Iterable[Request], about: Mapping[str, str] | None = None) -> Annotation:
        """Asks one stage.

        Raises:
            ValueError: No model was named, or too many answers are flagged; the sheet for reviewers is written before.
        """
        if self.endpoint is None:
            raise ValueError("Give --model (and --base-url), or --offline where a task has it.")
        listed = list(requests)
        budget = checked_budget(self.args, estimate(self.endpoint, listed, self.work / LOG))
        with ConsoleReport().progress(stage, len(listed)) as progress:
            found = annotate(
                stage, self.endpoint, listed, self.work / LOG, self.review, self.args.max_flagged, progress, budget
            )
        sheet = self.work / f"{stage.replace(' ', '_')}_{REVIEW}"
        write_review(sheet, found.drafts, about or {}, self.review)
        flagged = sum(draft.problem is not None for draft in found.drafts)
        print(f"{stage}: {len(found.kept)} of {len(found.drafts)} kept, {flagged} flagged; {sheet} is for reviewers")
        found.funnel.check()
        return found

    def estimated(self, requests: Iterable[Request]) -> bool:
        """With ``--estimate`` prints what is left to ask, and asks nothing."""
        if not self.args.estimate:
            return False
        assert self.endpoint is not None
        print_estimate(self.args, estimate(self.endpoint, list(requests), self.work / LOG))
        return True


def run_annotate(args: argparse.Namespace) -> None:
    """Annotates one task's data set."""
    if args.offline and args.task != "desccoach":
        raise ValueError(f"--offline labels remarks by rules; {args.task} needs a language model.")
    if not args.offline and not args.model:
        raise ValueError("Give --model, the name of the served model.")
    {"nae": _nae, "cot-afa": _cot_afa, "desccoach": _desccoach}[args.task](args.source, args.out, _Run(args))


def _nae(root: Path, out: Path, run: _Run) -> None:
    performances = nae.read_performances(root)
    requests = list(nae.requests(performances))
    if run.estimated(requests):
        return
    found = run.ask("narratives", requests, nae.about_items(performances))
    mirror_release(root, out, ("train.caption.tsv", "test.caption.tsv"))
    nae.write_captions(out, performances, found.kept)
    print(f"{out}: mm-coach task read nae {out} ITEMS")


def _cot_afa(root: Path, out: Path, run: _Run) -> None:
    pictures = cot_afa.Pictures(run.args.frames, run.args.image_size)
    if (root / STEPS).is_file():
        published, steps = None, read_steps(root / STEPS)
    else:
        requests = list(cot_afa.step_requests(sheet_actions(root)))
        if run.estimated(requests):
            return
        published = cot_afa.published_steps(run.ask("steps", requests).kept)
        cot_afa.write_steps(run.work, published)
        steps = read_steps(run.work / STEPS)
    sheet = Funnel("read clips", run.args.max_flagged)
    rows = cot_afa.usable_rows(root, steps, sheet)
    if run.args.estimate and run.endpoint is not None:
        parts = [estimate(run.endpoint, [request], run.work / LOG) for request in cot_afa.explanation_requests(root, rows, steps, pictures)]  # fmt: skip
        print_estimate(
            run.args, Estimate(*(sum(values) for values in zip(*(vars(p).values() for p in parts), strict=True)))
        )
        return
    about = {row.name: f"{row.action}: {row.verdict}" for row in rows}
    found = run.ask("explanations", cot_afa.explanation_requests(root, rows, steps, pictures), about)
    mirror_release(root, out, (COMMENTS, CAPTIONS, *([STEPS] if published else [])))
    if published:
        cot_afa.write_steps(out, published)
    test = frozenset(read_test_captions(root / CAPTIONS))
    cot_afa.write_explanations(out, rows, found.kept, test)
    print(f"{out}: mm-coach task read cot-afa {out} ITEMS")


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
        requests = list(desccoach.techpoint_requests(tasks))
        if run.estimated(requests):
            return
        techpoints = run.ask("techpoints", requests).kept
        run.work.mkdir(parents=True, exist_ok=True)
        write_atomically(run.work / TECHPOINTS, json.dumps(techpoints, indent=1))
        about = {w.request: " / ".join(remark.text for remark in w.remarks) for w in windows}
        kept = run.ask("commentary", desccoach.commentary_requests(windows, techpoints), about).kept
    mirror_release(root, out, (FILE,))
    desccoach.write_instances(out, windows, techpoints, kept)
    print(f"{out}: mm-coach task read desccoach {out} ITEMS")
