"""ExpertAF's three functions: commentary, retrieval and corrected poses, with their baselines."""

from mm_eval.suites.expertaf.evaluate import evaluate
from mm_eval.suites.expertaf.examples import collect_examples
from mm_eval.suites.expertaf.inputs import Inputs

__all__ = ["Inputs", "collect_examples", "evaluate"]
