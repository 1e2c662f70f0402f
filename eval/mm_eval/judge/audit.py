"""A judge's work side by side: detail, quote, verdict and raw reply, one page without a server."""

import html
import re
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Any

from mm_eval.answers.test_sets import TRUTH, TestItem
from mm_eval.judge.judging import OK, Judgement
from mm_eval.judge.protocols import SAME


def audit_page(judgements: Sequence[Judgement], items: Sequence[TestItem], settings: dict[str, Any]) -> str:
    """One card per judgement; those that failed come first."""
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


def _card(j: Judgement, item: TestItem, settings: dict[str, Any]) -> str:
    text = item.truth.text if j.system == TRUTH else item.answers[j.system].text
    quotes = [v["quote"] for v in j.verdicts if v["quote"]]
    outcome = j.problem and f"{j.status}: {j.problem}"
    if j.status == OK:
        outcome = _outcome(j)
    other = ""
    if settings["against"]:
        other = (
            f"<h4>{html.escape(settings['against'])}</h4><p>{html.escape(item.answers[settings['against']].text)}</p>"
        )
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
    rows = "".join(
        f"<tr class='{'same' if v['verdict'] == SAME else v['verdict'].split()[0]}'><td>{number}</td><td>{html.escape(v['text'])}</td>"
        f"<td>{html.escape(v['quote'])}</td><td>{html.escape(v['verdict'])}</td><td>{html.escape(v['reason'])}</td></tr>"
        for number, v in enumerate(j.verdicts, start=1)
    )
    return f"<table><thead><tr><th></th><th>Detail</th><th>Quote</th><th>Verdict</th><th>Reason</th></tr></thead><tbody>{rows}</tbody></table>"


def _marked(text: str, quotes: Sequence[str]) -> str:
    """The text with quotes marked where they stand to the letter."""
    found = [re.escape(quote) for quote in sorted(set(quotes), key=len, reverse=True) if quote in text]
    if not found:
        return html.escape(text)
    parts = re.split(f"({'|'.join(found)})", text)
    return "".join(f"<mark>{html.escape(p)}</mark>" if i % 2 else html.escape(p) for i, p in enumerate(parts))
