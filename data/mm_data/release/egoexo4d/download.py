"""What to fetch of Ego-Exo4D: the downloader's parts with their sizes, and its command lines."""

from collections.abc import Sequence
from pathlib import Path

PART_GB: dict[str, float] = {
    "metadata": 0.046,
    "annotations": 10.53,
    "ego_pose_pseudo_gt": 138.6,
    "expert_commentary": 42.3,
    "downscaled_takes/448": 438.6,
}
"""Parts that this project reads, in gigabytes for the whole release (v2)."""

BENCHMARKS = ("expert_commentary", "proficiency_demonstrator", "egopose")
"""Narrow ``annotations`` to what tuples need; proficiency_demonstration and atomic_descriptions come with the whole part."""

LICENCE = "Ego-Exo4D needs a signed licence (about two days): https://ego4d.dev/request/ego-exo4d"


def fetch_command(root: Path, parts: Sequence[str], benchmarks: Sequence[str] = (), uids: Sequence[str] = ()) -> str:
    """Returns a command line of the official downloader (``pip install ego4d``)."""
    words = ["egoexo", "-o", str(root), "--parts", *parts]
    if benchmarks:
        words += ["--benchmarks", *benchmarks]
    if uids:
        words += ["--uids", *uids]
    return " ".join(words)


def metadata_hint(root: Path, what: str) -> str:
    """Says how to get a missing metadata or annotation file."""
    return (
        f"{what}. Fetch it with `{fetch_command(root, ('metadata', 'annotations'), BENCHMARKS)}`, "
        "or make a stand-in with `mm-coach miniature`."
    )
