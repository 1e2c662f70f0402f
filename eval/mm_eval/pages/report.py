"""Fills the report's page: curves, tables and examples, with pictures and data inside the file."""

import base64
import html
import io
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from mm_data.ground.files import write_atomically
from mm_data.poses.skeleton import BONES
from mm_data.videos.frames import VideoError, middle_times, read_frames
from mm_eval.pages.headline import facts, headline, millimetres
from mm_eval.tables import to_html
from mm_eval.tables.expertaf import detail_tables

_THUMBNAILS = 5


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
        evaluation_folder: Holds ``examples.json``.
        evaluation: Content of ``metrics.json``.
        training: The coach's training folder with ``trainer_state.json``, or None.
        tokenizer_training: Likewise for the pose tokenizer.
    """
    out.mkdir(parents=True, exist_ok=True)
    examples = json.loads((evaluation_folder / "examples.json").read_text())
    curves = [
        _curve(title, folder)
        for title, folder in (
            ("Coach: training loss per token", training),
            ("Pose tokenizer: training loss", tokenizer_training),
        )
        if folder is not None
    ]
    template = Template(files("mm_eval.pages").joinpath("report.html").read_text())
    page = template.substitute(
        banner=_banner(evaluation),
        headline=headline(evaluation),
        facts=facts(evaluation, training),
        curves="".join(curves),
        tables="".join(to_html(table) for table in detail_tables(evaluation)),
        notes="".join(f"<p class='note'>{html.escape(note)}</p>" for note in evaluation["notes"]),
        examples="".join(_card(index, example) for index, example in enumerate(examples)),
        data=json.dumps({"bones": BONES, "poses": [e["poses"] for e in examples]}).replace("</", "<\\/"),
        items=evaluation["items"],
        takes=evaluation["takes"],
        participants=len(evaluation["participants"]),
    )
    write_atomically(out / "index.html", page)


def _banner(evaluation: dict[str, Any]) -> str:
    warnings = []
    if evaluation["synthetic_data"]:
        warnings.append("Synthetic data: the clips, remarks and errors are simulated. These numbers say that the path works, not how well real coaching works.")  # fmt: skip
    if evaluation["video_encoder"] and "random" in evaluation["video_encoder"]:
        warnings.append(f"Video encoder: {evaluation['video_encoder']}. What is learned here is learned from pose.")
    if evaluation["participants_also_in_training"]:
        warnings.append(f"Participants {', '.join(evaluation['participants_also_in_training'])} occur in training too.")
    return "".join(f"<p class='warning'>{html.escape(text)}</p>" for text in warnings)


def _curve(title: str, folder: Path) -> str:
    state = folder / "trainer_state.json"
    if not state.is_file():
        raise FileNotFoundError(f"{state} is not there: training has not finished. Run the recipe again to go on, or leave this folder out.")  # fmt: skip
    history = json.loads(state.read_text())["log_history"]
    points = [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]
    if len(points) < 2:
        return ""
    width, height, left, bottom = 460, 200, 44, 26
    last, top = points[-1][0], max(loss for _, loss in points) * 1.05
    place = [
        (left + (width - left - 8) * step / last, 8 + (height - bottom - 8) * (1 - loss / top)) for step, loss in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
    ticks = "".join(
        f"<line x1='{left}' x2='{width - 8}' y1='{8 + (height - bottom - 8) * (1 - share):.1f}' y2='{8 + (height - bottom - 8) * (1 - share):.1f}' class='grid'/>"
        f"<text x='{left - 6}' y='{12 + (height - bottom - 8) * (1 - share):.1f}' text-anchor='end'>{top * share:.2g}</text>"
        for share in (0, 0.25, 0.5, 0.75, 1.0)
    )
    return (
        f"<figure><figcaption>{html.escape(title)} (last {points[-1][1]:.3f})</figcaption>"
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='{html.escape(title)}'>{ticks}"
        f"<polyline points='{line}'/><text x='{left}' y='{height - 6}'>step 0</text>"
        f"<text x='{width - 8}' y='{height - 6}' text-anchor='end'>{last}</text></svg></figure>"
    )


def _strip(clip: dict[str, Any], view: str, count: int = _THUMBNAILS) -> str:
    """Frames of a clip in one JPEG."""
    start, stop = clip["seconds"]
    try:
        frames = read_frames(Path(clip[view]), middle_times(start, stop, count))
    except (FileNotFoundError, VideoError) as error:
        return f"<p class='note'>{html.escape(str(error))}</p>"
    height = 120
    width = round(frames.shape[2] * height / frames.shape[1])
    strip = Image.new("RGB", (width * count + 2 * (count - 1), height), "white")
    for position, frame in enumerate(frames):
        strip.paste(Image.fromarray(frame).resize((width, height)), (position * (width + 2), 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=80)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{view} frames of {html.escape(clip['clip_id'])}' src='data:image/jpeg;base64,{encoded}'>"


def _card(index: int, e: dict[str, Any]) -> str:
    verdict = ""
    if "injected" in e:
        right = bool(e["named"]) and set(e["named"]) <= set(e["injected"])
        injected = ", ".join(name.replace("_", " ") for name in e["injected"])
        verdict = f"<p class='verdict {'right' if right else 'wrong'}'>{'names an injected error' if right else 'does not name an injected error'} (injected: {html.escape(injected)})</p>"
    found = (
        "the expert clip it was paired with"
        if e["retrieved_is_positive"]
        else "the paired clip has no score"
        if e["rank"] is None
        else f"paired clip is at rank {e['rank']:g} of {e['gallery_size']}"
    )
    return f"""
<article class="card">
  <header><h3>{html.escape(e["task"])}</h3><span>{html.escape(e["learner"]["skill"])} · {html.escape(e["tuple_id"].split("/")[0][:8])}</span></header>
  <div class="strips"><div><h4>Learner, exo view</h4>{_strip(e["learner"], "exo")}</div><div><h4>Learner, ego view</h4>{_strip(e["learner"], "ego", 3)}</div></div>
  <div class="remarks"><p><b>Expert said</b> {html.escape(e["expert_remark"])}</p><p><b>Coach says</b> {html.escape(e["our_remark"])}</p>{verdict}</div>
  <div class="strips"><div><h4>Retrieved expert clip: {html.escape(found)}</h4>{_strip(e["retrieved"], "exo")}</div></div>
  <div class="skeletons"><canvas data-example="{index}" width="880" height="250"></canvas>
  <p class="note">Generated pose: {millimetres(e["pa_mpjpe_mm"])} from the expert's; the learner's own: {millimetres(e["learner_pa_mpjpe_mm"])} (PA-MPJPE).</p></div>
</article>"""
