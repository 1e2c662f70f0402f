"""A page of frames with what was found drawn over them: is it the right person, and do the joints lie on the body?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mm_data.estimation.landmarker import FORM
from mm_data.estimation.status import VideoStatus
from mm_data.ground.files import replacing, write_atomically
from mm_data.ground.templates import fill_template
from mm_data.poses.skeleton import BONES, JOINTS

PAGE = "index.html"
_HEIGHT = 360  # pixels of a frame on the page
_FOLLOWED, _OTHERS = "#17b26a", "#f79009"


def draw_samples(path: Path, samples: Mapping[int, tuple[np.ndarray, list[np.ndarray], int]]) -> None:
    """Draws frames side by side: the followed person in green, others in orange.

    Args:
        path: A ``.jpg``.
        samples: As `mm_data.estimation.find.FoundPoses` has them.
    """
    pictures = [_draw(*samples[frame]) for frame in sorted(samples)]
    strip = Image.new("RGB", (sum(picture.width for picture in pictures), _HEIGHT))
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width
    with replacing(path) as partial:
        strip.save(partial, "JPEG", quality=85)


def _draw(image: np.ndarray, people: Sequence[np.ndarray], followed: int) -> Image.Image:
    picture = Image.fromarray(image)
    picture = picture.resize((max(1, round(picture.width * _HEIGHT / picture.height)), _HEIGHT))
    pen = ImageDraw.Draw(picture)
    for place, landmarks in enumerate(people):
        colour = _FOLLOWED if place == followed else _OTHERS
        at = landmarks[:, :2] * (picture.width, picture.height)
        visible = landmarks[:, 2] > FORM.min_visibility
        for ends in BONES:
            joints = [FORM.source[JOINTS[end]] for end in ends]
            if visible[joints].all():
                pen.line([tuple(at[joint]) for joint in joints], fill=colour, width=3)
    return picture


def write_page(out: Path, statuses: Sequence[VideoStatus], model: str) -> None:
    """Writes the page of a folder of found poses; videos with problems stand first, then those with most gaps.

    Args:
        out: The folder, in which the samples lie already.
        statuses: What was found in every video.
        model: Name of the pose model.
    """
    worst_first = sorted(statuses, key=lambda s: (not s.problems, s.seen / max(s.frames, 1), s.name))
    page = fill_template("mm_data", "estimation/page.html", videos=worst_first, model=model)
    write_atomically(out / PAGE, page)
