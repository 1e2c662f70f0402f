"""The data set card of a folder of items, which also tells ``datasets`` where the splits are."""

import json
from pathlib import Path

from mm_data.ground.files import write_atomically
from mm_data.ground.templates import fill_template
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import GALLERY
from mm_data.records import SPLITS


def write_card(folder: Path, manifest: ItemManifest) -> None:
    """Writes ``README.md``."""
    pairing = json.dumps(manifest.request["pairing"]) if manifest.request else ""
    gallery = GALLERY if (folder / GALLERY).is_file() else ""
    card = fill_template("mm_data", "items/card.md", manifest=manifest, pairing=pairing, splits=SPLITS, gallery=gallery)
    write_atomically(folder / "README.md", card)
