"""The front's routes: OpenAI's protocol for clips and questions, and the page."""

import asyncio
import base64
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mm_adapter.inference.answering import ANSWER_TOKENS
from mm_adapter.inference.experts import ExpertSearch
from mm_adapter.inference.own_clip import MAX_SECONDS, decode_codes
from mm_adapter.model.config import VIEWS
from mm_adapter.serving import LOOPBACK
from mm_adapter.serving.http.answerer import EngineAnswerer
from mm_adapter.serving.http.clips import ClipShelf, Upload
from mm_adapter.serving.http.conversation import UPLOADED, Conversations, shelf_parts, take_upload
from mm_adapter.serving.http.engine import MODEL, Engine, EngineError
from mm_adapter.serving.http.exported_coach import Export
from mm_adapter.serving.http.fields import engine_fields
from mm_adapter.serving.http.guard import Guard
from mm_adapter.serving.http.passing import pass_on
from mm_adapter.serving.http.preparation import PreparedClip
from mm_adapter.serving.http.replies import failed, no_clip, points, read_json, read_seconds, refused, refusing
from mm_data.poses.skeleton import BONES
from mm_data.tasks.coaching import ASK_COMMENTARY, ASK_DEMONSTRATION, SYSTEM
from mm_data.videos.cut import cut_video
from mm_data.videos.frames import MAX_PIXELS, VideoError

_STATIC = str(files("mm_adapter.serving.http").joinpath("static"))
_POLICY = "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'"
_CUTS_KEPT = 64  # experts' clips, a few hundred kilobytes each


@dataclass(frozen=True)
class Limits:
    """How much the front takes.

    Attributes:
        upload_megabytes: Largest request in megabytes.
        requests: Number of questions that the engine has at a time.
    """

    upload_megabytes: int = 200
    requests: int = 64


@dataclass
class Front:
    """The server in front of the engine: its routes and what they share.

    Attributes:
        coach: Export whose clips are prepared.
        engine: vLLM with the same export.
        shelf: Learners' clips.
        experts: Search for experts, or None.
        finds_poses: Whether poses are found in videos.
        synthetic: Whether the experts are synthetic.
        limits: How much is taken.
    """

    coach: Export
    engine: Engine
    shelf: ClipShelf
    experts: ExpertSearch | None = None
    finds_poses: bool = False
    synthetic: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        self._uploaded = shelf_parts(self.coach, self.shelf)
        self.conversations = Conversations(self.coach, self._clip_parts)
        self._asking = 0
        self._searches = ThreadPoolExecutor(1)  # a search asks the engine many questions at a time
        self._answerer = EngineAnswerer(self.engine, self.coach, None, None, self._uploaded)
        self._cuts: OrderedDict[str, bytes] = OrderedDict()

    async def page(self, request: Request) -> Response:
        """The page."""
        return FileResponse(
            f"{_STATIC}/index.html", headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        )

    async def health(self, request: Request) -> Response:
        """200 while the engine answers."""
        try:
            reply = await self.engine.client.get("/health", timeout=5.0)
        except httpx.TransportError:
            return Response(status_code=503)
        return Response(status_code=200 if reply.status_code == 200 else 503)

    async def models(self, request: Request) -> Response:
        """The coach, as OpenAI lists models."""
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "mm-coach"}
        return JSONResponse({"object": "list", "data": [model]})

    async def describe(self, request: Request) -> Response:
        """What a client has to know."""
        config = self.coach.config
        return JSONResponse(
            {
                "model": MODEL,
                "views": config.shown_views,
                "encoder": config.video_encoder.rsplit(" ", 1)[0],
                "sees_poses": config.pose_form != "none",
                "finds_poses": self.finds_poses,
                "can_demonstrate": self.coach.can_demonstrate,
                "experts": len(self.experts.experts.gallery.category) if self.experts else 0,
                "synthetic_experts": self.synthetic,
                "tasks": {name: phrase for phrase, name in self.coach.tasks.phrases.items()},
                "bones": BONES,
                "system": SYSTEM,
                "questions": {"commentary": ASK_COMMENTARY, "demonstration": ASK_DEMONSTRATION},
                "limits": {"megabytes": self.limits.upload_megabytes, "seconds": MAX_SECONDS, "pixels": MAX_PIXELS},
            }
        )

    async def upload(self, request: Request) -> Response:
        """A clip: files ``exo``, ``ego``, ``pose`` and fields ``start``, ``stop`` of a form."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise HTTPException(415, "Clips are sent as multipart/form-data with files exo, ego and pose.")
        files_sent: dict[str, bytes] = {}
        times: dict[str, float] = {}
        async with request.form(max_files=3, max_fields=2) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile) and not value.filename and not value.size:
                    continue  # browsers send a field without a file so
                if isinstance(value, UploadFile) and name in (*VIEWS, "pose") and name not in files_sent:
                    if any(sign in (value.filename or "") for sign in "/\\\0"):
                        raise HTTPException(400, f"The file name {value.filename!r} holds a path; send the name alone.")
                    files_sent[name] = await value.read()
                elif isinstance(value, str) and name in ("start", "stop") and name not in times:
                    if value.strip():
                        times[name] = read_seconds(name, value)
                else:
                    raise HTTPException(400, f"Unknown or repeated {name!r}; a clip has the files exo, ego and pose and the fields start and stop.")  # fmt: skip
        poses = files_sent.pop("pose", None)
        clip_id, clip = await self._prepared(Upload(files_sent, poses, times.get("start", 0.0), times.get("stop")))
        return JSONResponse(self._described(clip_id, clip), status_code=201)

    async def forget(self, request: Request) -> Response:
        """Forgets a clip before its time."""
        clip_id = request.path_params["clip_id"]
        if not self.shelf.remove(clip_id):
            raise no_clip(clip_id)
        return Response(status_code=204)

    async def chat(self, request: Request) -> Response:
        """OpenAI's chat completions; videos and poses in the messages become clips."""
        body = await read_json(request)
        model = body.pop("model", None)
        if model not in (None, MODEL):
            raise HTTPException(404, f"The model {model!r} is not served here; there is {MODEL!r}.")
        messages = body.pop("messages", None)
        with refusing():
            body = engine_fields(body)
        with ExitStack() as slot:
            slot.enter_context(self._slot())
            rewritten, notes = await self._rewrite(messages)
            if "max_tokens" not in body and "max_completion_tokens" not in body:
                words = body.get("vllm_xargs") == {"coach_answer": "words"}
                poses = self.coach.processor.vocabulary.clip_length + 1
                body["max_tokens"] = ANSWER_TOKENS if words else max(ANSWER_TOKENS, poses)
            question = {**body, "model": self.engine.model, "messages": rewritten}
            reply = await pass_on(self.engine, question, request, slot)
        if notes:
            reply.headers["Coach-Notes"] = " ".join(notes)
        return reply

    async def decode(self, request: Request) -> Response:
        """Pose tokens (``text``), or ``codes``, as ``codes`` and ``joints``."""
        body = await read_json(request)
        with refusing():
            codes = self.coach.pose_codes(body.get("text"), body.get("codes"))
        joints = await run_in_threadpool(decode_codes, self.coach.pose_tokenizer, codes)
        return JSONResponse({"codes": codes.tolist(), "joints": points(joints)})

    async def find_experts(self, request: Request) -> Response:
        """The experts of the gallery who likely show what a remark asks of a clip."""
        if self.experts is None:
            raise HTTPException(404, "This server has no gallery; start it with --gallery.")
        body = await read_json(request)
        clip_id, remark, count = body.get("clip_id"), body.get("remark"), body.get("count", 3)
        if not isinstance(remark, str) or not remark or type(count) is not int or not 1 <= count <= 50:
            raise HTTPException(400, "Give clip_id, remark (a text) and count (1 to 50).")
        if not isinstance(clip_id, str) or self.shelf.get(clip_id) is None:
            raise no_clip(clip_id)
        with self._slot(), refusing():
            searching = asyncio.get_running_loop().run_in_executor(self._searches, self.experts.search, clip_id, remark)
            try:
                ranking = await searching
            except EngineError as error:
                raise HTTPException(503, str(error)) from error
            except KeyError as error:
                raise no_clip(clip_id) from error
        experts, gallery = self.experts.experts, self.experts.experts.gallery.category
        entries = []
        for name, score in ranking[:count]:
            clip = experts.clips[name]
            entries.append(
                {
                    "clip_id": name,
                    "activity": gallery[name],
                    "score": score,
                    "seconds": clip.stop - clip.start,
                    "joints": points(experts.joints[name]),
                }
            )
        return JSONResponse({"experts": entries, "gallery": len(gallery)})

    async def assess(self, request: Request) -> Response:
        """What the coach says of a clip in one of the tasks that it was trained on: words, score, class, verdict, whatever the task has."""
        body = await read_json(request)
        clip_id, name, tasks = body.get("clip_id"), body.get("task"), self.coach.tasks
        if not isinstance(name, str) or name not in tasks.tasks:
            raise HTTPException(404, f"This coach has no task {name!r}; it has {', '.join(tasks.tasks) or 'none'}.")
        clip = self.shelf.get(clip_id) if isinstance(clip_id, str) else None
        if clip is None:
            raise no_clip(clip_id)
        seen = str(clip_id), self.coach.config.shown_views, clip.codes is not None
        with self._slot(), refusing():
            try:
                answer = await run_in_threadpool(tasks.answer, name, self._answerer, *seen)
            except EngineError as error:
                raise HTTPException(503, str(error)) from error
            except KeyError as error:
                raise no_clip(clip_id) from error
        return JSONResponse({"answer": asdict(answer), "stated": answer.stated()})

    async def expert_video(self, request: Request) -> Response:
        """An expert's clip as an mp4."""
        clip_id = request.path_params["clip_id"]
        experts = self.experts.experts if self.experts else None
        if experts is None or clip_id not in experts.gallery.category:
            raise HTTPException(404, f"No expert {clip_id!r} is in the gallery.")
        if clip_id not in self._cuts:
            with tempfile.TemporaryDirectory(prefix="mm-coach-expert-") as folder, refusing():
                out = Path(folder) / "clip.mp4"
                try:
                    await self.shelf.workers.run(cut_video, *experts.stretch(clip_id), out)
                except (FileNotFoundError, VideoError):
                    raise HTTPException(
                        404, "This expert's video is not here or cannot be read; the poses are."
                    ) from None
                self._cuts[clip_id] = out.read_bytes()
                while len(self._cuts) > _CUTS_KEPT:
                    self._cuts.popitem(last=False)
        return Response(self._cuts[clip_id], media_type="video/mp4", headers={"Cache-Control": "max-age=3600"})

    async def _prepared(self, upload: Upload) -> tuple[str, PreparedClip]:
        if not upload.videos:
            raise HTTPException(400, "Give the learner's video: exo, ego or both.")
        with refusing():
            return await self.shelf.add(upload)

    async def _rewrite(self, messages: Any) -> tuple[list[dict[str, Any]], list[str]]:
        """For the engine, and what is to be known about the clips inside."""
        notes: list[str] = []
        if isinstance(messages, list):
            messages = [await self._with_clips(message, notes) for message in messages]
        with refusing():
            try:
                return self.conversations.rewrite(messages), notes
            except KeyError as error:
                raise no_clip(error.args[0]) from error

    async def _with_clips(self, message: Any, notes: list[str]) -> Any:
        with refusing():
            taken = await run_in_threadpool(take_upload, message)
        if taken is None:
            return message
        upload, content = taken
        clip_id, clip = await self._prepared(upload)
        notes += clip.notes
        named = [{"type": "clip", "clip_id": clip_id} if part is UPLOADED else part for part in content]
        return {**message, "content": named}

    def _clip_parts(self, clip_id: str) -> list[dict[str, Any]]:
        parts = self._uploaded(clip_id)
        if parts is None:
            raise KeyError(clip_id)
        return parts

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._asking >= self.limits.requests:
            raise HTTPException(
                429, f"{self._asking} questions are being answered; try again soon.", {"Retry-After": "2"}
            )
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def _described(self, clip_id: str, clip: PreparedClip) -> dict[str, Any]:
        pictures = {view: [_data_url(frame) for frame in frames] for view, frames in clip.frames.items()}
        return {
            "id": clip_id,
            "object": "clip",
            "seconds": clip.seconds,
            "notes": clip.notes,
            "frames": pictures,
            "joints": points(clip.joints) if clip.joints is not None else None,
            "kept_seconds": self.shelf.seconds,
        }


def _data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def front_app(front: Front, host: str, key: str | None) -> Starlette:
    """Builds the application.

    Args:
        front: Routes.
        host: Address that is listened on; on the loopback other host names are refused (DNS rebinding).
        key: API key, or None.

    Returns:
        The application.
    """
    guard = Middleware(Guard, max_bytes=front.limits.upload_megabytes * 10**6, key=key)
    trusted = [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])] if host in LOOPBACK else []
    return Starlette(
        routes=[
            Route("/", front.page),
            Route("/health", front.health),
            Route("/v1/models", front.models),
            Route("/v1/coach", front.describe),
            Route("/v1/clips", front.upload, methods=["POST"]),
            Route("/v1/clips/{clip_id}", front.forget, methods=["DELETE"]),
            Route("/v1/chat/completions", front.chat, methods=["POST"]),
            Route("/v1/poses", front.decode, methods=["POST"]),
            Route("/v1/experts", front.find_experts, methods=["POST"]),
            Route("/v1/experts/{clip_id:path}/video", front.expert_video),
            Route("/v1/assess", front.assess, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[*trusted, guard],
        exception_handlers={HTTPException: refused, Exception: failed},
    )
