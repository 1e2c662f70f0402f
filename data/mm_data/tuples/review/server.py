"""The review page's server: this machine only, one JSON interface, videos with seeking."""

import time
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mm_data.items.manifest import ItemManifest
from mm_data.poses.archive import PoseArchive
from mm_data.poses.skeleton import BONES, REGIONS
from mm_data.records import FPS, Clip, CoachingTuple
from mm_data.tuples.review.decisions import Decision, content_key, read_decisions, record_decision
from mm_data.tuples.store import MINED_TEST, read_tuples

LOOPBACK = ("127.0.0.1", "localhost")
_MAX_BODY = 20_000
_STATIC = str(files("mm_data.tuples.review").joinpath("static"))


def review_app(folder: Path, decisions: Path) -> Starlette:
    """Makes the page over the test split of a tuple folder, as it was mined.

    Requests that name another host are refused, so that no web page can reach it through the browser (DNS rebinding);
    posts have to be JSON, which no foreign page can send without being asked first.

    Args:
        folder: Tuple folder.
        decisions: Append-only file; other reviewers may write to it at the same time.

    Returns:
        The application.

    Raises:
        FileNotFoundError: The folder was not built.
    """
    manifest = ItemManifest.read(folder)
    tuples = read_tuples(folder, MINED_TEST)
    by_id = {item.tuple_id: item for item in tuples}
    videos = Path(manifest.source).resolve()

    def standing() -> dict[str, list[dict[str, Any]]]:
        latest = {name: rows for name, rows in read_decisions(decisions).items() if name in by_id}
        return {name: [asdict(decision) for decision in rows] for name, rows in latest.items()}

    async def overview(request: Request) -> Response:
        rows = [{"id": item.tuple_id, "content": content_key(item)} for item in tuples]
        about = {"bones": BONES, "regions": REGIONS, "fps": FPS, "synthetic": manifest.synthetic}
        return JSONResponse({"tuples": rows, "decisions": standing(), **about})

    async def decisions_so_far(request: Request) -> Response:
        return JSONResponse(standing())

    async def details(request: Request) -> Response:
        item = _item(request)
        clips = _clips(item)
        if start := request.query_params.get("expert_start"):
            clips["expert"] = _moved(folder, clips["expert"], start)
        poses = {side: _joints(folder, clip) for side, clip in clips.items()}
        return JSONResponse({**asdict(item), "content": content_key(item), "poses": poses})

    async def video(request: Request) -> Response:
        clip = _clips(_item(request))[request.path_params["side"]]
        path = (videos / (clip.ego_video if request.path_params["view"] == "ego" else clip.exo_video)).resolve()
        if not path.is_relative_to(videos) or not path.is_file():
            raise HTTPException(404, "This video was not downloaded; the poses are shown alone.")
        return FileResponse(path, media_type="video/mp4")

    async def decide(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            raise HTTPException(415, "Decisions are sent as application/json.")
        body = await request.body()
        if len(body) > _MAX_BODY:
            raise HTTPException(413, f"A decision may have {_MAX_BODY} bytes.")
        try:
            decision = Decision(**{**(await request.json()), "at": time.time()})
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error
        item = by_id.get(decision.tuple_id)
        if item is None or decision.content != content_key(item):
            raise HTTPException(409, "The tuple has changed since the page was loaded; reload the page.")
        if decision.expert_start is not None:
            _moved(folder, item.expert, str(decision.expert_start))
        record_decision(decisions, decision)
        return JSONResponse(standing())

    def _item(request: Request) -> CoachingTuple:
        number = request.path_params["number"]
        if not 0 <= number < len(tuples):
            raise HTTPException(404, f"There are {len(tuples)} tuples.")
        return tuples[number]

    async def page(request: Request) -> Response:
        headers = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "no-store"}
        return FileResponse(f"{_STATIC}/index.html", headers=headers)

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, status_code=error.status_code)
        return JSONResponse({"error": str(error)}, status_code=500)  # somebody else's line in the decisions file

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/tuples", overview),
            Route("/api/tuples/{number:int}", details),
            Route("/api/decisions", decisions_so_far, methods=["GET"]),
            Route("/api/decisions", decide, methods=["POST"]),
            Route("/videos/{number:int}/{side}/{view}.mp4", video),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))],
        exception_handlers={HTTPException: failed, ValueError: failed},
    )


def _clips(item: CoachingTuple) -> dict[str, Clip]:
    return {"learner": item.learner, "expert": item.expert}


def _moved(folder: Path, clip: Clip, start: str) -> Clip:
    """The clip with another first frame, which has to leave it inside the take."""
    frames = PoseArchive(folder).frames(clip.take_uid)
    length = clip.stop - clip.start
    if not start.isdigit() or int(start) + length > frames:
        raise HTTPException(422, f"The expert's take has {frames} frames; a clip of {length} cannot start at {start}.")
    return replace(clip, start=int(start), stop=int(start) + length)


def _joints(folder: Path, clip: Clip) -> list[list[list[float] | None]]:
    """``[T, 17]`` points in metres, None where a joint is absent."""
    poses = PoseArchive(folder)[clip.take_uid][clip.start : clip.stop]
    return [[[round(float(v), 3) for v in joint[:3]] if joint[3] > 0 else None for joint in pose] for pose in poses]
