"""Annotation of CoT-AFA: technical steps per action, explanations per clip, and an automatic check of their logic."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import field_validator

from mm_adapter.tasks.cot_afa.files import (
    CAPTIONS,
    COMMENTS,
    STEPS,
    Row,
    read_rows,
    read_steps,
    read_test_captions,
    sheet_actions,
)
from mm_adapter.tasks.cot_afa.format import ChainStep, CotAfaFormat, CotAfaOptions, explanation, inconsistencies
from mm_data.annotation.pipeline import Pictures, Stages, mirror_release
from mm_data.asking.completions import Request, Schema
from mm_data.asking.forms import Form, Text, answer_schema
from mm_data.asking.prompts import load_prompt
from mm_data.ground.files import write_atomically
from mm_data.ground.funnel import Funnel
from mm_data.videos.frames import read_duration
from mm_data.videos.pictures import clip_pictures

STEP_COUNT = 5


class _Steps(Form):
    steps: list[Text]
    general: Text

    @field_validator("steps")
    @classmethod
    def _is_complete(cls, steps: list[str]) -> list[str]:
        if len(steps) != STEP_COUNT:
            raise ValueError(f"has {len(steps)} texts; expected {STEP_COUNT}")
        return steps


class _Link(Form):
    step: int
    outcome: Text
    solution: str


class _Explanation(Form):
    chain: list[_Link]

    @field_validator("chain")
    @classmethod
    def _is_filled(cls, chain: list[_Link]) -> list[_Link]:
        if not chain:
            raise ValueError("has no link")
        return chain


def annotate_cot_afa(root: Path, out: Path, stages: Stages, pictures: Pictures) -> None:
    """Writes a data set like the published one with steps, where it lacks them, and with the explanations that it lacks.

    Args:
        root: The data set.
        out: Folder of the new one.
        stages: Asks the language model; the stages are ``steps`` and ``explanations``.
        pictures: Frames of a clip that the model sees.
    """
    published = None
    if (root / STEPS).is_file():
        steps = read_steps(root / STEPS)
    else:
        actions = sheet_actions(root)
        answers = stages.ask("steps", len(actions), partial(step_requests, actions))
        if answers is None:
            steps = placeholder_steps(actions)
        else:
            published = published_steps(answers)
            write_steps(stages.folder, published)
            steps = read_steps(stages.folder / STEPS)
    funnel = Funnel("read clips", 1.0)
    rows, lacking = rows_to_explain(root, steps, funnel)
    for reason, count in funnel.dropped.items():
        stages.report.line(f"left out {count}: {reason} (such as {funnel.examples[reason][0]})")
    requests = partial(explanation_requests, root, lacking, steps, pictures)
    answers = stages.ask("explanations", len(lacking), requests, {r.name: f"{r.action}: {r.verdict}" for r in lacking})
    if answers is None:
        return
    mirror_release(root, out, (COMMENTS, *([STEPS] if published else [])))
    if published:
        write_steps(out, published)
    write_explanations(root, out, rows, answers)


def step_requests(actions: Sequence[str]) -> Iterator[Request]:
    """Makes one request per action."""
    prompt = load_prompt("mm_adapter.tasks.cot_afa", "cot-afa-steps-1")
    schema = answer_schema("cot-afa-steps", _Steps)
    for action in actions:
        yield Request(action, prompt.messages({}, {"action": action}), schema, about=prompt.about)


def published_steps(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Words steps as the published file does, the general instruction last."""
    published = {}
    for action, content in answers.items():
        steps = [f"{action} step {number}: {step}" for number, step in enumerate(content["steps"], start=1)]
        published[action] = [*steps, f"general instruction: {content['general']}"]
    return published


def explanation_requests(
    root: Path, rows: Sequence[Row], steps: Mapping[str, Sequence[str]], pictures: Pictures
) -> Iterator[Request]:
    """Makes one request per clip, with its frames, its verdict and its action's steps.

    Args:
        root: The data set.
        rows: Clips.
        steps: Action to its steps, the general instruction last.
        pictures: Frames that the model sees.

    Yields:
        A request whose schema refuses explanations that contradict the verdict or the steps.
    """
    prompt = load_prompt("mm_adapter.tasks.cot_afa", "cot-afa-explanation-1")
    form = CotAfaFormat({"steps": dict(steps)}, CotAfaOptions())
    for row in rows:
        video = root / "videos" / f"{row.name}.mp4"
        *numbered, general = steps[row.action]
        listed = "\n".join([*(f"{number}. {step}" for number, step in enumerate(numbered, 1)), general])
        system, user = prompt.messages({}, {"action": row.action, "verdict": row.verdict, "steps": listed})
        frames = clip_pictures(video, 0.0, read_duration(video), pictures.count, pictures.size)
        content = [*frames, {"type": "text", "text": user["content"]}]
        schema = _explanation_schema(row, steps[row.action], form)
        about = {**prompt.about, **vars(pictures)}
        yield Request(row.name, [system, {"role": "user", "content": content}], schema, about=about)


def _explanation_schema(row: Row, steps: Sequence[str], form: CotAfaFormat) -> Schema:
    def problem(answer: _Explanation) -> str | None:
        chain = [ChainStep(link.step, link.outcome, link.solution) for link in answer.chain]
        text = explanation(row.action, row.verdict, chain)
        return "; ".join(inconsistencies(form.parse(text), row.verdict, chain, steps)) or None

    return answer_schema("cot-afa-explanation", _Explanation, problem)


def published_texts(root: Path, rows: Sequence[Row]) -> dict[str, str]:
    """Reads the explanations that are there already, which nothing replaces.

    Args:
        root: The data set.
        rows: Clips.

    Returns:
        Clip to the text of its comment file or of the test captions.
    """
    texts = {}
    for row in rows:
        path = root / COMMENTS / f"{row.name}_with_label.txt"
        if path.is_file() and (text := path.read_bytes().decode("utf-8", errors="replace").strip()):
            texts[row.name] = text
    return texts | read_test_captions(root / CAPTIONS)


def rows_to_explain(root: Path, steps: Mapping[str, Sequence[str]], funnel: Funnel) -> tuple[list[Row], list[Row]]:
    """Reads the sheet of clips.

    Args:
        root: The data set.
        steps: Action to its steps.
        funnel: Counts rows that cannot be used, and clips without a video.

    Returns:
        All usable rows, and those of them that lack an explanation and have a video.
    """
    rows = list(read_rows(root, list(steps), funnel))
    texts = published_texts(root, rows)
    lacking = []
    for row in rows:
        if row.name in texts:
            continue
        if (root / "videos" / f"{row.name}.mp4").is_file():
            lacking.append(row)
        else:
            funnel.drop("no video", row.name)
    return rows, lacking


def write_explanations(root: Path, out: Path, rows: Sequence[Row], answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes comment files of all clips: published texts as they are, new ones, and empty files where there is neither.

    Args:
        root: The data set with the published texts.
        out: Folder of the new one.
        rows: Clips.
        answers: Clip to the answer that explains it.
    """
    texts = published_texts(root, rows)
    for row in rows:
        if row.name in answers:
            chain = [ChainStep(**link) for link in answers[row.name]["chain"]]
            texts[row.name] = explanation(row.action, row.verdict, chain)
    (out / COMMENTS).mkdir(parents=True, exist_ok=True)
    for row in rows:
        write_atomically(out / COMMENTS / f"{row.name}_with_label.txt", texts.get(row.name, ""))


def write_steps(out: Path, steps: Mapping[str, Sequence[str]]) -> None:
    """Writes the published step file."""
    write_atomically(out / STEPS, json.dumps(dict(steps), indent=1, ensure_ascii=False))


def placeholder_steps(actions: Sequence[str]) -> dict[str, list[str]]:
    """Returns steps of the usual length, for an estimate before there are any."""
    return {action: ["x" * 60] * (STEP_COUNT + 1) for action in actions}
