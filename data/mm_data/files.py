"""Writing files so that a crash leaves the old content or the new, never half of it."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text beside the target and moves it into place; processes may do so at once, and the last one stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
