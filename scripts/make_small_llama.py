"""A random Llama of six layers with a tokenizer of its own: python scripts/make_small_llama.py TUPLES OUT.

Small enough to be trained in full on two cores (the `small` preset), so that thirteen rows of an ablation table take an
hour. It knows nothing but what the tuples teach it.
"""

import argparse
from pathlib import Path

from make_tiny import CHATML, random_llama, word_tokenizer

from mm_data.tuple_store import read_tuples


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tuples", type=Path, help="folder written by `mm-coach data build`")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    tokenizer = word_tokenizer([t.summary for t in read_tuples(args.tuples, "train")], CHATML)
    llama = random_llama(
        tokenizer, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=4096,
    )  # fmt: skip
    llama.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
