"""A judge's work side by side: detail, quote, verdict and raw reply, one page without a server."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_eval.answers.test_sets import TRUTH, TestItem
from mm_eval.judge.judging import OK, Judgement
from mm_eval.judge.protocols import SAME

PAGE = "audit.html"


def write_audit_page(
    out: Path, judgements: Sequence[Judgement], items: Sequence[TestItem], settings: Mapping[str, Any]
) -> None:
    """Writes the page into a folder; see `audit_page`."""
    write_atomically(out / PAGE, audit_page(judgements, items, settings))


def audit_page(judgements: Sequence[Judgement], items: Sequence[TestItem], settings: Mapping[str, Any]) -> str:
    """Writes a page with one card per judgement; those that failed come first.

    Args:
        judgements: Judgements of one run of a judge.
        items: Items that were judged, in any order.
        settings: Settings of the judge, as `mm_eval.judge.judging.read_judgements` gives them.

    Returns:
        The page.
    """
    by_id = {item.item_id: item for item in items}
    ordered = sorted(judgements, key=lambda judgement: judgement.status == OK)
    return fill_template(
        "mm_eval",
        "judge/audit.html",
        settings=settings,
        prompts=", ".join(f"{name} ({digest[:12]})" for name, digest in settings["prompts"].items()),
        failed=sum(judgement.status != OK for judgement in judgements),
        cards=[_card(judgement, by_id[judgement.item_id], settings["against"]) for judgement in ordered],
        same=SAME,
    )


def _card(judgement: Judgement, item: TestItem, against: str | None) -> dict[str, Any]:
    text = item.truth.text if judgement.system == TRUTH else item.answers[judgement.system].text
    quotes = [verdict["quote"] for verdict in judgement.verdicts if verdict["quote"]]
    return {
        "judgement": judgement,
        "failed": judgement.status != OK,
        "outcome": _outcome(judgement),
        "expert": item.truth.text,
        "parts": _parts(text, quotes),
        "other": item.answers[against].text if against else None,
    }


def _outcome(judgement: Judgement) -> str:
    if judgement.status != OK:
        return f"{judgement.status}: {judgement.problem}" if judgement.problem else judgement.status
    if judgement.preferred is not None:
        return f"{judgement.preferred} ({'both orders agree' if judgement.consistent else 'the orders disagree'})"
    if judgement.rating is not None:
        return f"rating {judgement.rating}"
    mentioned = f"{judgement.mentioned} of {judgement.total} details mentioned, {judgement.same} with the same opinion"
    return mentioned if judgement.stated is None else f"{mentioned}; the text states {judgement.stated}"


def _parts(text: str, quotes: Sequence[str]) -> list[str]:
    """Cuts a text at quotes that stand in it to the letter; every other part, from the second, is a quote."""
    patterns = [re.escape(quote) for quote in sorted(set(quotes), key=len, reverse=True) if quote in text]
    return re.split(f"({'|'.join(patterns)})", text) if patterns else [text]
