"""Makes a random Llama of six layers and its tokenizer: python scripts/make_small_llama.py FOLDER [FOLDER ...] OUT.

Small enough to be trained in full on two cores (the `small` presets), so that thirteen rows of an ablation table take an
hour. It knows nothing but what the items teach it.
"""

import argparse
from pathlib import Path

from make_tiny import CHATML, random_llama, word_tokenizer

from mm_adapter.tasks.known import find_task
from mm_data.items.manifest import ItemManifest
from mm_data.items.store import read_items


def training_texts(folder: Path) -> list[str]:
    """Collects the texts of a folder's training samples."""
    manifest = ItemManifest.read(folder)
    task = find_task(manifest.found_by)
    form = task.format(manifest.knowledge, task.options())
    samples = [
        form.conversation(item, reference)
        for item in read_items(folder, "train")
        for reference in range(max(len(item.references), 1))
    ]
    parts = [part for sample in samples for message in sample.messages for part in message["content"]]
    return [part["text"] for part in parts if part["type"] == "text"]


def main() -> None:
    """Writes the model and its tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="written by `mm-coach data build` or `task read`")
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocabulary", type=int, default=512, help="tokens; more make long answers shorter")
    args = parser.parse_args()
    tokenizer = word_tokenizer(
        [text for folder in args.folders for text in training_texts(folder)], CHATML, args.vocabulary
    )
    llama = random_llama(
        tokenizer, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=4096,
    )  # fmt: skip
    llama.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
