"""Uploaded clips: decoded in processes with limits, deleted at once; a few small frames and the poses are kept."""

import asyncio
import hashlib
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from mm_adapter.serving.http.preparation import MEMORY_GIB, PreparedClip, open_worker, prepare_clip

_NUMPY = b"\x93NUMPY"


@dataclass(frozen=True)
class Upload:
    """A clip as it came.

    Attributes:
        videos: View to the file's bytes.
        poses: Bytes of an .npy or of Ego-Exo4D's JSON, or None.
        start: First second.
        stop: End; None is the video's.
    """

    videos: dict[str, bytes]
    poses: bytes | None = None
    start: float = 0.0
    stop: float | None = None

    @property
    def clip_id(self) -> str:
        """Id of the clip, the same for the same content."""
        digest = hashlib.sha256(f"{self.start} {self.stop}".encode())
        for name, data in (*sorted(self.videos.items()), ("pose", self.poses or b"")):
            digest.update(f"{name} {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()[:24]

    def write(self, folder: Path) -> None:
        """Writes files as `prepare_clip` reads them."""
        for name, data in self.videos.items():
            (folder / name).write_bytes(data)
        if self.poses is not None:
            ending = ".npy" if self.poses.startswith(_NUMPY) else ".json"
            (folder / f"pose{ending}").write_bytes(self.poses)


class LimitError(ValueError):
    """A clip that takes more time or memory than there is for one."""


class BusyError(RuntimeError):
    """More work than the server takes at a time."""


class ClipWorkers:
    """Processes that decode, one clip each at a time, within time and memory.

    Args:
        export: Folder of the coach whose clips are prepared.
        pose_model: MediaPipe's landmarker, or None.
        workers: Number of processes.
        waiting: Number of clips that may wait for them.
        seconds: Longest time for one clip; a process that needs longer is ended.
    """

    def __init__(
        self, export: Path, pose_model: Path | None, workers: int = 2, waiting: int = 14, seconds: float = 120.0
    ) -> None:
        self.limit, self.seconds, self._running = workers + waiting, seconds, 0
        self._pool = ProcessPool(
            max_workers=workers,
            context=multiprocessing.get_context("spawn"),
            initializer=open_worker,
            initargs=(export, pose_model),
        )

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in one of the processes.

        Args:
            function: Function of a module.
            *arguments: Arguments, which can be pickled.

        Returns:
            The function's result.

        Raises:
            BusyError: Too many are waiting.
            LimitError: Time or memory ran out, or the process died.
        """
        if self._running >= self.limit:
            raise BusyError(
                f"{self._running} clips are being prepared; at most {self.limit} are taken. Try again soon."
            )
        self._running += 1
        try:
            return await asyncio.wrap_future(self._pool.schedule(function, args=arguments, timeout=self.seconds))
        except TimeoutError as error:
            raise LimitError(f"Preparing the clip took more than {self.seconds:.0f} s; send a shorter one.") from error
        except (ProcessExpired, MemoryError) as error:
            raise LimitError(
                f"Preparing the clip took more than {MEMORY_GIB} GiB or crashed the decoder; export the video again as a smaller mp4."
            ) from error
        finally:
            self._running -= 1

    def close(self) -> None:
        """Ends the processes."""
        self._pool.stop()
        self._pool.join()


class ClipShelf:
    """The clips that are kept, the last used longest.

    Args:
        workers: Processes that prepare clips.
        capacity: Number of clips at a time.
        seconds: Time after which a clip that nobody asks about is forgotten.
    """

    def __init__(self, workers: ClipWorkers, capacity: int = 256, seconds: float = 3600.0) -> None:
        self.workers, self.capacity, self.seconds = workers, capacity, seconds
        self._kept: OrderedDict[str, tuple[float, PreparedClip]] = OrderedDict()
        self._lock = threading.Lock()  # rankings look clips up from threads

    async def add(self, upload: Upload) -> tuple[str, PreparedClip]:
        """Prepares a clip, unless it is there; the uploaded bytes are on disk only while they are decoded."""
        clip_id = await asyncio.to_thread(lambda: upload.clip_id)
        if (earlier := self.get(clip_id)) is not None:
            return clip_id, earlier
        folder = Path(tempfile.mkdtemp(prefix="mm-coach-upload-"))
        try:
            await asyncio.to_thread(upload.write, folder)
            prepared = await self.workers.run(prepare_clip, folder, [*upload.videos], upload.start, upload.stop)
        finally:
            shutil.rmtree(folder)
        with self._lock:
            self._kept[clip_id] = time.monotonic(), prepared
            while len(self._kept) > self.capacity:
                self._kept.popitem(last=False)
        asyncio.get_running_loop().call_later(self.seconds + 1, self._forget)
        return clip_id, prepared

    def get(self, clip_id: str) -> PreparedClip | None:
        """Returns a clip, or None where it is not here any more."""
        self._forget()
        with self._lock:
            if clip_id not in self._kept:
                return None
            _, clip = self._kept[clip_id]
            self._kept[clip_id] = time.monotonic(), clip
            self._kept.move_to_end(clip_id)
            return clip

    def _forget(self) -> None:
        now = time.monotonic()
        with self._lock:
            for name in [name for name, (used, _) in self._kept.items() if now - used > self.seconds]:
                del self._kept[name]

    def remove(self, clip_id: str) -> bool:
        """Forgets a clip and tells whether it was there."""
        with self._lock:
            return self._kept.pop(clip_id, None) is not None
