"""Fills the report's page: curves, tables and examples, with pictures and data inside the file."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.poses.skeleton import BONES
from mm_data.videos.frames import VideoError, middle_times, read_frames
from mm_eval.pages.headline import facts, headline, millimetres
from mm_eval.tables.expertaf import detail_tables
from mm_eval.tables.rendering import printed

_EXO_FRAMES, _EGO_FRAMES = 5, 3
_STRIP_HEIGHT, _GAP = 120, 2  # pixels


def write_report(
    out: Path,
    evaluation_folder: Path,
    evaluation: dict[str, Any],
    training: Path | None,
    tokenizer_training: Path | None,
) -> None:
    """Writes ``index.html``.

    Args:
        out: Folder of the page.
        evaluation_folder: Folder that holds ``examples.json``.
        evaluation: Content of ``metrics.json``, with the metrics' statistics.
        training: Training folder of the coach with ``trainer_state.json``, or None.
        tokenizer_training: Training folder of the pose tokenizer, or None.
    """
    out.mkdir(parents=True, exist_ok=True)
    examples = json.loads((evaluation_folder / "examples.json").read_text())
    trainings = {"Coach: training loss per token": training, "Pose tokenizer: training loss": tokenizer_training}
    page = fill_template(
        "mm_eval",
        "pages/report.html",
        evaluation=evaluation,
        facts=facts(evaluation, training),
        warnings=_warnings(evaluation),
        tiles=headline(evaluation),
        curves={title: _losses(folder) for title, folder in trainings.items() if folder is not None},
        tables=[printed(table) for table in detail_tables(evaluation)],
        examples=[_card(example) for example in examples],
        millimetres=millimetres,
        drawings={"bones": BONES, "poses": [example["poses"] for example in examples]},
    )
    write_atomically(out / "index.html", page)


def _warnings(evaluation: dict[str, Any]) -> list[str]:
    warnings = []
    if evaluation["synthetic_data"]:
        warnings.append(
            "Synthetic data: the clips, remarks and errors are simulated. "
            "These numbers say that the path works, not how well real coaching works."
        )
    if evaluation["video_encoder"] and "random" in evaluation["video_encoder"]:
        warnings.append(f"Video encoder: {evaluation['video_encoder']}. What is learned here is learned from pose.")
    if evaluation["participants_also_in_training"]:
        warnings.append(f"Participants {', '.join(evaluation['participants_also_in_training'])} occur in training too.")
    return warnings


def _losses(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of each line of a training's log."""
    state = folder / "trainer_state.json"
    if not state.is_file():
        raise FileNotFoundError(
            f"{state} is not there: training has not finished. Run the recipe again to go on, or leave this folder out."
        )
    history = json.loads(state.read_text())["log_history"]
    return [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]


def _card(example: dict[str, Any]) -> dict[str, Any]:
    """An example with its pictures, where the paired clip is ranked, and whether an injected error is named."""
    if example["retrieved_is_positive"]:
        rank = "the expert clip it was paired with"
    elif example["rank"] is None:
        rank = "the paired clip has no score"
    else:
        rank = f"paired clip is at rank {example['rank']:g} of {example['gallery_size']}"
    return {
        **example,
        "rank_text": rank,
        "right": bool(example.get("named")) and set(example["named"]) <= set(example.get("injected", ())),
        "learner_exo": _strip(example["learner"], "exo", _EXO_FRAMES),
        "learner_ego": _strip(example["learner"], "ego", _EGO_FRAMES),
        "retrieved_exo": _strip(example["retrieved"], "exo", _EXO_FRAMES),
    }


def _strip(clip: dict[str, Any], view: str, count: int) -> dict[str, str]:
    """Frames of a clip in one JPEG as ``picture``, with ``text`` that says what it shows or why there is none."""
    start, stop = clip["seconds"]
    try:
        frames = read_frames(Path(clip[view]), middle_times(start, stop, count))
    except (FileNotFoundError, VideoError) as error:
        return {"picture": "", "text": str(error)}
    width = round(frames.shape[2] * _STRIP_HEIGHT / frames.shape[1])
    strip = Image.new("RGB", (width * count + _GAP * (count - 1), _STRIP_HEIGHT), "white")
    for position, frame in enumerate(frames):
        strip.paste(Image.fromarray(frame).resize((width, _STRIP_HEIGHT)), (position * (width + _GAP), 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=80)
    picture = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"picture": picture, "text": f"{view} frames of {clip['clip_id']}"}
