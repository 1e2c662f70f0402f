"""Who moves in a file, and which people are kept for testing."""

import re
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from mm_data.ground.digests import uniform
from mm_data.ground.hand_tables import read_table
from mm_data.poses.manifest import PoseManifest
from mm_data.records import SPLITS

_WORD = re.compile(
    r"(?<![a-z0-9])(subject|subj|sub|person|performer|participant|actor)[-_ ]?(\d+)(?!\d)", re.IGNORECASE
)
_NTU = re.compile(r"S\d{3}C\d{3}P(\d{3})R\d{3}A\d{3}")
_LETTER = (
    re.compile(r"(?<![a-z0-9])p[-_ ]?(\d+)(?![a-z0-9])", re.IGNORECASE),
    re.compile(r"(?<![a-z0-9])s[-_ ]?(\d+)(?![a-z0-9])", re.IGNORECASE),
)
_CMU = re.compile(r"(\d{2,3})_\d{2,3}(?!\d)")
BY_FILE = "file"
"""How a person is known who is not: every file is taken for somebody else's."""


def person_of(
    path: str, key: str, form: str, pattern: str | None, table: Mapping[str, str] | None, where: str
) -> tuple[str, str]:
    """Finds the performer of a sequence, and how they are known.

    In this order: the user's table or pattern; a word and a number in a folder's, the file's or the array's name (``subject5``,
    ``person-3``, ``actor_02``, NTU's ``P001``); the first folder; ``p03``, ``s01`` or CMU's ``07_01`` in the file's name, else in
    the array's; the file itself.

    Args:
        path: Path below the source without its ending, with slashes.
        key: Array in the file, or nothing.
        form: Format; HumanML3D's mirrored ``M000123`` is the person of ``000123``.
        pattern: The user's regular expression.
        table: The user's table.
        where: File, for the error.

    Returns:
        Name of the performer, and how they are known.

    Raises:
        ValueError: The user's pattern or table does not say who it is.
    """
    parent, _, stem = path.rpartition("/")
    if table is not None:
        person = table.get(path, table.get(stem))
        if person is None:
            raise ValueError(f"{where}: the table of people lists neither {path} nor {stem}; add its line.")
        return person, "table"
    whole = f"{path}/{key}" if key else path
    if pattern is not None:
        match = re.search(pattern, whole)
        if match is None:
            raise ValueError(
                f"{where}: {whole} does not match the pattern of people {pattern!r}; mend it, or give a table."
            )
        return (match.group(1) if match.re.groups else match.group()) or match.group(), "pattern"
    if match := _WORD.search(whole):
        return f"{match[1].lower()} {int(match[2])}", "name"
    if match := _NTU.search(whole):
        return f"person {int(match[1])}", "name"
    if parent:
        return parent.split("/")[0], "first folder"
    for name in (stem, key):
        for letter in _LETTER:
            if match := letter.search(name):
                return f"person {int(match[1])}", "name"
        if match := _CMU.match(name):
            return match[1], "name"
    return stem.removeprefix("M") if form == "humanml3d" else stem, BY_FILE


def choose_test_people(people: Set[str], share: float) -> set[str]:
    """Chooses the people who are kept for testing: the share that comes nearest, but one at least and never all.

    Who that is depends on the names alone. With one person, or share 0, it is nobody.
    """
    if len(people) < 2 or share == 0:
        return set()
    count = min(max(round(share * len(people)), 1), len(people) - 1)
    return set(sorted(people, key=lambda name: (uniform(name), name))[:count])


def people_on_sides(people: Mapping[str, tuple[str, str]], splits: Mapping[str, str], split_by: str) -> dict[str, Any]:
    """Counts who is on which side of a split, for the manifest.

    Args:
        people: Sequence to its person and how they are known, as `person_of` says it.
        splits: Sequence to its split.
        split_by: What was split: ``person`` or ``sequence``.

    Returns:
        ``people`` of a `PoseManifest`.
    """
    sides = {side: {person for name, (person, _) in people.items() if splits[name] == side} for side in SPLITS}
    return {
        "split_by": split_by,
        "known_by": dict(Counter(how for _, how in set(people.values()))),
        **{side: len(persons) for side, persons in sides.items()},
        "on_both_sides": sorted(sides["train"] & sides["test"]),
    }


def read_people(path: Path) -> dict[str, str]:
    """Reads a table of the people in files, with the columns ``file`` and ``person``; a file's ending may be left out.

    Args:
        path: The table.

    Returns:
        File to person.

    Raises:
        FileNotFoundError: No such table.
        ValueError: A line lacks a column, or two lines name another person for a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; --people takes a table with the columns file and person.")
    people: dict[str, str] = {}
    for where, row in read_table(path, ("file", "person")):
        if not row.get("file") or row.get("person") in (None, ""):
            raise ValueError(f"{where}: file or person missing; a table of people has the columns file and person.")
        name = str(Path(str(row["file"])).with_suffix(""))
        person = str(row["person"])
        if people.setdefault(name, person) != person:
            raise ValueError(f"{where}: {row['file']} is {people[name]}'s in an earlier line and {person}'s here.")
    return people


def describe_people(manifest: PoseManifest) -> list[str]:
    """Returns what there is to say about the people of an imported pose folder and how they were split."""
    people = manifest.people
    if not people:
        return []
    both = people["on_both_sides"]
    total = people["train"] + people["test"] - len(both)
    known = ", ".join(f"{count} by {how}" for how, count in people["known_by"].items())
    test, frames = manifest.frames("test"), manifest.frames("train") + manifest.frames("test")
    lines = [
        f"{total} people ({known}): {people['train']} train, {people['test']} test, "
        f"with {test / max(frames, 1):.0%} of the frames"
    ]
    if count := people["known_by"].get(BY_FILE):
        lines.append(
            f"{count} files do not say whose they are, and each counts as a person of its own: "
            "if one person moves in several, both sides may show them. Say who moves with --person or --people."
        )
    if total == 1 and people["split_by"] == "person":
        lines.append(
            "All motion is one person's, so nothing is kept for testing; --split-by sequence splits it all the same."
        )
    if both:
        names = ", ".join(both[:5])
        lines.append(f"{len(both)} people are on both sides ({names}), so the test split is not of new people.")
    return lines
