"""The data set card of a tuple folder."""

import json
from pathlib import Path

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.records import SPLITS
from mm_data.tuples.manifest import GALLERY, TupleManifest


def write_card(folder: Path, manifest: TupleManifest) -> None:
    """Writes the data set card, which also tells ``datasets`` where the splits are."""
    pairing = json.dumps(manifest.request["pairing"])
    card = fill_template(
        "mm_data", "tuples/card.md", manifest=manifest, pairing=pairing, splits=SPLITS, gallery=GALLERY
    )
    write_atomically(folder / "README.md", card)
