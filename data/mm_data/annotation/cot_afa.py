"""Annotation of CoT-AFA: technical steps per action, explanations per clip, and an automatic check of their logic."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_data.asking.completions import Request, Schema
from mm_data.asking.prompts import load_prompt
from mm_data.ground.files import write_atomically
from mm_data.ground.funnel import Funnel
from mm_data.tasks.cot_afa import ChainStep, CotAfaFormat, CotAfaOptions, explanation, inconsistencies
from mm_data.tasks.cot_afa_files import CAPTIONS, COMMENTS, STEPS, Row, read_rows, read_test_captions
from mm_data.videos.frames import read_duration
from mm_data.videos.pictures import clip_pictures

STEP_COUNT = 5


@dataclass(frozen=True)
class Pictures:
    """What the model sees of a clip: evenly spaced frames, and the longer side in pixels at most."""

    count: int = 8
    size: int = 448


def step_requests(actions: list[str]) -> Iterator[Request]:
    """One per action."""
    prompt = load_prompt("mm_data.annotation", "cot-afa-steps-1")
    about = {"prompt": prompt.name, "prompt_sha256": prompt.digest}
    for action in actions:
        yield Request(action, prompt.messages({}, {"action": action}), _steps_schema(), about=about)


def published_steps(kept: Mapping[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Steps as the published file words them, the general instruction last."""
    return {
        action: [*(f"{action} step {n}: {s}" for n, s in enumerate(content["steps"], 1)), f"general instruction: {content['general']}"]
        for action, content in kept.items()
    }  # fmt: skip


def explanation_requests(
    root: Path, rows: list[Row], steps: Mapping[str, list[str]], pictures: Pictures
) -> Iterator[Request]:
    """One per clip, with its frames, its verdict and its action's steps (the general instruction last)."""
    prompt = load_prompt("mm_data.annotation", "cot-afa-explanation-1")
    about = {"prompt": prompt.name, "prompt_sha256": prompt.digest, **vars(pictures)}
    form = CotAfaFormat({"steps": dict(steps)}, CotAfaOptions())
    for row in rows:
        video = root / "videos" / f"{row.name}.mp4"
        *listed, general = steps[row.action]
        told = {
            "action": row.action,
            "verdict": row.verdict,
            "steps": "\n".join([*(f"{n}. {step}" for n, step in enumerate(listed, 1)), general]),
        }
        system, user = prompt.messages({}, told)
        shown = [*clip_pictures(video, 0.0, read_duration(video), pictures.count, pictures.size), {"type": "text", "text": user["content"]}]  # fmt: skip
        schema = _explanation_schema(row, steps[row.action], form)
        yield Request(row.name, [system, {"role": "user", "content": shown}], schema, about=about)


def chain_of(content: Mapping[str, Any]) -> list[ChainStep]:
    """The links of an answer."""
    return [ChainStep(link["step"], link["outcome"], link["solution"]) for link in content["chain"]]


def published_texts(root: Path, rows: list[Row]) -> dict[str, str]:
    """Explanations that are there already, which nothing replaces: comment files that hold text, and the test captions."""
    found = {}
    for row in rows:
        path = root / COMMENTS / f"{row.name}_with_label.txt"
        if path.is_file() and (text := path.read_bytes().decode("utf-8", errors="replace").strip()):
            found[row.name] = text
    return found | {name: text for name, text in read_test_captions(root / CAPTIONS).items()}


def rows_to_explain(root: Path, steps: Mapping[str, list[str]], funnel: Funnel) -> tuple[list[Row], list[Row]]:
    """All usable rows of the sheet, and those of them that lack an explanation and have a video."""
    rows = list(read_rows(root, list(steps), funnel))
    known = published_texts(root, rows)
    asked = []
    for row in rows:
        if row.name in known:
            continue
        if (root / "videos" / f"{row.name}.mp4").is_file():
            asked.append(row)
        else:
            funnel.drop("no video", row.name)
    return rows, asked


def write_explanations(root: Path, out: Path, rows: list[Row], kept: Mapping[str, dict[str, Any]]) -> None:
    """Comment files of all clips: published texts as they are, new ones, and empty files where there is neither."""
    texts = published_texts(root, rows)
    texts |= {r.name: explanation(r.action, r.verdict, chain_of(kept[r.name])) for r in rows if r.name in kept}
    (out / COMMENTS).mkdir(parents=True, exist_ok=True)
    for row in rows:
        write_atomically(out / COMMENTS / f"{row.name}_with_label.txt", texts.get(row.name, ""))


def write_steps(out: Path, steps: Mapping[str, list[str]]) -> None:
    """The published step file."""
    write_atomically(out / STEPS, json.dumps(dict(steps), indent=1, ensure_ascii=False))


def placeholder_steps(actions: list[str]) -> dict[str, list[str]]:
    """Steps of the usual length, for an estimate before there are any."""
    return {action: ["x" * 60] * (STEP_COUNT + 1) for action in actions}


def _steps_schema() -> Schema:
    def problem(content: Any) -> str | None:
        if not isinstance(content, dict) or set(content) != {"steps", "general"}:
            return "expected an object with 'steps' and 'general'"
        texts = content["steps"]
        if (
            not isinstance(texts, list)
            or len(texts) != STEP_COUNT
            or not all(isinstance(t, str) and t.strip() for t in texts)
        ):
            return f"'steps' has to be {STEP_COUNT} texts"
        return None if isinstance(content["general"], str) and content["general"].strip() else "'general' is empty"

    fields = {"steps": {"type": "array", "items": {"type": "string"}}, "general": {"type": "string"}}
    return Schema("cot-afa-steps", {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}, problem)  # fmt: skip


def _explanation_schema(row: Row, steps: list[str], form: CotAfaFormat) -> Schema:
    def problem(content: Any) -> str | None:
        links = content.get("chain") if isinstance(content, dict) else None
        if not isinstance(links, list) or not links or set(content) != {"chain"}:
            return "expected an object with a 'chain' of links"
        for link in links:
            if (
                not isinstance(link, dict)
                or set(link) != {"step", "outcome", "solution"}
                or not isinstance(link["step"], int)
            ):
                return "a link needs 'step' (a number), 'outcome' and 'solution'"
            if (
                not isinstance(link["outcome"], str)
                or not link["outcome"].strip()
                or not isinstance(link["solution"], str)
            ):
                return "a link needs an outcome, and a solution that may be empty"
        chain = chain_of(content)
        wrong = inconsistencies(form.parse(explanation(row.action, row.verdict, chain)), row.verdict, chain, steps)
        return "; ".join(wrong) or None

    link = {
        "type": "object",
        "properties": {"step": {"type": "integer"}, "outcome": {"type": "string"}, "solution": {"type": "string"}},
        "required": ["step", "outcome", "solution"],
        "additionalProperties": False,
    }
    fields = {"chain": {"type": "array", "items": link}}
    return Schema("cot-afa-explanation", {"type": "object", "properties": fields, "required": ["chain"], "additionalProperties": False}, problem)  # fmt: skip
