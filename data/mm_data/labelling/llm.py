"""Labels by a language model behind any OpenAI-compatible endpoint (ExpertAF used Llama-3-70B)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import create_model

from mm_data.asking.completions import Completion, Endpoint, Estimate, Request, Schema, complete, estimate
from mm_data.asking.forms import Form, OneOf, answer_schema
from mm_data.asking.prompts import Messages, load_prompt
from mm_data.labelling.labeller import NOTHING_SAID
from mm_data.poses.skeleton import JOINTS, REGIONS
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark

PROMPT = "remark-labels-1"
NOT_MENTIONED = "not mentioned"
_LABELS = (IMPROVE, CORRECT, NOT_MENTIONED)
LOG = "llm_answers.jsonl"


_REGIONS: dict[str, Any] = {region: (Annotated[str, OneOf(_LABELS)], ...) for region in REGIONS}
_Labels = create_model(
    "_Labels", __base__=Form, summary=(str, ...), regions=(create_model("_Regions", __base__=Form, **_REGIONS), ...)
)


def labels_schema() -> Schema:
    """Returns what an answer must look like: a summary, and one label for every region, no more and no less."""
    return answer_schema("remark-labels", _Labels)


def remark_prompt(text: str, task: str) -> Messages:
    """Fills in the versioned prompt."""
    regions = "\n".join(
        f"  - {region}: {', '.join(JOINTS[joint].replace('-', ' ') for joint in joints)} and what lies around them"
        for region, joints in REGIONS.items()
    )
    prompt = load_prompt("mm_data.labelling", PROMPT)
    return prompt.messages({"task": task, "regions": regions}, {"remark": text.replace('"', "'")})


class LlmLabeller:
    """A `Labeller` that asks a language model.

    Args:
        endpoint: Endpoint where the model is served.
        tasks: Take uid to the task that is practised, for the prompt.
        log: Append-only log of all answers: cache, resume file and audit.
    """

    def __init__(self, endpoint: Endpoint, tasks: Mapping[str, str], log: Path) -> None:
        self.version = f"llm-{endpoint.model}-{PROMPT}"
        self._endpoint, self._tasks, self._log, self._schema = endpoint, tasks, log, labels_schema()

    def label(
        self, remarks: Sequence[Remark], progress: Callable[[int], None] = lambda done: None
    ) -> list[LabelledRemark | str]:
        """Labels remarks; failures of the model are reasons such as ``LLM: truncated``.

        Args:
            remarks: Remarks to label.
            progress: Called with the number of remarks done.

        Returns:
            One result per remark: the labelled remark, or the reason why it has to be dropped.

        Raises:
            EndpointError: The endpoint cannot be used; finished answers are kept.
        """
        answers = complete(self._endpoint, self._requests(remarks), self._log, progress)
        return [self._result(remark, answers[remark.remark_id]) for remark in remarks]

    def estimate(self, remarks: Sequence[Remark]) -> Estimate:
        """Counts requests and tokens that are left to pay for."""
        return estimate(self._endpoint, self._requests(remarks), self._log)

    def _requests(self, remarks: Sequence[Remark]) -> list[Request]:
        return [Request(r.remark_id, remark_prompt(r.text, self._tasks[r.take_uid]), self._schema) for r in remarks]

    def _result(self, remark: Remark, answer: Completion) -> LabelledRemark | str:
        if answer.content is None:
            return f"LLM: {answer.failure}"
        regions = {r: label for r, label in answer.content["regions"].items() if label != NOT_MENTIONED}
        summary = " ".join(answer.content["summary"].split())
        if not regions or not summary:
            return NOTHING_SAID
        return LabelledRemark(remark, summary, regions, self.version)
