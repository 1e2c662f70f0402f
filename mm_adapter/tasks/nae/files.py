"""Reads MTL-NAE and FineGym-NAE: the layout that PGMI's code asks for, on top of MTL-AQA's pickles or FineGym's lists.

::

    ROOT/final_annotations_dict.pkl            {(video, index): {"final_score", "difficulty", ...}}
    ROOT/train_split_0.pkl, test_split_0.pkl   lists of those keys
    ROOT/train.caption.tsv, test.caption.tsv   <video>_<index> <TAB> [{"caption": ...}, ...]
    ROOT/videos/<video>_<index>.mp4            one file per performance

Actions come from MTL-AQA's codes of a dive, or, where an annotation has none, from FineGym's element lists
``gym99_categories.txt``, ``gym99_train_element_v1.1.txt`` and ``gym99_val_element.txt``.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import load_plain_pickle
from mm_data.ground.synthetic import is_marked_synthetic
from mm_data.items.answer import Answer
from mm_data.items.item import TaskItem
from mm_data.records import FPS
from mm_data.tasks.task import TaskData
from mm_data.tasks.videos import FOLDER, whole_video

ANNOTATIONS = "final_annotations_dict.pkl"
HIGHEST = 105.0
"""End of PGMI's last score interval; the highest score of MTL-AQA is 104.5."""

HIGHEST_OF_GYMNASTICS = 20.0
"""Above any score of an exercise in artistic gymnastics, whose scale is open."""

ROTATIONS = ("inward", "reverse", "backward", "forward")
POSITIONS = ("free position", "tuck", "pike")
"""MTL-AQA's codes, in their order."""

DIVE_VOCABULARY = {
    **{name: name for name in ("armstand", *ROTATIONS, *POSITIONS)},
    **{f"{half / 2:g} {what}": f"{half / 2:g} {what}" for half in range(1, 10) for what in ("somersaults", "twists")},
    "back": "backward", "tucked": "tuck", "piked": "pike", "arm stand": "armstand", "handstand": "armstand",
}  # fmt: skip
"""Phrase to action, of all dives and not only of those in a data set: a narrative may name what is not there."""

_GYM_FILES = ("gym99_train_element_v1.1.txt", "gym99_val_element.txt")


def dive_actions(codes: Mapping[str, Any]) -> list[str]:
    """Names what MTL-AQA's codes of one dive say; ``ss_no`` and ``tw_no`` count halves.

    Args:
        codes: Codes by name.

    Returns:
        Names of the actions.

    Raises:
        IndexError: A code stands for nothing.
        KeyError: One is missing.
    """
    sizes = {"rotation_type": len(ROTATIONS), "position": len(POSITIONS), "ss_no": 10, "tw_no": 10}
    for name, size in sizes.items():
        if codes[name] not in range(size):
            raise IndexError(f"{name} {codes[name]}")
    actions = ["armstand"] if codes["armstand"] else []
    actions.append(ROTATIONS[codes["rotation_type"]])
    for count, what in ((codes["ss_no"], "somersaults"), (codes["tw_no"], "twists")):
        if count:
            actions.append(f"{count / 2:g} {what}")
    return [*actions, POSITIONS[codes["position"]]]


def read_nae(root: Path) -> TaskData:
    """Reads both splits.

    Args:
        root: The data set.

    Returns:
        Items of both splits.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed, or more than half of the performances cannot be used.
    """
    annotations = {key_of(key): entry for key, entry in _pickled(root / ANNOTATIONS, dict).items()}
    elements = _read_elements(root) if any("rotation_type" not in entry for entry in annotations.values()) else {}
    funnel, items = Funnel("read performances", 0.5), []
    seen: set[str] = set()
    for split in ("train", "test"):
        captions = read_captions(root / f"{split}.caption.tsv", funnel)
        for raw in _pickled(root / f"{split}_split_0.pkl", list):
            key = key_of(raw)
            if key in seen:
                raise ValueError(f"{root}: {key} is in the training and in the test split, or twice in one.")
            seen.add(key)
            item = _item(root, key, split, annotations.get(key), captions.get(key, []), elements.get(key), funnel)
            if item is not None:
                funnel.keep()
                items.append(item)
        for extra in sorted(captions.keys() - seen):
            funnel.note("captions of a performance that is in no split", extra)
    funnel.check()
    dives = not elements or any("rotation_type" in entry for entry in annotations.values())
    phrases = (DIVE_VOCABULARY if dives else {}) | {name: name for name in elements.values()}
    scores = [item.truth.score for item in items if item.split == "train" and item.truth.score is not None]
    knowledge = {
        "lowest": 0.0,
        "highest": HIGHEST if dives else HIGHEST_OF_GYMNASTICS,
        "scores": scores,
        "actions": phrases,
    }
    return TaskData(items, knowledge, [funnel], root / FOLDER, is_marked_synthetic(root))


def _item(
    root: Path,
    key: str,
    split: str,
    entry: dict[str, Any] | None,
    captions: list[str],
    element: str | None,
    funnel: Funnel,
) -> TaskItem | None:
    if entry is None or not isinstance(entry.get("final_score"), int | float):
        return funnel.drop("no score", key)
    if not captions:
        return funnel.drop("no narrative", key)
    if "rotation_type" in entry:
        try:
            actions = dive_actions(entry)
        except (KeyError, IndexError, TypeError) as error:
            return funnel.drop(f"unknown code of the dive ({error})", key)
        category = f"{actions[1] if entry['armstand'] else actions[0]} dive"
    elif element:
        actions, category = [element], re.sub(r"^\(\w+\)\s*", "", element).split(",")[0].strip()
    else:
        return funnel.drop("no actions", key)
    frames = max(1, int(entry.get("end_frame", 1)) - int(entry.get("start_frame", 0)))
    clip = whole_video(root, key, frames / FPS, funnel)
    truth = Answer(text=captions[0], score=float(entry["final_score"]), actions=actions)
    facts = {"difficulty": entry.get("difficulty")}
    return TaskItem(key, split, key.rsplit("_", 1)[0], category, clip, truth, captions, facts)


def key_of(raw: Any) -> str:
    """Reads ``(video, index)``, whose parts are integers in some releases and strings in others, or ``video_index``."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, tuple | list) and len(raw) == 2:
        video, index = raw
        return f"{video}_{index}"
    raise ValueError(f"{raw!r} is not a key such as (1, 7).")


def _pickled(path: Path, kind: type) -> Any:
    content = load_plain_pickle(path)
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a {kind.__name__}, found {type(content).__name__}.")
    return content


def read_captions(path: Path, funnel: Funnel | None = None) -> dict[str, list[str]]:
    """Reads key to its texts, out of a SwinBERT caption file; ``funnel`` is told of irregularities."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: it holds the narratives, a key and a JSON list of captions per line."
        )
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        key, _, content = line.partition("\t")
        try:
            texts = [str(entry["caption"]) for entry in json.loads(content)]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}, line {number}: expected a key, a tab and a JSON list of captions ({error})."
            ) from error
        key = Path(key).stem
        distinct = list(dict.fromkeys(_joined(text) for text in texts if text.strip()))
        if funnel is not None and len(distinct) < len(texts):
            funnel.note("captions that are empty or repeated", key, len(texts) - len(distinct))
        captions[key] = distinct
    return captions


def _joined(text: str) -> str:
    """A caption as one line; SwinBERT's files set hyphens apart."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=\w) - (?=\w)", "-", text)).strip()


def _read_elements(root: Path) -> dict[str, str]:
    """FineGym key to the name of its element."""
    categories = root / "gym99_categories.txt"
    if not categories.is_file():
        raise FileNotFoundError(
            f"{categories} is missing: annotations without dive codes need FineGym's element lists."
        )
    names = {}
    for number, line in enumerate(categories.read_text(encoding="utf-8").splitlines(), start=1):
        match = re.match(r"\s*Clabel:\s*(\d+);.*?Glabel:\s*\d+;\s*(.+)", line)
        if match:
            names[int(match[1])] = match[2].strip()
        elif line.strip():
            raise ValueError(f"{categories}, line {number}: expected 'Clabel: 0; set: 1; Glabel: 3; text'.")
    elements = {}
    for path in (root / name for name in _GYM_FILES):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: it says which element a clip shows.")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            key, _, label = line.strip().rpartition(" ")
            if not line.strip():
                continue
            if not key or not label.isdigit() or int(label) not in names:
                labels = f"the {len(names)} labels of {categories.name}"
                raise ValueError(f"{path}, line {number}: expected a clip and one of {labels}, found {line[:80]!r}.")
            elements[key] = names[int(label)]
    return elements
