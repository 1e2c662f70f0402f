"""`mm-coach evaluate`."""

from pathlib import Path
from typing import Any

from mm_adapter.cli.flags import BertFlags, TestSetFlags

_WHOLE, _NO_BERT = TestSetFlags(), BertFlags()


def evaluate(
    coach: Path,
    tuples: Path,
    codes: Path,
    out: Path,
    *,
    test_set: TestSetFlags = _WHOLE,
    demonstrator: Path | None = None,
    privileged: bool = False,
    bert: BertFlags = _NO_BERT,
) -> None:
    """Comment, rank and demonstrate on the test split, then score with baselines.

    Args:
        coach: A run's coach/ or checkpoint-N folder, a name on the Hub, a folder of zero-shot answers, or the word
            nearest-neighbour (of video features).
        tuples: Tuple folder.
        codes: Pose codes of the tuples.
        out: Folder of predictions and scores.
        test_set: Which tuples are asked about.
        demonstrator: Another coach for retrieval and poses.
        privileged: Show the expert's clip or remark too (ExpertAF's full-sup).
        bert: Weights of BERTScore.
    """
    from mm_adapter.cli.console import stage_progress
    from mm_adapter.evaluation.report import METRICS
    from mm_adapter.evaluation.run import evaluate as run
    from mm_adapter.evaluation.systems import SystemUnderTest
    from mm_data.ground.files import check_apart

    check_apart(out, coach, tuples, codes, test_set.features, demonstrator)
    system = SystemUnderTest.named(coach, demonstrator, privileged, test_set.base_model)
    test, metrics, weights = test_set.open(tuples, codes), out / METRICS, bert.model()
    is_new = not metrics.is_file()
    if is_new and test.unusable:
        print(f"{test.unusable} test tuples left out: feature extraction rejected their clips")
    with stage_progress() as progress:
        result = run(system, test, out, str(coach), weights, progress)
    if result is None:
        return print("this process is done; others still have tuples")
    if not is_new:
        print(f"{metrics} is there already; delete {out} to evaluate again")
    print_summary(result)


def print_summary(result: dict[str, Any]) -> None:
    """Prints the few numbers of an evaluation that sum it up."""
    from mm_adapter.cli.console import print_table

    title = "Synthetic data" if result["synthetic_data"] else "Results"
    rows = [(name, "not computed" if value is None else f"{value:.3f}") for name, value in result["summary"].items()]
    print_table(("metric", "value"), rows, title, numbers=("value",))
