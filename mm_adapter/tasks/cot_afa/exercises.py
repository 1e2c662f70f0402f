"""Eight exercises of the synthetic CoT-AFA: key postures, five steps, and two faults each."""

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from mm_data.miniature.body import Change, Posture

STANDING = Posture(right_hand_z=-0.95, left_hand_z=-0.95)


@dataclass(frozen=True)
class FormFault:
    """A fault of form.

    Attributes:
        step: The technical step that it breaks.
        changes: What severity 1 adds to the middle posture.
        outcome: What is observed, in three wordings.
        solution: How to mend it, in three wordings.
    """

    step: int
    changes: Change
    outcome: list[str]
    solution: list[str]


@dataclass(frozen=True)
class Exercise:
    """An exercise.

    Attributes:
        name: Class of the data set.
        middle: Posture half-way through a repetition, from and to standing.
        steps: Five technical steps and the general instruction.
        well: What is observed where each step is done as it should be.
        faults: The two faults that clips may show.
    """

    name: str
    middle: Posture
    steps: list[str]
    well: list[str]
    faults: list[FormFault]


def _read_exercises() -> tuple[Exercise, ...]:
    """Reads ``exercises.yaml``, whose first lines say what its entries mean."""
    content = yaml.safe_load(Path(__file__).with_name("exercises.yaml").read_text(encoding="utf-8"))
    exercises = []
    for name, entry in content.items():
        faults = [FormFault(**fault) for fault in entry["faults"]]
        middle = replace(STANDING, **entry["middle"])
        exercises.append(Exercise(name, middle, entry["steps"], entry["well"], faults))
    return tuple(exercises)


EXERCISES = _read_exercises()
