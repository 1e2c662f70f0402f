"""Skeletons as pictures: a strip of frames, or an animation, seen from the front and from the side."""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from mm_data.ground.files import replacing
from mm_data.poses.skeleton import BONES

SIZE = 320
"""Pixels along a view's side."""
_BACKGROUND, _GRID, _TEXT = (250, 250, 248), (228, 228, 224), (90, 90, 90)
_AXES = {"front": 0, "side": 1}
ENDINGS = (".png", ".gif", ".mp4")
LEARNER, SHOWN = "#c2410c", "#0a7d4f"
"""Colours of what was done and of what is shown instead."""


def draw(path: Path, motions: Mapping[str, tuple[np.ndarray, str]], fps: float) -> None:
    """Draws motions over each other.

    Args:
        path: ``.png`` for all frames side by side, ``.gif`` or ``.mp4`` for an animation.
        motions: Label to joints ``[T, 17, 3]`` in metres (z up, as `mm_tokenizers.canonical` turns them) and a colour that
            Pillow knows; all of the same T. NaN leaves a joint out.
        fps: Frames per second of the animation.

    Raises:
        ValueError: Another ending, or motions of different lengths.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: give a file that ends in {', '.join(ENDINGS)}.")
    lengths = {label: len(joints) for label, (joints, _) in motions.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Motions of different lengths cannot be drawn over each other: {lengths}.")
    frames = [_frame(motions, index) for index in range(next(iter(lengths.values())))]
    with replacing(path) as partial:
        if path.suffix == ".png":
            strip = Image.new("RGB", (sum(frame.width for frame in frames), frames[0].height))
            for index, frame in enumerate(frames):
                strip.paste(frame, (index * frame.width, 0))
            strip.save(partial, "PNG")
        elif path.suffix == ".gif":
            frames[0].save(partial, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
        else:
            _write_mp4(partial, frames, fps)


def _frame(motions: Mapping[str, tuple[np.ndarray, str]], index: int) -> Image.Image:
    everything = np.concatenate([joints.reshape(-1, 3) for joints, _ in motions.values()])
    low, high = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
    scale = 0.8 * SIZE / max(float((high - low).max()), 1e-6)
    centre = (low + high) / 2
    image = Image.new("RGB", (SIZE * len(_AXES), SIZE + 24), _BACKGROUND)
    pen = ImageDraw.Draw(image)
    for column, (view, axis) in enumerate(_AXES.items()):
        left = column * SIZE
        pen.rectangle((left, 0, left + SIZE - 1, SIZE - 1), outline=_GRID)
        pen.text((left + 8, 6), f"{view}, frame {index + 1}", fill=_TEXT)
        for joints, colour in motions.values():
            pose = joints[index]
            x = left + SIZE / 2 + scale * (pose[:, axis] - centre[axis])
            y = SIZE / 2 - scale * (pose[:, 2] - centre[2])
            for a, b in BONES:
                if np.isfinite([x[a], y[a], x[b], y[b]]).all():
                    pen.line((x[a], y[a], x[b], y[b]), fill=colour, width=4)
    place = 8
    for label, (_, colour) in motions.items():
        pen.rectangle((place, SIZE + 7, place + 10, SIZE + 17), fill=colour)
        pen.text((place + 16, SIZE + 6), label, fill=_TEXT)
        place += 24 + round(pen.textlength(label)) + 16
    return image


def _write_mp4(path: Path, frames: list[Image.Image], fps: float) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=max(1, round(fps)))
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
