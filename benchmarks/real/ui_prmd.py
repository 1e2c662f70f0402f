"""UI-PRMD (people who exercise rightly and, acting, wrongly): does a coach tell right from wrong in somebody it has never seen?

    cd benchmarks; python -m real.ui_prmd WORK [--data FOLDER] [--people 8] [--steps 600] [--save]

Every person is left out once. A random Llama of 5 M parameters (`train task --config small`) learns exercise and verdict from the others'
joints; beside it stand a ridge and a logistic regression over the joints of all frames, one per exercise, whose strength is chosen by
leaving out people of the training side, and the nearest neighbour in pose. Everything lies in WORK and is resumed. About ten minutes
per person on one core.

Not shown: faults of patients (these are acted by healthy people), and motion found in videos (these are markers).
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from real.coach import FRAMES, ask_coach
from real.ui_prmd_motion import EXERCISES, read_repetitions
from real.where import find_data, mm_coach
from record import finish, parse
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mm_adapter.features.skeleton import clip_metres
from mm_data.items.store import read_items
from mm_data.poses.archive import PoseArchive
from mm_eval.answers.test_sets import OURS, read_answers
from mm_eval.metrics.classification import accuracy
from mm_eval.statistics.comparison import compare

RIDGE, LOGISTIC, NEAREST = "ridge", "logistic regression", "pose nearest neighbour"
STRENGTHS = tuple(10.0**power for power in range(1, 7))


def write_people(data: Path, work: Path) -> Path:
    """Imports all repetitions as poses; what a table says of them stands in `write_table`."""
    motion, people = work / "motion", work / "people"
    if not (people / "poses.json").is_file():
        motion.mkdir(parents=True, exist_ok=True)
        for repetition in read_repetitions(data):
            np.save(motion / f"{repetition.name}.npy", repetition.poses)
        flags = ("--format", "coco17", "--unit", "mm", "--person", r"s\d\d")
        mm_coach("poses", "import", motion, people, *flags)
    return people


def write_table(people: Path, left_out: str) -> Path:
    """Writes the table in which one person is the test set."""
    table = people / f"without_{left_out}.csv"
    names = sorted(path.stem for path in (people / "poses").glob("*.npy"))
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("clip", "person", "category", "split", "label", "verdict"))
        for name in names:
            movement, person, verdict, _ = name.split("_")
            exercise = EXERCISES[int(movement[1:]) - 1]
            rows.writerow((name, person, exercise, "test" if person == left_out else "train", exercise, verdict))
    return table


def baselines(fold: Path) -> dict[str, dict[str, str]]:
    """Verdicts of the rows beside the coach: system to item to verdict."""
    archive = PoseArchive(fold / "items")
    sides = {split: read_items(fold / "items", split) for split in ("train", "test")}
    joints = {
        item.item_id: np.nan_to_num(clip_metres(archive[item.item_id], FRAMES)[0]).ravel()
        for side in sides.values()
        for item in side
    }
    verdicts: dict[str, dict[str, str]] = {RIDGE: {}, LOGISTIC: {}, NEAREST: {}}
    for exercise in EXERCISES:
        train, test = ([item for item in sides[side] if item.category == exercise] for side in ("train", "test"))
        if not test:
            continue
        known = np.stack([joints[item.item_id] for item in train])
        truth = [item.truth.verdict for item in train]
        people = [item.cluster for item in train]
        asked = np.stack([joints[item.item_id] for item in test])
        for system, classifier in _classifiers(people):
            predicted = classifier.fit(known, truth, **({} if system == NEAREST else {"groups": people})).predict(asked)
            verdicts[system] |= {item.item_id: str(name) for item, name in zip(test, predicted, strict=True)}
    return verdicts


def _classifiers(people: Sequence[str]) -> list[tuple[str, GridSearchCV | Pipeline]]:
    """The classifiers, tuned by leaving out people of the training side."""
    folds = GroupKFold(len(set(people)))
    ridge = make_pipeline(StandardScaler(), RidgeClassifier())
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    inverse = [1 / strength for strength in STRENGTHS]
    return [
        (RIDGE, GridSearchCV(ridge, {"ridgeclassifier__alpha": STRENGTHS}, cv=folds)),
        (LOGISTIC, GridSearchCV(logistic, {"logisticregression__C": inverse}, cv=folds)),
        (NEAREST, make_pipeline(StandardScaler(), KNeighborsClassifier(1))),
    ]


def main() -> None:
    """Measures and prints."""
    args = parse(__doc__, "work", data="", people=8, steps=600)
    people = write_people(find_data(args.data, "ui_prmd"), args.work)
    everybody = sorted({path.stem.split("_")[1] for path in (people / "poses").glob("*.npy")})[: args.people]
    truth, clusters, seconds = [], [], []
    said: dict[str, list[str | None]] = {}
    for person in everybody:
        fold, table = args.work / person, write_table(people, person)
        seconds.append(ask_coach(table, people, fold, args.work / "language_model", args.steps))
        others = baselines(fold)
        for item in read_answers(fold / "answers"):
            truth.append(item.truth.verdict)
            clusters.append(person)
            answers = {"coach": item.answers[OURS].verdict} | {name: row[item.item_id] for name, row in others.items()}
            for system, verdict in answers.items():
                said.setdefault(system, []).append(verdict)
        right = np.array(said["coach"][-len(others[RIDGE]) :]) == np.array(truth[-len(others[RIDGE]) :])
        print(f"{person}: coach {right.mean():.2f}", flush=True)
    metrics = {system: accuracy(verdicts, truth, clusters) for system, verdicts in said.items()}
    result = {
        "people": len(everybody),
        "repetitions": len(truth),
        "steps": args.steps,
        "minutes_of_training": [round(lasted / 60, 1) for lasted in seconds],
        "verdict_accuracy": {"chance": 0.5}
        | {name: {"value": round(m.value, 3), "interval": _rounded(m.interval)} for name, m in metrics.items()},
        "by_person": {
            name: {p: round(float(np.mean(np.array(m.statistics)[np.array(clusters) == p])), 2) for p in everybody}
            for name, m in metrics.items()
        },
        "coach_minus": {},
    }
    for name, metric in metrics.items():
        if name != "coach":
            paired = compare(metrics["coach"], metric, clusters)
            result["coach_minus"][name] = {
                "difference": round(paired.difference, 3),
                "interval": _rounded(paired.interval),
                "p": round(paired.p_value, 4),
            }
    finish("real_ui_prmd", result, args.save)


def _rounded(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [round(bound, 3) for bound in interval]


if __name__ == "__main__":
    main()
