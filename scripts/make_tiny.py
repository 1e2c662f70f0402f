"""Makes everything that the `tiny` presets read, in under a minute: python scripts/make_tiny.py runs/tiny.

A small miniature, its tuples and features, a briefly trained pose tokenizer and a random two-layer Llama with a
freshly trained word tokenizer. Tests and dry trials use it; nothing here has learned anything.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mm_adapter.cli import main as mm_coach
from mm_data.tuples.store import read_tuples
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
SPECIAL = {
    CHATML: ["<|im_start|>", "<|im_end|>"],
    LLAMA3: ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
}


def word_tokenizer(texts: list[str], template: str, vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on texts, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    # Digits apart, as in SmolLM2: numbers that are single words have nothing in common.
    splits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    special = SPECIAL[template]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    end = special[-1]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token=end,
        bos_token=special[0],
        additional_special_tokens=special,
    )
    fast.chat_template = template
    return fast


def random_llama(tokenizer: PreTrainedTokenizerFast, seed: int = 0, **shape: Any) -> LlamaForCausalLM:
    """Makes a Llama with random weights; two layers of 64, unless the shape says otherwise."""
    torch.manual_seed(seed)
    end = tokenizer.get_vocab()[str(tokenizer.eos_token)]
    sizes: dict[str, Any] = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 1024,
    }  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(tokenizer), tie_word_embeddings=True, bos_token_id=0, eos_token_id=end, pad_token_id=end,
        **(sizes | shape),
    )  # fmt: skip
    return LlamaForCausalLM(config)


def run(*command: str | Path) -> None:
    """Runs one `mm-coach` command; stops on failure."""
    if mm_coach([str(part) for part in command]):
        sys.exit(1)


def make_tiny(out: Path, takes: int) -> None:
    """Makes the inputs below ``out``; finished parts stay as they are."""
    run("miniature", out / "miniature", "--takes", str(takes))
    run("data", "build", out / "miniature", out / "tuples", "--experts-train", "2", "--stride", "6")
    run("features", "extract", out / "tuples", out / "features", "--encoder", "tiny")
    if not (out / "pose_tokenizer" / "metrics.json").is_file():
        recipe = ["recipes/pose_tokenizer.py", "--config", "recipes/configs/pose_tokenizer/tiny.yaml"]
        paths = ["--poses", str(out / "tuples"), "--output_dir", str(out / "pose_tokenizer")]
        subprocess.run([sys.executable, *recipe, *paths], check=True)
    run(
        "tokenizer", "encode", out / "tuples", out / "pose_tokenizer" / "tokenizer", out / "pose_codes", "--frames", "3"
    )
    if not (out / "language_model" / "model.safetensors").is_file():
        tokenizer = word_tokenizer([t.summary for t in read_tuples(out / "tuples", "train")], CHATML)
        tokenizer.save_pretrained(out / "language_model")
        random_llama(tokenizer).save_pretrained(out / "language_model")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--takes", type=int, default=48)
    arguments = parser.parse_args()
    make_tiny(arguments.out, arguments.takes)
