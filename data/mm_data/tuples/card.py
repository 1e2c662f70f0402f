"""The data set card of a tuple folder."""

import json
from pathlib import Path

from mm_data.ground.files import write_atomically
from mm_data.records import SPLITS
from mm_data.tuples.manifest import GALLERY, TupleManifest


def write_card(folder: Path, manifest: TupleManifest) -> None:
    """Writes the data set card, which also tells ``datasets`` where the splits are."""
    counts, people = manifest.tuples, manifest.participants
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(f"  - {{split: {split}, path: {split}.parquet}}" for split in SPLITS),
        "- config_name: gallery",
        f"  data_files: {GALLERY}",
        "tags: [video, action-coaching]",
        "---",
        "",
        "# Coaching tuples",
        "",
        "**Synthetic data**: made by `mm-coach miniature`; no number from it says anything about people."
        if manifest.synthetic
        else "Derived from licensed or private recordings: their licence decides who may see this folder. Ego-Exo4D's restricts redistribution.",
        "",
        "Each row is a learner clip, an expert's remark about it, and an expert clip that shows the correction, mined as in",
        "ExpertAF §3.2. `docs/data.md` of mm-coach explains the columns; clips are frames `[start, stop)` at 30 fps.",
        "",
        f"- {counts['train']} training and {counts['test']} test tuples, {counts['gallery']} further gallery clips",
        f"- {people['train']} participants in training, {people['test']} in test, "
        f"{manifest.shared_participants} on both sides",
        f"- labels by `{manifest.labeller}`; {manifest.reviewed} of the test tuples were looked at by a person",
        f"- pairing: `{json.dumps(manifest.request['pairing'])}`",
        "",
        "| stage | in | kept | dropped |",
        "|---|---|---|---|",
    ]
    for stage in manifest.funnel:
        dropped = "; ".join(f"{count} {reason}" for reason, count in stage["dropped"].items()) or "-"
        lines.append(f"| {stage['stage']} | {stage['read']} | {stage['kept']} | {dropped} |")
    write_atomically(folder / "README.md", "\n".join(lines) + "\n")
