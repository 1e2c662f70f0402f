"""Cameras and drawing: ego and exo videos of a simulated take, rendered from the same 3-D motion."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mm_data.miniature.simulate import FPS, SimulatedTake
from mm_data.poses.skeleton import JOINT_INDEX

EXO_SIZE = (320, 240)
EGO_SIZE = (192, 192)
_WALL = (125, 150, 170)
_SKIN, _SHORTS, _SHOE = (150, 180, 225), (70, 60, 60), (40, 40, 200)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: world to camera rotation ``[3, 3]`` and translation ``[3]``, intrinsics ``[3, 3]``."""

    rotation: np.ndarray
    translation: np.ndarray
    intrinsics: np.ndarray

    @classmethod
    def looking(cls, eye: np.ndarray, target: np.ndarray, focal: float, size: tuple[int, int]) -> "Camera":
        """Makes a camera at ``eye`` that looks at ``target`` with z up in the world (x right, y down, z forward inside)."""
        forward = (target - eye) / np.linalg.norm(target - eye)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        intrinsics = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
        return cls(rotation, -rotation @ eye, intrinsics)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Projects world points ``[..., 3]`` to pixels ``[..., 2]`` and depths ``[...]`` in metres."""
        local = points @ self.rotation.T + self.translation
        depth = local[..., 2]
        safe = np.where(depth > 0.05, depth, 0.05)
        pixels = local[..., :2] / safe[..., None] * self.intrinsics[0, 0] + self.intrinsics[:2, 2]
        return np.clip(pixels, -4000, 4000), depth


def exo_cameras(take: SimulatedTake) -> dict[str, Camera]:
    """Makes two static cameras; the first of them sees the performer from the front quarter, the second from the side."""
    rng = np.random.default_rng([take.index, 7])
    centre = take.to_world(np.array([0.0, -0.1, 1.0]))
    if take.participant.activity.slug == "bouldering":
        angles = (np.pi + rng.uniform(-0.35, 0.35), np.pi + rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 1.0))
    else:
        angles = (rng.choice([-1, 1]) * rng.uniform(0.6, 1.0), rng.choice([-1, 1]) * rng.uniform(1.4, 1.8))
    cameras = {}
    for name, angle in zip(("cam01", "cam02"), angles, strict=True):
        eye = take.to_world(np.array([np.sin(angle), np.cos(angle), 0.0]) * rng.uniform(2.7, 3.1) + [0, 0, 1.35])
        cameras[name] = Camera.looking(eye, centre, 250.0, EXO_SIZE)
    return cameras


def ego_cameras(take: SimulatedTake) -> list[Camera]:
    """Makes one head-mounted camera pose per frame, looking ahead and down so that the hands are in view."""
    nose, ears = take.joints[:, JOINT_INDEX["nose"]], take.joints[:, [3, 4]].mean(1)
    forward = nose - ears
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    eyes = take.joints[:, [1, 2]].mean(1) + 0.06 * forward
    kernel = np.ones(5) / 5
    aim = eyes + forward - np.array([0, 0, 0.35])
    padded = np.pad(aim, ((2, 2), (0, 0)), mode="edge")
    aim = np.stack([np.convolve(padded[:, d], kernel, mode="valid") for d in range(3)], -1)
    return [Camera.looking(eye, target, 80.0, EGO_SIZE) for eye, target in zip(eyes, aim, strict=True)]


@dataclass(frozen=True)
class Scene:
    """Props in world coordinates: ball positions ``[T, 3]`` or None, and static coloured points and lines."""

    ball: np.ndarray | None
    ball_colour: tuple[int, int, int]
    ball_radius: float
    ground: tuple[int, int, int]
    sky: tuple[int, int, int]
    lines: list[tuple[np.ndarray, np.ndarray, tuple[int, int, int], float]]
    dots: list[tuple[np.ndarray, tuple[int, int, int], float]]
    wall: np.ndarray | None = None


def build_scene(take: SimulatedTake) -> Scene:
    """Makes the props of the take's activity; the ball follows the hands or waits for the foot."""
    slug = take.participant.activity.slug
    side = -1.0 if take.participant.left_handed else 1.0
    world = take.to_world

    def line(a: list[float], b: list[float], colour: tuple[int, int, int], width: float):
        return world(np.array(a)), world(np.array(b)), colour, width

    if slug == "basketball":
        board = [[-0.9, 4.6, 2.9], [0.9, 4.6, 2.9], [0.9, 4.6, 3.95], [-0.9, 4.6, 3.95]]
        ring = [[0.23 * np.cos(a), 4.25 + 0.23 * np.sin(a), 3.05] for a in np.linspace(0, 2 * np.pi, 9)]
        lines = [line(a, b, (240, 240, 240), 0.05) for a, b in zip(board, [*board[1:], board[0]], strict=True)]
        lines += [line(a, b, (30, 90, 240), 0.05) for a, b in itertools.pairwise(ring)]
        lines += [line([0, 4.7, 0], [0, 4.7, 2.9], (110, 110, 110), 0.09)]
        lines += [line([-2.5, 0.45, 0], [2.5, 0.45, 0], (225, 225, 225), 0.05)]
        return Scene(_basketball(take), (40, 110, 235), 0.12, (95, 150, 195), (170, 170, 160), lines, [])
    if slug == "soccer":
        posts = [[-2.2, 6.0, 0], [-2.2, 6.0, 2.2], [2.2, 6.0, 2.2], [2.2, 6.0, 0]]
        lines = [line(a, b, (250, 250, 250), 0.08) for a, b in itertools.pairwise(posts)]
        lines += [line([-3.5, 6.0, 0], [3.5, 6.0, 0], (235, 245, 235), 0.04)]
        return Scene(_soccer_ball(take, side), (245, 245, 245), 0.11, (70, 140, 60), (215, 190, 150), lines, [])
    rng = np.random.default_rng([take.index, 11])
    leg = take.participant.physique.leg
    wall = world(np.array([[-2.2, 0.42, 0.0], [2.2, 0.42, 0.0], [2.2, 0.42, 3.6], [-2.2, 0.42, 3.6]]) * [1, leg, 1])
    colours = [(60, 60, 220), (60, 180, 70), (220, 140, 50), (60, 190, 230), (180, 80, 180)]
    dots = [
        (
            world(np.array([rng.uniform(-1.8, 1.8), 0.40 * leg, rng.uniform(0.2, 3.3)])),
            colours[rng.integers(5)],
            rng.uniform(0.04, 0.09),
        )
        for _ in range(34)
    ]
    return Scene(None, (0, 0, 0), 0.0, (90, 90, 100), (165, 165, 170), [], dots, wall)


def _basketball(take: SimulatedTake) -> np.ndarray:
    wrists = take.joints[:, [JOINT_INDEX["left-wrist"], JOINT_INDEX["right-wrist"]]]
    shooting = wrists[:, 0 if take.participant.left_handed else 1]
    up = np.array([0, 0, 1.0])
    ball = wrists.mean(1) + 0.05 * up
    basket = take.to_world(np.array([0.0, 4.25, 3.05]))
    for repetition in take.repetitions:
        first, last = repetition["frames"]
        hold, release = first + round(0.48 * (last - first)), first + round(0.66 * (last - first))
        ball[hold:release] = shooting[hold:release] + 0.13 * up
        start, flight = ball[release - 1], round(0.9 * FPS)
        for k in range(min(len(ball) - release, last - release + 10)):
            t = min(k, flight) / flight
            ball[release + k] = start + (basket - start) * t + up * 4.9 * 0.81 * t * (1 - t)
    return ball


def _soccer_ball(take: SimulatedTake, side: float) -> np.ndarray:
    leg = take.participant.physique.leg
    spot = take.to_world(np.array([0.06 * side * leg, 0.34 * leg, 0.11]))
    goal = take.to_world(np.array([0.8 * side, 6.2, 0.9]))
    ball = np.repeat(spot[None], len(take.joints), axis=0)
    for repetition in take.repetitions:
        first, last = repetition["frames"]
        strike = first + round(0.54 * (last - first))
        for frame in range(strike, min(len(ball), last + 6)):
            ball[frame] = spot + (goal - spot) * min((frame - strike) / 14, 1.0)
    return ball


def _background(
    camera: Camera, scene: Scene, to_world: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    image = np.full((size[1], size[0], 3), scene.sky, np.uint8)
    # The horizon: project a far ring of ground points and fill below it.
    angles = np.linspace(-np.pi, np.pi, 73)
    ring = to_world(np.stack([12 * np.sin(angles), 12 * np.cos(angles), np.zeros_like(angles)], -1))
    pixels, depth = camera.project(ring)
    ahead = pixels[depth > 0.3]
    if len(ahead):
        order = ahead[np.argsort(ahead[:, 0])]
        polygon = np.concatenate([order, [[4000, order[-1, 1]], [4000, 4000], [-4000, 4000], [-4000, order[0, 1]]]])
        cv2.fillPoly(image, [polygon.astype(np.int32)], scene.ground)
    if scene.wall is not None:
        pixels, depth = camera.project(scene.wall)
        if (depth > 0.1).all():
            cv2.fillPoly(image, [pixels.astype(np.int32)], _WALL)
        else:  # the head camera is so near that the wall fills the view
            image[:] = _WALL
    for a, b, colour, width in scene.lines:
        _line(image, camera, a, b, colour, width)
    for centre, colour, radius in scene.dots:
        _disc(image, camera, centre, colour, radius)
    return image


def _line(image: np.ndarray, camera: Camera, a: np.ndarray, b: np.ndarray, colour, width: float) -> None:
    pixels, depth = camera.project(np.stack([a, b]))
    if (depth > 0.1).all():
        thickness = max(1, round(width * camera.intrinsics[0, 0] / float(depth.mean())))
        ends = pixels.round().astype(int)
        cv2.line(image, tuple(ends[0].tolist()), tuple(ends[1].tolist()), colour, thickness, cv2.LINE_AA)


def _disc(image: np.ndarray, camera: Camera, centre: np.ndarray, colour, radius: float) -> None:
    pixels, depth = camera.project(centre)
    if depth > 0.1:
        size = max(1, round(radius * camera.intrinsics[0, 0] / float(depth)))
        if size < 400:
            at = tuple(pixels.round().astype(int).tolist())
            cv2.circle(image, at, size, colour, -1, cv2.LINE_AA)
            cv2.circle(image, at, size, tuple(int(c * 0.6) for c in colour), 1, cv2.LINE_AA)


def _draw_person(image: np.ndarray, camera: Camera, joints: np.ndarray, shirt: tuple[int, int, int], ego: bool) -> None:
    """Painter's algorithm over the parts of the body: the far ones first."""
    _, depth = camera.project(joints)
    parts: list[tuple[float, Callable[[], None]]] = []

    def add(distance: float, draw: Callable[..., None], *arguments: Any) -> None:
        parts.append((distance, partial(draw, image, camera, *arguments)))

    for shoulder, elbow, wrist, hip, knee, ankle in ((5, 7, 9, 11, 13, 15), (6, 8, 10, 12, 14, 16)):
        arm = ((shoulder, elbow, shirt, 0.085), (elbow, wrist, _SKIN, 0.07))
        leg = ((hip, knee, _SHORTS, 0.14), (knee, ankle, _SKIN, 0.10))
        for a, b, colour, width in arm + leg:
            add(depth[[a, b]].mean(), _line, joints[a], joints[b], colour, width)
        add(depth[wrist] - 0.01, _disc, joints[wrist], _SKIN, 0.055)
        add(depth[ankle] - 0.01, _disc, joints[ankle], _SHOE, 0.075)
    if not ego:
        add(depth[[5, 6, 11, 12]].mean(), _draw_torso, joints, shirt)
        add(depth[:5].mean(), _draw_head, joints[[3, 4]].mean(0), joints[0])
    for _, draw in sorted(parts, key=lambda part: -part[0]):
        draw()


def _draw_torso(image: np.ndarray, camera: Camera, joints: np.ndarray, shirt: tuple[int, int, int]) -> None:
    """Shirt and neck; the edge between the hips is darker."""
    corners, depth = camera.project(joints[[5, 6, 12, 11]])
    if (depth > 0.1).all():
        cv2.fillPoly(image, [corners.round().astype(np.int32)], shirt, cv2.LINE_AA)
    dark = tuple(int(c * 0.75) for c in shirt)
    for a, b, colour in ((5, 6, shirt), (6, 12, shirt), (12, 11, dark), (11, 5, shirt)):
        _line(image, camera, joints[a], joints[b], colour, 0.12)
    _line(image, camera, joints[[5, 6]].mean(0), joints[[3, 4]].mean(0), _SKIN, 0.09)


def _draw_head(image: np.ndarray, camera: Camera, ears: np.ndarray, nose: np.ndarray) -> None:
    """Hair, face and nose; from behind the hair hides the face."""
    discs = [(ears, (60, 80, 110), 0.115), (ears * 0.45 + nose * 0.55, _SKIN, 0.085), (nose, (110, 140, 200), 0.022)]
    seen_from_behind = camera.project(nose)[1] > camera.project(ears)[1]
    for centre, colour, radius in discs[::-1] if seen_from_behind else discs:
        _disc(image, camera, centre, colour, radius)


def render_view(path: Path, take: SimulatedTake, scene: Scene, cameras: list[Camera] | Camera) -> None:
    """Writes one view of a take. A list of cameras means a moving, head-mounted view."""
    ego = isinstance(cameras, list)
    size = EGO_SIZE if ego else EXO_SIZE
    write_video(path, size, draw_frames(take.joints, take.participant.shirt, scene, cameras, take.to_world, size))


def draw_frames(
    joints: np.ndarray,
    shirt: tuple[int, int, int],
    scene: Scene,
    cameras: list[Camera] | Camera,
    to_world: Callable[[np.ndarray], np.ndarray],
    size: tuple[int, int],
) -> Iterator[np.ndarray]:
    """Draws pictures of a performer ``[T, 17, 3]`` in a scene, by one camera that stands or by one per frame on the head."""
    still = None if isinstance(cameras, list) else _background(cameras, scene, to_world, size)
    for index, posed in enumerate(joints):
        camera = cameras[index] if isinstance(cameras, list) else cameras
        image = _background(camera, scene, to_world, size) if still is None else still.copy()
        _draw_person(image, camera, posed, shirt, ego=still is None)
        if scene.ball is not None:
            _disc(image, camera, scene.ball[index], scene.ball_colour, scene.ball_radius)
        yield image


def write_video(path: Path, size: tuple[int, int], images: Iterable[np.ndarray]) -> None:
    """Writes one mp4 (H.264, 30 fps).

    The bytes depend on the pictures alone: one encoder thread and no time stamps in the container.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"preset": "ultrafast", "crf": "26", "threads": "1", "bf": "0", "g": "30"}
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        container.flags |= 0x400  # AVFMT_FLAG_BITEXACT
        stream = container.add_stream("libx264", rate=int(FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.flags |= 0x800000  # AV_CODEC_FLAG_BITEXACT
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
