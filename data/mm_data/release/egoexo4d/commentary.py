"""Expert commentary in both published forms: one file per split, and a folder per take and commentator.

Only the folders carry the commentators' ratings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import read_json
from mm_data.records import Rating, Remark, Take
from mm_data.release.egoexo4d.download import metadata_hint
from mm_data.release.egoexo4d.takes import ANNOTATED_SPLITS


@dataclass(frozen=True)
class Recording:
    """One spoken comment as stored in a commentator's folder.

    Attributes:
        number: Stem of the audio file's name.
        time: Seconds into the take.
        text: Transcription, or None where it failed.
    """

    number: str
    time: float
    text: str | None


@dataclass(frozen=True)
class Session:
    """The contents of one commentator's folder about one take.

    Attributes:
        take_name: Name of the take.
        commentator: Identifier of the commentator.
        rating: Rating of the take from 1 to 10, or None.
        why: Reason of the rating.
        recordings: Spoken comments.
    """

    take_name: str
    commentator: str
    rating: float | None
    why: str
    recordings: list[Recording]


def read_sessions(root: Path, funnel: Funnel) -> Iterator[Session]:
    """Reads all commentator folders of a download, one at a time; none without that part of the download.

    Args:
        root: The download.
        funnel: Notes folders that cannot be read.

    Yields:
        One session after the other.
    """
    for path in sorted((root / "annotations/expert_commentary").glob("*/*/data.json")):
        try:
            yield read_session(path.parent)
        except ValueError as error:
            funnel.note("unreadable commentator's folder", str(error))


def read_session(folder: Path) -> Session:
    """Reads ``data.json`` and, where present, ``transcriptions.json`` of one commentator.

    Args:
        folder: The commentator's folder.

    Returns:
        What the commentator said.

    Raises:
        ValueError: A file is malformed; names it.
    """
    content = read_json(folder / "data.json", "the commentator's recordings")
    texts_path = folder / "transcriptions.json"
    texts = read_json(texts_path, "") if texts_path.is_file() else {}
    try:
        proficiency = content.get("proficiency") or {}
        rating = proficiency.get("rating")
        recordings = [
            Recording(
                Path(item["recording_path"]).stem,
                float(item["video_time"]),
                _transcription(texts, item["recording_path"]),
            )
            for item in content.get("annotations") or ()
        ]
        return Session(
            str(content.get("video_name") or folder.parent.name),
            str(content.get("user_id") or folder.name),
            None if rating is None else float(rating),
            proficiency.get("why") or "",
            recordings,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder}: malformed ({type(error).__name__}: {error}); download it again.") from error


def _transcription(texts: dict[str, Any], recording: str) -> str | None:
    entry = texts.get(recording) or {}
    return None if entry.get("error") else _clean(entry.get("text"))


def _clean(text: str | None) -> str | None:
    """Whisper begins with a space and may break lines; empty means that nothing was understood."""
    return " ".join((text or "").split()) or None


def read_remarks(
    root: Path, takes: dict[str, Take], uids: dict[str, str], sessions: list[Session], funnel: Funnel
) -> list[Remark]:
    """Reads every usable comment, from the split files first and from the folders where those lack it.

    Args:
        root: The download.
        takes: Usable takes by uid.
        uids: Take name to uid of all takes, usable or not.
        sessions: Contents of the commentators' folders.
        funnel: Counts comments.

    Returns:
        The remarks.
    """
    remarks: dict[str, Remark] = {}
    seen: set[str] = set()
    for remark_id, uid, time, text in _from_split_files(root, funnel):
        if remark_id in seen:
            funnel.drop("listed twice", remark_id)
            continue
        seen.add(remark_id)
        if remark := _usable(remark_id, uid, time, text, takes, funnel):
            remarks[remark_id] = remark
    for session in sessions:
        uid = uids.get(session.take_name, session.take_name)
        for recording in session.recordings:
            remark_id = f"{uid}/{session.commentator}/{recording.number}"
            if remark_id in seen:
                continue
            seen.add(remark_id)
            funnel.note("only in the commentator's folder", remark_id)
            if remark := _usable(remark_id, uid, recording.time, recording.text, takes, funnel):
                remarks[remark_id] = remark
    return list(remarks.values())


def _from_split_files(root: Path, funnel: Funnel) -> Iterator[tuple[str, str, float, str | None]]:
    for split in ANNOTATED_SPLITS:
        path = root / f"annotations/expert_commentary_{split}.json"
        for uid, sessions in read_json(path, metadata_hint(root, "it holds the commentary"))["annotations"].items():
            for session in sessions:
                try:
                    commentator, items = session["commentary"].rsplit("/", 1)[-1], list(session["commentary_data"])
                except (KeyError, TypeError, AttributeError) as error:
                    funnel.note("malformed session", f"{path.name}, {uid}: {type(error).__name__} {error}")
                    continue
                for number, item in enumerate(items):
                    try:
                        name, time = Path(item["recording"]).stem, float(item["video_time"])
                        text = None if item.get("error") else _clean(item.get("text"))
                    except (KeyError, TypeError, AttributeError, ValueError) as error:
                        where = f"{path.name}, {uid}/{commentator}, item {number}"
                        funnel.drop("malformed entry", f"{where}: {type(error).__name__} {error}")
                        continue
                    yield f"{uid}/{commentator}/{name}", uid, time, text


def _usable(
    remark_id: str, uid: str, time: float, text: str | None, takes: dict[str, Take], funnel: Funnel
) -> Remark | None:
    if uid not in takes:
        return funnel.drop("take is not usable", remark_id)
    if text is None:
        return funnel.drop("transcription failed", remark_id)
    if not 0.0 <= time <= takes[uid].duration + 1.0:
        return funnel.drop("time outside the take", remark_id)
    funnel.keep()
    return Remark(remark_id, uid, remark_id.split("/")[1], time, text)


def standardized_ratings(sessions: list[Session], takes: dict[str, Take]) -> dict[tuple[str, str], Rating]:
    """Returns (take uid, commentator) to rating. Each commentator has a scale of their own, so ratings are also standardised.

    A commentator with a single rating, or with the same rating for all, has no scale to standardise by.
    """
    uids = {take.take_name: uid for uid, take in takes.items()}
    rated = [s for s in sessions if s.rating is not None and s.take_name in uids]
    scales: dict[str, list[float]] = {}
    for session in rated:
        scales.setdefault(session.commentator, []).append(float(session.rating or 0))
    ratings = {}
    for session in rated:
        scale = scales[session.commentator]
        spread = pstdev(scale)
        value = float(session.rating or 0)
        ratings[uids[session.take_name], session.commentator] = Rating(
            value, session.why, (value - fmean(scale)) / spread if spread else None
        )
    return ratings
