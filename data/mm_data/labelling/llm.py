"""Labels by a language model behind any OpenAI-compatible endpoint (ExpertAF used Llama-3-70B)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_data.asking.completions import Completion, Endpoint, Estimate, Request, Schema, complete, estimate
from mm_data.asking.prompts import Messages, load_prompt
from mm_data.labelling.labeller import NOTHING_SAID
from mm_data.poses.skeleton import JOINTS, REGIONS
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark

PROMPT = "remark-labels-1"
NOT_MENTIONED = "not mentioned"
_LABELS = (IMPROVE, CORRECT, NOT_MENTIONED)
LOG = "llm_answers.jsonl"


def labels_schema() -> Schema:
    """A summary and one label for every region, no more and no less."""
    labels = {region: {"type": "string", "enum": list(_LABELS)} for region in REGIONS}
    return Schema(
        "remark-labels",
        {
            "type": "object",
            "properties": {
                "summary": {"type": "string"},
                "regions": {
                    "type": "object",
                    "properties": labels,
                    "required": list(REGIONS),
                    "additionalProperties": False,
                },
            },
            "required": ["summary", "regions"],
            "additionalProperties": False,
        },
        _problem,
    )


def _problem(content: Any) -> str | None:
    if not isinstance(content, dict) or set(content) != {"summary", "regions"}:
        return "expected an object with 'summary' and 'regions'"
    if not isinstance(content["summary"], str) or not isinstance(content["regions"], dict):
        return "'summary' has to be a string and 'regions' an object"
    if set(content["regions"]) != set(REGIONS):
        return f"expected the regions {', '.join(REGIONS)}, found {', '.join(map(str, content['regions']))}"
    wrong = {region: label for region, label in content["regions"].items() if label not in _LABELS}
    return f"unknown labels {wrong}; expected {', '.join(_LABELS)}" if wrong else None


def remark_prompt(text: str, task: str) -> Messages:
    """The versioned prompt, filled in."""
    regions = "\n".join(
        f"  - {region}: {', '.join(JOINTS[joint].replace('-', ' ') for joint in joints)} and what lies around them"
        for region, joints in REGIONS.items()
    )
    prompt = load_prompt("mm_data.labelling", PROMPT)
    return prompt.messages({"task": task, "regions": regions}, {"remark": text.replace('"', "'")})


class LlmLabeller:
    """See `Labeller`.

    Args:
        endpoint: Where the model is served.
        tasks: Take uid to the task that is practised, for the prompt.
        log: Append-only log of all answers: cache, resume file and audit.
    """

    def __init__(self, endpoint: Endpoint, tasks: Mapping[str, str], log: Path) -> None:
        self.version = f"llm-{endpoint.model}-{PROMPT}"
        self._endpoint, self._tasks, self._log, self._schema = endpoint, tasks, log, labels_schema()

    def label(
        self, remarks: Sequence[Remark], progress: Callable[[int], None] = lambda done: None
    ) -> list[LabelledRemark | str]:
        """One result per remark; see `Labeller`. Failures of the model are reasons such as ``LLM: truncated``.

        Raises:
            EndpointError: The endpoint cannot be used; finished answers are kept.
        """
        answers = complete(self._endpoint, self._requests(remarks), self._log, progress)
        return [self._result(remark, answers[remark.remark_id]) for remark in remarks]

    def estimate(self, remarks: Sequence[Remark]) -> Estimate:
        """Requests and tokens that are left to pay for."""
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
