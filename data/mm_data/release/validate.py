"""Checks a data set before anything runs on it: presence, schema, cross-references, coverage, what to fetch next."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_data.ground.funnel import Funnel
from mm_data.ground.safe_load import read_json
from mm_data.poses.checks import TURNED, check_upright, other_axis, trunk
from mm_data.records import EXPERT_SKILLS, FPS, LEARNER_SKILLS, SPLITS, Source, Take
from mm_data.release.egoexo4d import read_release
from mm_data.release.egoexo4d.download import BENCHMARKS, LICENCE, PART_GB, fetch_command
from mm_data.release.egoexo4d.takes import ANNOTATED_SPLITS, read_captures, read_participants, rows_of
from mm_data.release.own_videos import is_own_data, read_own_data
from mm_data.release.read import ENDS_EARLY, ends_early, load_pose_file, split_by_participant

OK, WARNING, MISSING, BROKEN = "ok", "warning", "missing", "broken"
_RELEASE_TAKES = 5035  # takes of release v2, which the sizes of its parts are for
_POSE_SAMPLE = 20
_READY = "takes for tuples"
_NO_POSES = {
    False: "fetch the body poses: annotations/ego_pose",
    True: "put them into poses/, or build with --allow-unaligned, "
    "whose tuples can be reviewed and exported, not trained on",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: The thing.
        status: ``ok``, ``warning``, ``missing`` or ``broken``.
        found: What is there.
        fix: What to do about it.
    """

    what: str
    status: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Fetch:
    """Something to download next.

    Attributes:
        why: What it is needed for.
        command: Command line of the official downloader.
        gigabytes: Its size.
    """

    why: str
    command: str
    gigabytes: float


@dataclass
class Validation:
    """Result of `validate`.

    Attributes:
        checks: What was looked at, in this order.
        coverage: One row per activity, and ``all``: how many takes reach every stage.
        fetch: What to download next.
        uids: Takes that can take part but lack videos, for the downloader's ``--uids``.
    """

    checks: list[Check] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)
    fetch: list[Fetch] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether tuples can be built."""
        return not any(check.status in (MISSING, BROKEN) for check in self.checks)


def validate(
    root: Path,
    all_poses: bool = False,
    only: Collection[str] | None = None,
    uids_file: Path = Path("uids.txt"),
    progress: Callable[[str], None] = lambda what: None,
) -> Validation:
    """Checks a data set; never raises for what is wrong with it.

    Args:
        root: Ego-Exo4D download, miniature, or a folder of one's own videos.
        all_poses: Read every pose file instead of an even sample.
        only: Takes whose videos are wanted; all that can take part where it is None.
        uids_file: Where the caller will write `Validation.uids`; named in the downloader's command.
        progress: Called with what is being looked at.

    Returns:
        What was checked, and what to fetch next.
    """
    result = Validation()
    if not root.is_dir():
        fix = f"make it, or `mm-coach miniature {root}`"
        result.checks.append(Check("folder", MISSING, f"{root} does not exist", fix))
        return result
    is_own = is_own_data(root)
    if not is_own:
        progress("metadata and annotations")
        _check_files(root, result)
        if not result.usable:
            result.fetch.append(_annotations(root, "metadata and annotations are needed before anything else"))
            return result
    progress("cross-references")
    try:
        source = read_own_data(root, 1.0) if is_own else read_release(root, 1.0)
    except (ValueError, FileNotFoundError, KeyError, TypeError, AttributeError) as error:
        detail = f"key {error} is missing from an entry" if isinstance(error, KeyError) else str(error)
        result.checks.append(Check("reading", BROKEN, detail, "mend or download the file again"))
        return result
    for funnel in source.funnels:
        lost = sum(funnel.dropped.values())
        notes = [f"{count} {what}" for what, count in (funnel.dropped + funnel.noted).most_common()]
        status = WARNING if lost > 0.5 * (lost + funnel.kept) else OK
        detail = "; ".join([f"{funnel.kept} of {funnel.kept + lost}", *notes])
        result.checks.append(Check(funnel.stage, status, detail))
    if not is_own:
        _check_references(root, source, result)
    progress("pose files")
    _check_poses(source, all_poses, result)
    progress("coverage")
    result.coverage += _cover(source)
    result.checks.append(_readiness(source, is_own))
    if not is_own:
        _plan_fetching(root, source, only, uids_file, result)
    return result


@dataclass(frozen=True)
class _Expected:
    """A file that has to be there.

    Attributes:
        name: Path below the data set's folder.
        rows: The entries in the file's content.
        keys: What every entry has to hold.
        count: Number of entries, where it is not that of the rows.
    """

    name: str
    rows: Callable[[Any, Path], Iterable[Any]]
    keys: tuple[str, ...]
    count: Callable[[Any], int] | None = None


def _splits(content: Any, path: Path) -> list[Any]:
    if not isinstance(content["take_uid_to_split"], dict):
        raise ValueError("no take_uid_to_split")
    return list(content["take_uid_to_split"])


def _sessions(content: Any, path: Path) -> Iterator[dict[str, Any]]:
    return (session for sessions in content["annotations"].values() for session in sessions)


def _comments(content: Any) -> int:
    return sum(len(session["commentary_data"]) for session in _sessions(content, Path()))


_TAKE = (
    "take_uid", "take_name", "root_dir", "participant_uid", "university_name", "duration_sec", "capture",
    "frame_aligned_videos",
)  # fmt: skip
_SKILLS = "annotations/proficiency_demonstrator_{}.json"
_COMMENTARY = "annotations/expert_commentary_{}.json"
_REQUIRED = (
    _Expected("takes.json", rows_of, _TAKE),
    _Expected("captures.json", rows_of, ("capture_uid", "cameras")),
    _Expected("participants.json", rows_of, ("participant_uid", "university_name")),
    *(_Expected(_SKILLS.format(split), rows_of, ("take_uid", "proficiency_score")) for split in ANNOTATED_SPLITS),
    _Expected("annotations/splits.json", _splits, ()),
    *(
        _Expected(_COMMENTARY.format(split), _sessions, ("commentary", "commentary_data"), _comments)
        for split in ANNOTATED_SPLITS
    ),
)
_OPTIONAL = {
    "proficiency_demonstration": "the polarity labeller",
    "atomic_descriptions": "the best exo view of takes where takes.json has none",
}


def _check_files(root: Path, result: Validation) -> None:
    result.checks += [_check_file(root, expected) for expected in _REQUIRED]
    for kind, use in _OPTIONAL.items():
        name = f"annotations/{kind}_*.json"
        splits = [split for split in ANNOTATED_SPLITS if (root / f"annotations/{kind}_{split}.json").is_file()]
        if splits:
            result.checks.append(Check(name, OK, " and ".join(splits)))
        else:
            fix = fetch_command(root, ("annotations",))
            result.checks.append(Check(name, WARNING, f"not there; only for {use}", fix))


def _check_file(root: Path, expected: _Expected) -> Check:
    name, path = expected.name, root / expected.name
    try:
        content = read_json(path, "not downloaded")
        rows = list(expected.rows(content, path))
        if expected.keys and (problem := _lacking(rows, expected.keys)):
            return Check(name, BROKEN, problem, "download it again")
        count = expected.count(content) if expected.count else len(rows)
    except FileNotFoundError:
        return Check(name, MISSING, "not there", _annotations(root, "").command)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Check(name, BROKEN, str(error), "download it again")
    return Check(name, OK, f"{count:,} entries")


def _lacking(rows: Collection[dict[str, Any]], keys: tuple[str, ...]) -> str | None:
    """What entries lack, or None."""
    lacking = Counter(key for row in rows for key in keys if key not in row)
    if not rows:
        return "no entries"
    return ", ".join(f"{count} of {len(rows)} entries lack {key!r}" for key, count in lacking.items()) or None


def _check_references(root: Path, source: Source, result: Validation) -> None:
    participants, captures = set(read_participants(root)), read_captures(root)
    unknown = sorted({take.participant for take in source.takes.values()} - participants)
    result.checks.append(_reference("participants of takes", unknown, len(source.takes)))
    names = {take.take_name.rsplit("_", 1)[0] for take in source.takes.values()}
    known = {str(capture.get("capture_name")) for capture in captures.values()}
    unknown = sorted(names - known) if captures else ["captures.json"]
    result.checks.append(_reference("captures of takes", unknown, len(names)))
    files = {path.stem for path in (root / "annotations/ego_pose").glob("*/body/*/*.json")}
    result.checks.append(_reference("pose files of known takes", sorted(files - source.takes.keys()), len(files)))
    sessions = len(list((root / "annotations/expert_commentary").glob("*/*/data.json")))
    command = fetch_command(root, ("expert_commentary",))
    ratings = (OK, f"{sessions} with ratings") if sessions else (WARNING, "none: no ratings", command)
    result.checks.append(Check("commentators' folders", *ratings))


def _reference(what: str, unknown: list[str], total: int) -> Check:
    if not unknown:
        return Check(what, OK, f"{total} known")
    return Check(what, WARNING, f"{len(unknown)} of {total} unknown, such as {unknown[0]}")


def _check_poses(source: Source, all_poses: bool, result: Validation) -> None:
    files = sorted(source.pose_files.items(), key=lambda item: item[1])
    sample = files if all_poses else files[:: max(1, len(files) // _POSE_SAMPLE)]
    problems, notes, frames, trunks, early, turned = [], Counter(), 0, [], [], []
    for uid, path in sample:
        try:
            poses = load_pose_file(path, notes)
        except ValueError as error:
            problems.append(str(error))
            continue
        frames += len(poses)
        trunks.append(trunk(poses))
        if axis := other_axis(trunks[-1]):
            turned.append(f"{uid}: shoulders are along {axis} from the hips")
        if detail := ends_early(len(poses), source.takes[uid].duration):
            early.append(f"{uid}: {detail}")
    counts = f"{len(sample) - len(problems)} of {len(sample)} read, {frames:,} frames" + "".join(
        f"; {count:,} {what}" for what, count in notes.most_common() if count
    )
    if problems:
        status = BROKEN if len(problems) > 0.5 * len(sample) else WARNING
        fix = "those takes are dropped; mend the files, or download them again"
        result.checks.append(Check("pose files", status, f"{counts}; unreadable: {problems[0]}", fix))
    else:
        result.checks.append(Check("pose files", OK if files else WARNING, counts if files else "none"))
    if early:
        detail = f"{len(early)} of {len(sample)} {ENDS_EARLY}: {early[0]}"
        result.checks.append(Check("poses and videos", WARNING, detail, f"bring the poses to {FPS} fps if so"))
    try:
        check_upright(trunks, str(source.root))
    except ValueError as error:
        result.checks.append(Check("axes of poses", BROKEN, str(error), "turn the poses so that z points up"))
        return
    if turned:
        detail = f"{len(turned)} of {len(sample)} {TURNED}: {turned[0]}"
        fix = "turn those poses so that z points up, if nobody lies there"
        result.checks.append(Check("axes of poses", WARNING, detail, fix))


def _tests(source: Source) -> dict[str, Callable[[Take], bool]]:
    """What a take has to have, in the order in which the stages of a build ask for it."""
    with_remarks = {remark.take_uid for remark in source.remarks}
    return {
        "skill": lambda take: take.skill is not None,
        "remarks": lambda take: take.take_uid in with_remarks,
        "poses": lambda take: take.take_uid in source.pose_files,
        "videos": lambda take: all((source.root / path).is_file() for path in (take.ego_video, take.exo_video)),
    }


def _cover(source: Source) -> Iterator[dict[str, Any]]:
    """One row per activity, and ``all``: how many takes reach every stage."""
    tests = _tests(source)
    by_activity: dict[str, list[Take]] = {}
    for take in source.takes.values():
        by_activity.setdefault(take.activity, []).append(take)
    for activity, takes in [*sorted(by_activity.items()), ("all", list(source.takes.values()))]:
        row: dict[str, Any] = {"activity": activity, "takes": len(takes)}
        for name, test in tests.items():
            takes = [take for take in takes if test(take)]
            row[name] = len(takes)
        row["learners"] = sum(take.skill in LEARNER_SKILLS for take in takes)
        row["experts"] = sum(take.skill in EXPERT_SKILLS for take in takes)
        yield row


def _readiness(source: Source, is_own: bool) -> Check:
    """Whether tuples can come of it: in both splits, a learner and an expert of one task, with remarks and poses."""
    tests = _tests(source)
    stages = (
        ("no take has a skill level", "give takes a skill", tests["skill"]),
        ("no take with a skill level has a task", "name the tasks", lambda take: take.task is not None),
        ("no take with a skill level has a remark", "add remarks about these takes", tests["remarks"]),
        ("no take with a skill level and a remark has poses", _NO_POSES[is_own], tests["poses"]),
    )
    left = dict(source.takes)
    for problem, fix, test in stages:
        left = {uid: take for uid, take in left.items() if test(take)}
        if not left:
            return Check(_READY, MISSING, problem, fix)
    splits = split_by_participant(left, Funnel("", 1.0))
    for split in SPLITS:
        takes = [left[uid] for uid in splits if splits[uid] == split]
        tasks = [{t.task for t in takes if t.skill in skills} for skills in (LEARNER_SKILLS, EXPERT_SKILLS)]
        if not tasks[0] & tasks[1]:
            problem = f"the {split} split has no task with both a learner and an expert"
            among = f"among {len(takes)} takes with skill, remarks and poses"
            fix = "add takes of such people; nobody is on both sides"
            return Check(_READY, MISSING, f"{problem}, {among}", fix)
    return Check(_READY, OK, f"{len(splits)} takes with skill, remarks and poses")


def _annotations(root: Path, why: str) -> Fetch:
    command = fetch_command(root, ("metadata", "annotations"), BENCHMARKS)
    return Fetch(f"{why}. {LICENCE}".lstrip(". "), command, PART_GB["metadata"] + PART_GB["annotations"])


def _plan_fetching(
    root: Path, source: Source, only: Collection[str] | None, uids_file: Path, result: Validation
) -> None:
    tests = _tests(source)
    candidates = [take for take in source.takes.values() if tests["skill"](take) and tests["remarks"](take)]
    with_poses = [take for take in candidates if tests["poses"](take)]
    lacking = len(candidates) - len(with_poses)
    if lacking and not any((root / "annotations/ego_pose").glob("*/body/automatic/*.json")):
        command = fetch_command(root, ("ego_pose_pseudo_gt",))
        why = f"{lacking} takes with skill and remarks lack poses"
        result.fetch.append(Fetch(why, command, PART_GB["ego_pose_pseudo_gt"]))
    wanted = [take for take in with_poses if only is None or take.take_uid in only]
    result.uids = [take.take_uid for take in wanted if not tests["videos"](take)]
    if result.uids:
        size = PART_GB["downscaled_takes/448"] * len(result.uids) / _RELEASE_TAKES
        need = f"needed for features, not for tuples; --uids {uids_file} writes their list"
        why = f"{len(result.uids)} takes can take part but lack videos ({need})"
        command = fetch_command(root, ("downscaled_takes/448",), uids=[f"$(cat {uids_file})"])
        result.fetch.append(Fetch(why, command, round(size, 1)))
