"""`mm-coach language-model`: the small language model that quick trials are built on."""

from pathlib import Path


def language_model(out: Path) -> None:
    """Write the embedded SmolLM2-135M-Instruct as a checkpoint folder, unless it is there.

    Args:
        out: New folder.
    """
    from mm_adapter.checkpoint.embedded import ensure_embedded_language_model

    written = ensure_embedded_language_model(out)
    print(f"{out}: SmolLM2-135M-Instruct" if written else f"{out} is there already")
