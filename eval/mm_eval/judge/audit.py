"""A judge's work side by side: detail, quote, verdict and raw reply, one page without a server."""

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from mm_data.ground.files import write_atomically
from mm_eval.answers.test_sets import TRUTH, TestItem
from mm_eval.judge.judging import OK, Judgement

PAGE = "audit.html"


def write_audit_page(
    out: Path, judgements: Sequence[Judgement], items: Sequence[TestItem], settings: Mapping[str, Any]
) -> None:
    """Writes the page into a folder; see `audit_page`."""
    write_atomically(out / PAGE, audit_page(judgements, items, settings))


def audit_page(judgements: Sequence[Judgement], items: Sequence[TestItem], settings: Mapping[str, Any]) -> str:
    """Fills in the page: one card per judgement, those that failed first.

    Args:
        judgements: Judgements of one run of the judge.
        items: Items of the test set.
        settings: Settings of the run.

    Returns:
        HTML.
    """
    by_id = {item.item_id: item for item in items}
    ordered = sorted(judgements, key=lambda j: j.status == OK)
    failed = sum(j.status != OK for j in judgements)
    prompts = ", ".join(f"{name} ({digest[:12]})" for name, digest in settings["prompts"].items())
    return Template(files("mm_eval.judge").joinpath("audit.html").read_text()).substitute(
        title=f"{settings['protocol']} by {html.escape(settings['model'])}",
        about=html.escape(
            f"{len(judgements)} judgements, {failed} failed. Protocol {settings['protocol']}-{settings['protocol_version']}; "
            f"prompts {prompts}; served as {', '.join(settings['served_models']) or 'not said'}; {settings['repeats']} repeats."
        ),
        banner="<p class='warning'>Synthetic data.</p>" if settings["synthetic"] else "",
        cards="".join(_card(j, by_id[j.item_id], settings) for j in ordered),
    )


def _card(j: Judgement, item: TestItem, settings: Mapping[str, Any]) -> str:
    text = item.truth.text if j.system == TRUTH else item.answers[j.system].text
    quotes = [v["quote"] for v in j.verdicts if v["quote"]]
    outcome = j.problem and f"{j.status}: {j.problem}"
    if j.status == OK:
        outcome = _outcome(j)
    other = ""
    if against := settings["against"]:
        other = f"<h4>{html.escape(against)}</h4><p>{html.escape(item.answers[against].text)}</p>"
    raw = "".join(f"<pre>{html.escape(reply)}</pre>" for reply in j.raw) or "<p>Nothing was asked.</p>"
    return f"""
<article class="{"ok" if j.status == OK else "failed"}">
  <h3>{html.escape(j.item_id)} <small>{html.escape(j.system)}, answer {j.repeat + 1}</small></h3>
  <p class="outcome">{html.escape(outcome or j.status)}</p>
  <div class="sides"><div><h4>Expert</h4><p>{html.escape(item.truth.text)}</p></div>
  <div><h4>Judged text</h4><p>{_marked(text, quotes)}</p>{other}</div></div>
  {_verdicts(j)}
  <details><summary>Raw replies</summary>{raw}</details>
</article>"""


def _outcome(j: Judgement) -> str:
    if j.preferred is not None:
        return f"{j.preferred} ({'both orders agree' if j.consistent else 'the orders disagree'})"
    if j.rating is not None:
        return f"rating {j.rating}"
    stated = "" if j.stated is None else f"; the text states {j.stated}"
    return f"{j.mentioned} of {j.total} details mentioned, {j.same} with the same opinion{stated}"


def _verdicts(j: Judgement) -> str:
    if not j.verdicts:
        return ""
    rows = ""
    for number, verdict in enumerate(j.verdicts, start=1):
        cells = "".join(f"<td>{html.escape(verdict[name])}</td>" for name in ("text", "quote", "verdict", "reason"))
        rows += f"<tr class='{verdict['verdict'].split()[0]}'><td>{number}</td>{cells}</tr>"
    headings = "".join(f"<th>{heading}</th>" for heading in ("", "Detail", "Quote", "Verdict", "Reason"))
    return f"<table><thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table>"


def _marked(text: str, quotes: Sequence[str]) -> str:
    """Marks quotes in a text, where they stand in it to the letter."""
    patterns = [re.escape(quote) for quote in sorted(set(quotes), key=len, reverse=True) if quote in text]
    if not patterns:
        return html.escape(text)
    parts = re.split(f"({'|'.join(patterns)})", text)
    return "".join(f"<mark>{html.escape(p)}</mark>" if i % 2 else html.escape(p) for i, p in enumerate(parts))
