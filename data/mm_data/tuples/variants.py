"""The same tuples with other demonstrations, for ExpertAF's ablations. Test tuples stay as they are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mm_data.ground.files import check_apart
from mm_data.items.manifest import ItemManifest
from mm_data.records import FPS, POSES, CoachingTuple
from mm_data.tuples.store import MINED_TEST, claim_tuple_folder, finish_folder, read_gallery, read_tuples

EXPERTS = ("activity", "unaligned")


def write_variant(source: Path, out: Path, experts: str) -> int:
    """Writes a tuple folder whose training tuples have other demonstrations.

    Args:
        source: A built tuple folder; its poses are linked, not copied.
        out: The new folder.
        experts: One of `EXPERTS`; `vary_experts` says what they are.

    Returns:
        Number of training tuples whose demonstration changed.

    Raises:
        ValueError: The folders are not apart, or the new one holds what we did not write.
    """
    check_apart(out, source)
    manifest, train = ItemManifest.read(source), read_tuples(source, "train")
    request = {**manifest.request, "experts": experts}
    claim_tuple_folder(out, {"variant_of": str(source.resolve()), "experts": experts})
    if not (out / POSES).exists():
        (out / POSES).symlink_to((source / POSES).resolve())
    varied = vary_experts(train, experts)
    finish_folder(
        out,
        request,
        {"train": varied, "test": read_tuples(source, "test")},
        read_gallery(source),
        [],
        manifest.synthetic,
        read_tuples(source, MINED_TEST),
        manifest.review,
    )
    return sum(old.expert != new.expert for old, new in zip(train, varied, strict=True))


def vary_experts(tuples: Sequence[CoachingTuple], experts: str) -> list[CoachingTuple]:
    """Exchanges the demonstrations.

    Args:
        tuples: Training tuples.
        experts: ``unaligned`` takes the expert's clip right before the praise instead of the best match ("w/o alignment"
            of ExpertAF's Table 1). ``activity`` gives all tuples of an activity one demonstration, of the take that most
            of them were paired with ("w/ global pose").

    Returns:
        The tuples in the same order.

    Raises:
        ValueError: Unknown choice.
    """
    if experts == "unaligned":
        return [_before_the_praise(t) for t in tuples]
    if experts != "activity":
        raise ValueError(f"Unknown experts {experts!r}; choose from {', '.join(EXPERTS)}.")
    by_activity: dict[str, list[CoachingTuple]] = {}
    for t in tuples:
        by_activity.setdefault(t.activity, []).append(t)
    chosen = {}
    for activity, members in by_activity.items():
        # Windows of one take differ by a few frames from tuple to tuple, so takes are counted.
        take = Counter(t.expert.take_uid for t in members).most_common(1)[0][0]
        chosen[activity] = next(t.expert for t in members if t.expert.take_uid == take)
    return [replace(t, expert=chosen[t.activity], alignment_mm=None) for t in tuples]


def _before_the_praise(t: CoachingTuple) -> CoachingTuple:
    length = t.expert.stop - t.expert.start
    start = max(0, round(t.provenance.expert_comment_time * FPS) - length)
    return replace(t, expert=replace(t.expert, start=start, stop=start + length), alignment_mm=None)
