"""How well the rules label remarks that people made, against labels by hand.

    python benchmarks/labelling.py [DATA_FOLDER]

DATA_FOLDER, or the environment's MM_COACH_REAL_DATA, holds the public files under ``fixmypose/`` (valid_NC.json and
valid_seen_NC.json of hyounghk/FixMyPose), ``boxing/remarks.json`` (remarks of MotionXperts/MotionExpert; the human ones) and
``mtl_aqa/final_captions_dict.pkl`` (ParitoshParmar/MTL-AQA). Without it the benchmark is skipped. The labels by hand are in
results/labelling_hand_labels.csv: identifiers and labels, no texts.

A remark's reading is ``improve`` where some region needs improvement, ``correct`` where some region is praised, ``both``,
or ``neither``. For each data set: the shares of readings over all its texts, then precision and recall over the items with a
label by hand, where ``both`` counts on either side, with Wilson's 95 % intervals. Items of one person are not independent, so
that the intervals are somewhat too narrow; for boxing, whose performers are known, recall is given per performer, too.
"""

import argparse
import csv
import os
from collections import Counter
from math import sqrt
from pathlib import Path

from record import RESULTS

from mm_data.ground.safe_load import load_plain_pickle, read_json
from mm_data.labelling import RulesLabeller
from mm_data.records import CORRECT, IMPROVE, LabelledRemark, Remark

HAND_LABELS = RESULTS / "labelling_hand_labels.csv"
READINGS = ("improve", "correct", "both", "neither")
SIDES = {"needs improvement": ("improve", "both"), "correct": ("correct", "both")}
PEOPLE = "a folder of public data sets; see the top of this file"


def fixmypose(folder: Path) -> dict[str, str]:
    """Corrections of a pose, three per pair of pictures."""
    texts = {}
    for name in ("valid_NC", "valid_seen_NC"):
        for index, item in enumerate(read_json(folder / f"{name}.json", PEOPLE)):
            texts |= {f"fixmypose/{name}/{index}/{number}": text for number, text in enumerate(item["sents"][:3])}
    return texts


def boxing(folder: Path) -> dict[str, str]:
    """Human remarks on jabs and crosses, three per clip."""
    clips = read_json(folder / "remarks.json", PEOPLE)
    return {f"boxing/{i}/{n}": text for i, clip in enumerate(clips) for n, text in enumerate(clip["labels"])}


def boxing_performers(folder: Path) -> dict[str, str]:
    """Remark to performer."""
    clips = read_json(folder / "remarks.json", PEOPLE)
    return {
        f"boxing/{i}/{n}": c["video_name"].split("_")[0] for i, c in enumerate(clips) for n in range(len(c["labels"]))
    }


def mtl_aqa(folder: Path) -> dict[str, str]:
    """Captions of dives: broadcast speech as a machine transcribed it, without punctuation."""
    captions = load_plain_pickle(folder / "final_captions_dict.pkl")
    return {
        f"mtl_aqa/{int(competition)}/{int(dive)}": " ".join(word for word in words if word not in ("<sos>", "<eos>"))
        for (competition, dive), words in captions.items()
    }


def read_all(texts: dict[str, str]) -> dict[str, str]:
    """Item to how the rules read it."""
    items = list(texts)
    results = RulesLabeller().label([Remark(item, "take", "person", 0.0, texts[item]) for item in items])
    return {item: _reading(result) for item, result in zip(items, results, strict=True)}


def _reading(result: LabelledRemark | str) -> str:
    sides = set() if isinstance(result, str) else set(result.regions.values())
    return {(True, True): "both", (True, False): "improve", (False, True): "correct"}.get(
        (IMPROVE in sides, CORRECT in sides), "neither"
    )


def hand_labels() -> dict[str, str]:
    """Item to label by hand."""
    with HAND_LABELS.open(newline="") as file:
        return {row["item"]: row["label"] for row in csv.DictReader(line for line in file if not line.startswith("#"))}


def wilson(hits: int, total: int) -> str:
    """A share with Wilson's 95 % interval, for people."""
    if not total:
        return "none of 0"
    z, share = 1.959964, hits / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return f"{share:.2f} [{middle - half:.2f}, {middle + half:.2f}] ({hits} of {total})"


def print_set(name: str, readings: dict[str, str], truth: dict[str, str]) -> None:
    """Prints one data set's figures."""
    counts = Counter(readings.values())
    shares = ", ".join(f"{reading} {counts[reading] / len(readings):.3f}" for reading in READINGS)
    print(f"{name}: {len(readings)} texts: {shares}")
    labelled = {item: label for item, label in truth.items() if item in readings}
    print(f"  {len(labelled)} labelled by hand: {dict(Counter(labelled.values()))}")
    for side, counted in SIDES.items():
        used = {item for item in labelled if readings[item] in counted}
        true = {item for item, label in labelled.items() if label in counted}
        print(
            f"  {side}: precision {wilson(len(used & true), len(used))}, recall {wilson(len(used & true), len(true))}"
        )


def print_performers(readings: dict[str, str], truth: dict[str, str], performers: dict[str, str]) -> None:
    """Prints recall of "needs improvement" for each performer of the boxing remarks."""
    true = [item for item, label in truth.items() if item in performers and label in SIDES["needs improvement"]]
    hits = Counter(performers[item] for item in true if readings[item] in SIDES["needs improvement"])
    totals = Counter(performers[item] for item in true)
    print(
        "  recall of needs improvement by performer:",
        ", ".join(f"{p}: {hits[p]} of {totals[p]}" for p in sorted(totals)),
    )


def main() -> None:
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data_folder", nargs="?", help="Folder of the public data sets.")
    path = arguments.parse_args().data_folder or os.environ.get("MM_COACH_REAL_DATA")
    if not path:
        print(
            "Skipped: the remarks are other people's and no part of this project; give DATA_FOLDER or set MM_COACH_REAL_DATA."
        )
        return
    folder, truth = Path(path), hand_labels()
    print(f"labeller {RulesLabeller.version}")
    for name, read in (("fixmypose", fixmypose), ("boxing", boxing), ("mtl_aqa", mtl_aqa)):
        if not (folder / name).is_dir():
            print(f"{name}: skipped, {folder / name} is not there.")
            continue
        readings = read_all(read(folder / name))
        print_set(name, readings, truth)
        if name == "boxing":
            print_performers(readings, truth, boxing_performers(folder / name))


if __name__ == "__main__":
    main()
