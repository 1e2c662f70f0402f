"""A tokenizer of single letters and two clips, for processors and coaches made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from mm_adapter.model.config import CoachConfig
from mm_adapter.model.processor import CoachProcessor
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def letters(template: str = CHATML) -> PreTrainedTokenizerFast:
    """Every byte is a token of its own."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(signs)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    special = ["<|im_start|>", "<|im_end|>"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[1], pad_token=special[1], additional_special_tokens=special
    )
    fast.chat_template = template
    return fast


CLIP = CoachConfig(num_pose_codes=5, pose_tokens_per_frame=2, pose_frames=3, video_tokens=4)
CODES = {"one": np.array([[0, 1], [2, 3], [4, 0]]), "two": np.array([[4, 4], [3, 3], [2, 2]])}
JOINTS = {name: np.full((3, 17, 3), metres) for name, metres in (("one", 0.25), ("two", -1.5))}


def processor(template: str = CHATML, **changes: Any) -> CoachProcessor:
    return CoachProcessor(letters(template), replace(CLIP, **changes))
