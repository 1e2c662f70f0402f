"""An export's tokenizer: pose tokens as ordinary text, a chat template that takes content parts, and the proof of both."""

import json
from pathlib import Path

import numpy as np
from jinja2 import TemplateError
from transformers import AutoTokenizer

from mm_adapter.model.processor import EGO_TOKEN, EXO_TOKEN, CoachProcessor
from mm_data.tasks.coaching import SYSTEM, commentary_prompt, demonstration_prompt

# Content parts to text, before the base model's own template: media stands where its part stands, and a text part begins a
# new line after whatever came before it, as in training.
_CONTENT_PARTS = (
    "{%- set flat = namespace(messages=[]) -%}"
    "{%- if messages[0]['role'] != 'system' -%}"
    "{%- set flat.messages = [{'role': 'system', 'content': 'SYSTEM'}] -%}{%- endif -%}"
    "{%- for message in messages -%}{%- set joined = namespace(text='') -%}"
    "{%- if message['content'] is string -%}{%- set joined.text = message['content'] -%}{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'text' -%}"
    "{%- set joined.text = joined.text + ('\\n' if not loop.first else '') + part['text'] -%}"
    "{%- else -%}MEDIA{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- set flat.messages = flat.messages + [{'role': message['role'], 'content': joined.text}] -%}"
    "{%- endfor -%}{%- set messages = flat.messages -%}"
)


def write_tokenizer(processor: CoachProcessor, out: Path, layout: str) -> None:
    """Pose tokens become ordinary ones, which decoding shows; plain Llama has no rows for video placeholders."""
    processor.tokenizer.save_pretrained(out)
    content = json.loads((out / "tokenizer.json").read_text())
    first = processor.vocabulary.first_id
    last = first + processor.vocabulary.size
    for token in content["added_tokens"]:
        if first <= token["id"] < last:
            token["special"] = False
    if layout == "llama":
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < last]
    (out / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False))
    tokenizer = AutoTokenizer.from_pretrained(out)
    media = "{%- set joined.text = joined.text + '<|ego_video|>' -%}"
    if layout == "llama":
        media = "{{- raise_exception('This coach is served without video: give pose tokens as text.') -}}"
    parts = _CONTENT_PARTS.replace("SYSTEM", SYSTEM).replace("MEDIA", media)
    tokenizer.chat_template = parts + str(processor.tokenizer.chat_template)
    tokenizer.save_pretrained(out)


def prove_prompts(processor: CoachProcessor, out: Path, layout: str) -> None:
    """Compares prompts as the exported tokenizer renders and cuts them, which is what engines do, with the coach's.

    Args:
        processor: Processor of the coach.
        out: Folder of the export.
        layout: Layout of the export; plain Llama has no tokens for video placeholders.

    Raises:
        ValueError: A prompt differs; shows where.
    """
    exported = AutoTokenizer.from_pretrained(out)
    codes = np.zeros((processor.config.pose_frames, processor.config.pose_tokens_per_frame), int)
    for prompt in (commentary_prompt("clip"), demonstration_prompt("clip", "Bend the knees.")):
        messages, _ = processor.render(prompt, lambda _: codes)
        ours = processor.rendered_prompt(messages)
        in_parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        for written in (messages, in_parts, messages[1:]):  # the last without the system turn, which the template adds
            try:
                theirs = str(exported.apply_chat_template(written, tokenize=False, add_generation_prompt=True))
            except TemplateError as error:
                raise ValueError(
                    f"The exported chat template cannot render a prompt of the coach's: {error}"
                ) from error
            if theirs != ours:
                at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
                raise ValueError(
                    "The exported chat template renders another prompt than the coach's: "
                    f"{theirs[at : at + 60]!r} where it says {ours[at : at + 60]!r}."
                )
        if layout == "llama":
            ours = ours.replace(EGO_TOKEN, "").replace(EXO_TOKEN, "")
        if exported.encode(ours, add_special_tokens=False) != processor.tokenizer.encode(
            ours, add_special_tokens=False
        ):
            raise ValueError(
                "The exported tokenizer cuts a prompt into other tokens than the coach's; give the base model's own files."
            )
