"""Re-annotation of NAE (PGMI §3): five narratives per performance, with its actions and its score unchanged."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_data.asking.completions import Request, Schema
from mm_data.asking.prompts import load_prompt
from mm_data.ground.files import write_atomically
from mm_data.ground.safe_load import load_plain_pickle
from mm_data.tasks import Answer
from mm_data.tasks.nae import NaeFormat, NaeOptions, altered
from mm_data.tasks.nae_files import ANNOTATIONS, DIVE_VOCABULARY, HIGHEST, dive_actions, key_of, read_captions

VERSIONS = 5
ORIGINALS = "final_captions_dict.pkl"


@dataclass(frozen=True)
class Performance:
    """What a narrative has to keep, and what commentators said."""

    key: str
    split: str
    truth: Answer
    original: str


def read_performances(root: Path) -> list[Performance]:
    """Dives of MTL-AQA with their codes, scores and original captions.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed.
    """
    annotations = {key_of(key): entry for key, entry in load_plain_pickle(root / ANNOTATIONS).items()}
    originals = _originals(root)
    found = []
    for split in ("train", "test"):
        for raw in load_plain_pickle(root / f"{split}_split_0.pkl"):
            key = key_of(raw)
            if key not in annotations or "rotation_type" not in annotations[key]:
                raise ValueError(f"{root}: {key} has no dive codes, so nothing could check that its actions survive.")
            entry = annotations[key]
            truth = Answer(score=float(entry["final_score"]), actions=dive_actions(entry))
            found.append(Performance(key, split, truth, originals.get(key, "")))
    return found


def _originals(root: Path) -> dict[str, str]:
    """Key to the commentators' words: tokens of MTL-AQA, or what caption files there are."""
    path = root / ORIGINALS
    if path.is_file():
        words = {key_of(key): tokens for key, tokens in load_plain_pickle(path).items()}
        return {key: " ".join(t for t in tokens if not re.fullmatch(r"<\w+>", t)) for key, tokens in words.items()}
    found: dict[str, str] = {}
    for split in ("train", "test"):
        if (path := root / f"{split}.caption.tsv").is_file():
            found |= {key: texts[0] for key, texts in read_captions(path).items() if texts}
    return found


def requests(performances: list[Performance]) -> Iterator[Request]:
    """Five per performance, each by a prompt of its own."""
    form = checker(performances)
    for performance in performances:
        actions, score = ", ".join(performance.truth.actions or []), f"{performance.truth.score:g}"
        for version in range(1, VERSIONS + 1):
            prompt = load_prompt("mm_data.annotation", f"nae-narrative-{version}")
            told = {"actions": actions, "score": score, "original": performance.original or "(nothing was said)"}
            about = {"prompt": prompt.name, "prompt_sha256": prompt.digest}
            yield Request(
                f"{performance.key}#{version}", prompt.messages({}, told), _schema(performance.truth, form), about=about
            )


def checker(performances: list[Performance]) -> NaeFormat:
    """Reads narratives."""
    scores = [performance.truth.score for performance in performances]
    return NaeFormat({"lowest": 0.0, "highest": HIGHEST, "scores": scores, "actions": DIVE_VOCABULARY}, NaeOptions())


def _schema(truth: Answer, form: NaeFormat) -> Schema:
    def problem(content: Any) -> str | None:
        if not isinstance(content, dict) or set(content) != {"narrative"} or not isinstance(content["narrative"], str):
            return "expected an object with 'narrative'"
        return altered(truth, content["narrative"], form)

    properties = {"narrative": {"type": "string"}}
    return Schema("nae-narrative", {"type": "object", "properties": properties, "required": ["narrative"], "additionalProperties": False}, problem)  # fmt: skip


def write_captions(out: Path, performances: list[Performance], kept: Mapping[str, dict[str, Any]]) -> None:
    """The caption files of both splits; a performance without any narrative left gets none."""
    for split in ("train", "test"):
        lines = []
        for performance in performances:
            texts = [
                kept[name]["narrative"] for v in range(1, VERSIONS + 1) if (name := f"{performance.key}#{v}") in kept
            ]
            if performance.split == split and texts:
                lines.append(f"{performance.key}\t{json.dumps([{'caption': ' '.join(t.split())} for t in texts])}\n")
        write_atomically(out / f"{split}.caption.tsv", "".join(lines))


def about_items(performances: list[Performance]) -> dict[str, str]:
    """What a reviewer has to know, by request."""
    return {
        f"{p.key}#{version}": f"actions {', '.join(p.truth.actions or [])}; score {p.truth.score:g}; said: {p.original}"
        for p in performances
        for version in range(1, VERSIONS + 1)
    }
