"""Eight exercises of the synthetic CoT-AFA: key postures, five steps, and two faults each."""

from dataclasses import dataclass

from mm_data.miniature.activities import Change
from mm_data.miniature.body import Posture

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
    outcome: tuple[str, str, str]
    solution: tuple[str, str, str]


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
    steps: tuple[str, str, str, str, str, str]
    well: tuple[str, str, str, str, str]
    faults: tuple[FormFault, FormFault]


def _both(**changes: float) -> Change:
    """A change of both sides; ``x`` values are mirrored."""
    sides = {}
    for name, value in changes.items():
        sides[f"right_{name}"], sides[f"left_{name}"] = value, -value if name.endswith("_x") else value
    return sides


_SQUAT = STANDING.but(
    pelvis_z=0.58,
    pelvis_y=-0.12,
    lean=0.5,
    right_foot_x=0.26,
    left_foot_x=-0.26,
    right_hand_y=0.8,
    left_hand_y=0.8,
    right_hand_z=-0.2,
    left_hand_z=-0.2,
    right_knee_swivel=0.35,
    left_knee_swivel=0.35,
)
_LUNGE = STANDING.but(pelvis_z=0.66, pelvis_y=0.1, right_foot_y=0.52, left_foot_y=-0.5, lean=0.08)
_PRESS = STANDING.but(
    right_hand_x=0.12, left_hand_x=-0.12, right_hand_y=0.05, left_hand_y=0.05, right_hand_z=0.92, left_hand_z=0.92
)
_CURL = STANDING.but(right_hand_y=0.42, left_hand_y=0.42, right_hand_z=-0.05, left_hand_z=-0.05)
_RAISE = STANDING.but(
    right_hand_x=0.95, left_hand_x=-0.95, right_hand_y=0.05, left_hand_y=0.05, right_hand_z=0.02, left_hand_z=0.02
)
_JACK = STANDING.but(
    pelvis_z=0.95,
    right_foot_x=0.45,
    left_foot_x=-0.45,
    right_hand_x=0.35,
    left_hand_x=-0.35,
    right_hand_z=0.88,
    left_hand_z=0.88,
)
_HINGE = STANDING.but(
    pelvis_z=0.93, pelvis_y=-0.18, lean=1.25, right_hand_y=0.35, left_hand_y=0.35, right_hand_z=-0.85, left_hand_z=-0.85
)
_KNEE = STANDING.but(right_foot_y=0.22, right_foot_z=0.52, right_hand_y=-0.2, left_hand_y=0.35, left_hand_z=-0.6)

EXERCISES = (
    Exercise(
        "squat", _SQUAT,
        ("Stand with the feet at shoulder width", "Reach the arms forward", "Push the hips back and bend the knees", "Lower until the thighs are level", "Rise with a straight back", "Keep the weight on the whole foot"),
        ("the feet are at shoulder width", "the arms reach forward", "the hips go back", "the thighs reach level", "the back stays straight"),
        (
            FormFault(4, {"pelvis_z": 0.22, "pelvis_y": 0.06}, ("the thighs stay far above level", "the hips stop much too high", "the squat is only a quarter deep"), ("sit down until the thighs are level", "lower the hips further", "go deeper before rising")),
            FormFault(5, {"lean": 0.65}, ("the trunk folds over the thighs", "the chest drops far forward", "the back tips over"), ("keep the chest up", "raise the chest and hold the back straight", "look ahead and lift the chest")),
        ),
    ),
    Exercise(
        "lunge", _LUNGE,
        ("Stand tall", "Take a long step forward", "Lower until both knees are bent", "Keep the trunk upright", "Push back to standing", "Move under control"),
        ("the start is tall", "the step is long", "both knees bend", "the trunk is upright", "the push back is firm"),
        (
            FormFault(2, {"right_foot_y": -0.32, "left_foot_y": 0.25}, ("the step is too short", "the feet are close together", "the front foot hardly moves forward"), ("take a longer step", "set the front foot further forward", "step out further")),
            FormFault(4, {"lean": 0.6}, ("the trunk falls forward", "the upper body leans over the front leg", "the shoulders drop ahead of the hips"), ("keep the trunk upright", "hold the shoulders over the hips", "stay tall while lowering")),
        ),
    ),
    Exercise(
        "overhead press", _PRESS,
        ("Stand with the feet under the hips", "Hold the hands at the shoulders", "Press straight up", "Straighten the elbows overhead", "Lower under control", "Keep the trunk still"),
        ("the stance is stable", "the hands start at the shoulders", "the path is straight", "the elbows are straight overhead", "the way down is controlled"),
        (
            FormFault(4, _both(hand_z=-0.45), ("the elbows stay bent at the top", "the arms stop half-way up", "the press is not finished overhead"), ("straighten the elbows at the top", "press all the way up", "finish with straight arms")),
            FormFault(3, {"lean": -0.5, "right_hand_y": 0.35, "left_hand_y": 0.35}, ("the back arches and the hands drift forward", "the trunk leans back under the load", "the press goes forward of the head"), ("brace the trunk and press in line with the ears", "keep the ribs down", "stand straight and press up")),
        ),
    ),
    Exercise(
        "biceps curl", _CURL,
        ("Stand tall with the arms down", "Keep the elbows at the sides", "Bend the elbows", "Raise the hands to the chest", "Lower slowly", "Do not swing"),
        ("the arms hang down", "the elbows stay at the sides", "the elbows bend", "the hands reach the chest", "the way down is slow"),
        (
            FormFault(4, _both(hand_z=-0.5, hand_y=0.1), ("the hands stop at the waist", "the curl ends half-way", "the hands never come near the chest"), ("raise the hands to the chest", "curl all the way up", "finish at chest height")),
            FormFault(2, _both(hand_x=0.45, elbow_swivel=0.9), ("the elbows swing out to the sides", "the elbows leave the body", "the upper arms open outwards"), ("keep the elbows at the sides", "pin the upper arms to the trunk", "hold the elbows in")),
        ),
    ),
    Exercise(
        "lateral raise", _RAISE,
        ("Stand with the arms at the sides", "Keep the trunk still", "Raise both arms sideways", "Stop at shoulder height", "Lower slowly", "Lead with the elbows"),
        ("the arms start at the sides", "the trunk is still", "both arms rise sideways", "the hands stop at shoulder height", "the way down is slow"),
        (
            FormFault(4, _both(hand_z=0.6, hand_x=-0.3), ("the hands rise far above the shoulders", "the arms go too high", "the hands end near the head"), ("stop at shoulder height", "raise the arms only to level", "keep the hands no higher than the shoulders")),
            FormFault(2, {"tilt": 0.5, "right_hand_z": -0.3}, ("the trunk tips to one side", "the body sways sideways", "the shoulders are not level"), ("keep the trunk still", "stand evenly on both feet", "hold the shoulders level")),
        ),
    ),
    Exercise(
        "jumping jack", _JACK,
        ("Stand with the feet together", "Jump the feet apart", "Swing the arms overhead", "Land softly", "Return to the start", "Keep a steady rhythm"),
        ("the feet start together", "the feet jump apart", "the arms swing overhead", "the landing is soft", "the return is complete"),
        (
            FormFault(3, _both(hand_z=-0.95, hand_x=0.3), ("the arms stop at shoulder height", "the hands never meet overhead", "the arm swing is only half"), ("swing the arms all the way overhead", "bring the hands above the head", "raise the arms fully")),
            FormFault(2, _both(foot_x=-0.32), ("the feet hardly leave each other", "the legs stay close together", "the jump is too narrow"), ("jump the feet wider than the shoulders", "open the legs further", "land with a wide stance")),
        ),
    ),
    Exercise(
        "good morning", _HINGE,
        ("Stand with the feet at hip width", "Unlock the knees", "Push the hips back", "Lower the trunk until level", "Rise by driving the hips forward", "Keep the back flat"),
        ("the feet are at hip width", "the knees are soft", "the hips go back", "the trunk gets level", "the hips drive forward"),
        (
            FormFault(4, {"lean": -0.65}, ("the trunk stays high above level", "the bend is too shallow", "the trunk is lowered only a little"), ("lower the trunk until it is level", "hinge further at the hips", "bend down further")),
            FormFault(2, {"pelvis_z": -0.28}, ("the knees bend like in a squat", "the hips sink down", "the legs fold under the body"), ("keep the knees only slightly bent", "move the hips back and not down", "hold the legs nearly straight")),
        ),
    ),
    Exercise(
        "high knee", _KNEE,
        ("Stand tall", "Shift the weight to one leg", "Drive the knee up", "Bring the thigh to level", "Lower the foot under control", "Swing the opposite arm"),
        ("the start is tall", "the weight is on one leg", "the knee drives up", "the thigh is level", "the foot is lowered softly"),
        (
            FormFault(4, {"right_foot_z": -0.36, "right_foot_y": -0.1}, ("the knee stays low", "the thigh never gets near level", "the foot is lifted only a little"), ("bring the thigh to level", "drive the knee higher", "lift the knee to hip height")),
            FormFault(1, {"lean": -0.55}, ("the trunk leans back", "the shoulders fall behind the hips", "the body tips backwards"), ("stay tall", "keep the shoulders over the hips", "hold the trunk upright")),
        ),
    ),
)  # fmt: skip
