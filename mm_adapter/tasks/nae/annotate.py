"""Re-annotation of NAE (PGMI §3): five narratives per performance, with its actions and its score unchanged."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mm_adapter.tasks.nae.files import ANNOTATIONS, DIVE_VOCABULARY, HIGHEST, dive_actions, key_of, read_captions
from mm_adapter.tasks.nae.format import NaeFormat, NaeOptions, altered
from mm_data.annotation.pipeline import Stages, mirror_release
from mm_data.asking.completions import Request, Schema
from mm_data.asking.forms import Form, answer_schema
from mm_data.asking.prompts import load_prompt
from mm_data.ground.files import write_atomically
from mm_data.ground.safe_load import load_plain_pickle
from mm_data.tasks import Answer

VERSIONS = 5
ORIGINALS = "final_captions_dict.pkl"


@dataclass(frozen=True)
class Performance:
    """A dive: what a narrative of it has to keep, and what commentators said."""

    key: str
    split: str
    truth: Answer
    original: str

    @property
    def items(self) -> list[str]:
        """Ids of its narratives, one per prompt."""
        return [f"{self.key}#{version}" for version in range(1, VERSIONS + 1)]


class _Narrative(Form):
    narrative: str


def annotate_nae(root: Path, out: Path, stages: Stages) -> None:
    """Writes a data set like MTL-AQA's with new narratives.

    Args:
        root: The data set.
        out: Folder of the new one.
        stages: Asks the language model; the stage is ``narratives``.
    """
    performances = read_performances(root)
    requests = partial(narrative_requests, performances)
    narratives = stages.ask("narratives", VERSIONS * len(performances), requests, about_items(performances))
    if narratives is None:
        return
    mirror_release(root, out, ("train.caption.tsv", "test.caption.tsv"))
    write_captions(out, performances, narratives)


def read_performances(root: Path) -> list[Performance]:
    """Reads the dives of MTL-AQA with their codes, scores and original captions.

    Args:
        root: The data set.

    Returns:
        The dives, training first.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed.
    """
    annotations = {key_of(key): entry for key, entry in load_plain_pickle(root / ANNOTATIONS).items()}
    originals = _originals(root)
    performances = []
    for split in ("train", "test"):
        for raw in load_plain_pickle(root / f"{split}_split_0.pkl"):
            key = key_of(raw)
            if key not in annotations or "rotation_type" not in annotations[key]:
                raise ValueError(f"{root}: {key} has no dive codes, so nothing could check that its actions survive.")
            entry = annotations[key]
            truth = Answer(score=float(entry["final_score"]), actions=dive_actions(entry))
            performances.append(Performance(key, split, truth, originals.get(key, "")))
    return performances


def _originals(root: Path) -> dict[str, str]:
    """Key to the commentators' words: tokens of MTL-AQA, or what caption files there are."""
    path = root / ORIGINALS
    if path.is_file():
        words = {key_of(key): tokens for key, tokens in load_plain_pickle(path).items()}
        return {key: " ".join(t for t in tokens if not re.fullmatch(r"<\w+>", t)) for key, tokens in words.items()}
    captions: dict[str, str] = {}
    for split in ("train", "test"):
        if (path := root / f"{split}.caption.tsv").is_file():
            captions |= {key: texts[0] for key, texts in read_captions(path).items() if texts}
    return captions


def narrative_requests(performances: Sequence[Performance]) -> Iterator[Request]:
    """Makes five requests per performance, each by a prompt of its own.

    Args:
        performances: All dives of the data set: their scores say how scores are read.

    Yields:
        A request whose schema refuses narratives with other actions or another score.
    """
    scores = [performance.truth.score for performance in performances]
    knowledge = {"lowest": 0.0, "highest": HIGHEST, "scores": scores, "actions": DIVE_VOCABULARY}
    form = NaeFormat(knowledge, NaeOptions())
    for performance in performances:
        texts = {
            "actions": ", ".join(performance.truth.actions or []),
            "score": f"{performance.truth.score:g}",
            "original": performance.original or "(nothing was said)",
        }
        for version, item in enumerate(performance.items, start=1):
            prompt = load_prompt("mm_adapter.tasks.nae", f"nae-narrative-{version}")
            yield Request(item, prompt.messages({}, texts), _schema(performance.truth, form), about=prompt.about)


def _schema(truth: Answer, form: NaeFormat) -> Schema:
    return answer_schema("nae-narrative", _Narrative, lambda answer: altered(truth, answer.narrative, form))


def write_captions(out: Path, performances: Sequence[Performance], narratives: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the caption files of both splits; a performance without any narrative left gets no line.

    Args:
        out: Folder of the files.
        performances: The dives.
        narratives: Id of a narrative to the answer that holds it.
    """
    for split in ("train", "test"):
        lines = []
        for performance in performances:
            texts = [narratives[item]["narrative"] for item in performance.items if item in narratives]
            if performance.split == split and texts:
                captions = [{"caption": " ".join(text.split())} for text in texts]
                lines.append(f"{performance.key}\t{json.dumps(captions)}\n")
        write_atomically(out / f"{split}.caption.tsv", "".join(lines))


def about_items(performances: Sequence[Performance]) -> dict[str, str]:
    """Says what a reviewer has to know, by id of a narrative."""
    return {
        item: f"actions {', '.join(p.truth.actions or [])}; score {p.truth.score:g}; said: {p.original}"
        for p in performances
        for item in p.items
    }
