"""Which labeller labels, and which remarks of a data set it is asked about."""

from collections.abc import Collection
from pathlib import Path

from mm_data.asking.completions import Endpoint
from mm_data.labelling.labeller import Labeller
from mm_data.labelling.llm import LlmLabeller
from mm_data.labelling.polarity import PolarityLabeller
from mm_data.labelling.rules import RulesLabeller
from mm_data.records import Remark, Source


def make_labeller(name: str, source: Source, endpoint: Endpoint, log: Path) -> Labeller:
    """Builds a labeller.

    Args:
        name: ``rules`` (offline), ``polarity`` (proficiency_demonstration) or ``llm`` (any OpenAI-compatible endpoint).
        source: The data set.
        endpoint: Where ``llm`` asks.
        log: Append-only log of the answers that ``llm`` got.

    Returns:
        The labeller.

    Raises:
        ValueError: The endpoint names no model, the data set has no polarity, or there is no such labeller.
    """
    match name:
        case "rules":
            return RulesLabeller()
        case "polarity":
            return PolarityLabeller(source.demonstrations)
        case "llm":
            if not endpoint.model:
                raise ValueError(
                    "The llm labeller needs --model, the name of the served model (`curl BASE_URL/models` lists them)."
                )
            tasks = {uid: take.task or take.activity for uid, take in source.takes.items()}
            return LlmLabeller(endpoint, tasks, log)
    raise ValueError(f"labeller is {name!r}; choose from rules, polarity, llm.")


def remarks_to_label(source: Source, activities: Collection[str]) -> list[Remark]:
    """Chooses the remarks on takes with a skill level.

    Args:
        source: The data set.
        activities: Activities whose takes count; all of them where none is named.

    Returns:
        The remarks, in the data set's order.
    """
    usable = {uid for uid, t in source.takes.items() if t.skill and (not activities or t.activity in activities)}
    return [remark for remark in source.remarks if remark.take_uid in usable]
