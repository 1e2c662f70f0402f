"""Conversations to ids and labels, sign by sign, with a tokenizer of single letters."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from letters import CHATML, CLIP, CODES, JOINTS, letters, processor

from mm_adapter.model.processor import EGO_TOKEN, EXO_TOKEN, IGNORE, CoachProcessor
from mm_data.conversation import Conversation, clip_part, said
from mm_tokenizers.coordinates import poses_to_text

# --- conversations to ids --------------------------------------------------------------------------------------------


def test_pose_and_video_tokens_follow_the_words() -> None:
    made = processor()
    words = len(letters())
    assert made.vocabulary.first_id == words and len(made.tokenizer) == words + 5 + 2 + 2
    names = made.tokenizer.convert_ids_to_tokens(list(range(words, words + 9)))
    assert names == [*(f"<|pose_{k}|>" for k in range(5)), "<|pose_frame_end|>", "<|pose_end|>", EGO_TOKEN, EXO_TOKEN]
    again = CoachProcessor(made.tokenizer, CLIP)
    assert again.vocabulary == made.vocabulary and len(made.tokenizer) == words + 9, (
        "a saved tokenizer has them already"
    )
    poses = made.answer_ids(CODES["one"])
    assert poses == [words + k for k in (0, 1, 5, 2, 3, 5, 4, 0, 5, 6)]


def test_unsuitable_tokenizers_are_refused() -> None:
    plain = letters()
    plain.chat_template = None
    with pytest.raises(ValueError, match="needs a fast tokenizer with a chat template"):
        CoachProcessor(plain, CLIP)
    with pytest.raises(ValueError, match="needs a fast tokenizer with a chat template"):
        CoachProcessor(SimpleNamespace(is_fast=False, chat_template=CHATML, name_or_path="slow"), CLIP)  # type: ignore[arg-type]
    taken = letters()
    taken.add_tokens(["<|pose_2|>"], special_tokens=True)
    with pytest.raises(
        ValueError, match=rf"did not land on consecutive ids from {len(taken)}; the tokenizer already has"
    ):
        CoachProcessor(taken, CLIP)
    for token in (EGO_TOKEN, EXO_TOKEN):
        taken = letters()
        taken.add_tokens([token], special_tokens=True)
        with pytest.raises(ValueError, match="did not land on consecutive ids"):
            CoachProcessor(taken, CLIP)


POSES = {
    "one": "<|pose_0|><|pose_1|><|pose_frame_end|><|pose_2|><|pose_3|><|pose_frame_end|><|pose_4|><|pose_0|><|pose_frame_end|><|pose_end|>",
    "two": "<|pose_4|><|pose_4|><|pose_frame_end|><|pose_3|><|pose_3|><|pose_frame_end|><|pose_2|><|pose_2|><|pose_frame_end|><|pose_end|>",
}


@pytest.mark.parametrize(
    ("changes", "part", "shown", "clips"),
    [
        ({}, clip_part("one"), POSES["one"] + 4 * EGO_TOKEN + 4 * EXO_TOKEN, {"ego": ["one"], "exo": ["one"]}),
        ({}, clip_part("one", ["exo"]), POSES["one"] + 4 * EXO_TOKEN, {"ego": [], "exo": ["one"]}),
        ({}, clip_part("one", ["exo", "ego"], pose=False), 4 * EGO_TOKEN + 4 * EXO_TOKEN, {"ego": ["one"], "exo": ["one"]}),
        ({}, clip_part("one", []), POSES["one"], {"ego": [], "exo": []}),
        ({"video_tokens": 0}, clip_part("one"), POSES["one"], {"ego": [], "exo": []}),
        ({"views": ("exo",)}, clip_part("one"), POSES["one"] + 4 * EXO_TOKEN, {"exo": ["one"]}),
        ({"pose_form": "none"}, clip_part("one"), 4 * EGO_TOKEN + 4 * EXO_TOKEN, {"ego": ["one"], "exo": ["one"]}),
        ({"pose_form": "none"}, {"type": "pose", "clip_id": "two"}, POSES["two"], {"ego": [], "exo": []}),
    ],
)  # fmt: skip
def test_a_part_becomes_tokens(
    changes: dict[str, Any], part: dict[str, Any], shown: str, clips: dict[str, list[str]]
) -> None:
    plain, found = processor(**changes).render([said("user", "Look:", part, "Well?")], CODES.__getitem__)
    assert plain == [{"role": "user", "content": f"Look:\n{shown}\nWell?"}] and found == clips


def test_clips_stand_in_order_and_text_poses_are_written_out() -> None:
    made = processor(pose_form="text")
    messages = [
        said("user", clip_part("one"), clip_part("two", ["ego"])),
        said("assistant", {"type": "pose", "clip_id": "two"}),
    ]
    plain, clips = made.render(messages, JOINTS.__getitem__)
    assert clips == {"ego": ["one", "two"], "exo": ["one"]}
    text = {name: poses_to_text(joints) for name, joints in JOINTS.items()}
    assert plain[0]["content"] == f"{text['one']}{4 * EGO_TOKEN}{4 * EXO_TOKEN}\n{text['two']}{4 * EGO_TOKEN}"
    assert plain[1] == {"role": "assistant", "content": text["two"]}


@pytest.mark.parametrize(
    ("changes", "part", "seen"),
    [
        ({}, clip_part("one", [], pose=False), "the coach sees ego, exo and poses as tokens"),
        ({"video_tokens": 0}, clip_part("one", pose=False), "the coach sees ego, exo and poses as tokens"),
        ({"pose_form": "none", "views": ("ego",)}, clip_part("one", ["exo"]), "the coach sees ego and poses as none"),
        ({"views": ()}, clip_part("one", pose=False), "the coach sees no video and poses as tokens"),
    ],
)
def test_a_clip_that_shows_nothing_is_refused(changes: dict[str, Any], part: dict[str, Any], seen: str) -> None:
    with pytest.raises(ValueError, match=f"Clip one: {seen}, and the clip has none of them"):
        processor(**changes).render([said("user", part)], CODES.__getitem__)


DIALOGUE = Conversation(
    "sample",
    [
        said("system", "Coach."),
        said("user", clip_part("one"), "What?"),
        said("assistant", "Bend it."),
        said("user", "Show me."),
        said("assistant", {"type": "pose", "clip_id": "two"}),
    ],
    (2, 4),
)


@pytest.mark.parametrize("supervised", [(2,), (4,), (2, 4)])
def test_labels_cover_answers_and_their_ends(supervised: tuple[int, ...]) -> None:
    made = processor()
    encoded = made.encode(replace(DIALOGUE, supervised=supervised), CODES.__getitem__)
    answers = {2: "Bend it.<|im_end|>", 4: POSES["two"] + "<|im_end|>"}
    expected = [
        token for turn in supervised for token in made.tokenizer.encode(answers[turn], add_special_tokens=False)
    ]
    assert [label for label in encoded.labels if label != IGNORE] == expected
    text = made.tokenizer.decode(encoded.input_ids)
    before = text.index("Bend it.") if 2 in supervised else text.index(POSES["two"])
    first = next(i for i, label in enumerate(encoded.labels) if label != IGNORE)
    assert made.tokenizer.decode(encoded.input_ids[:first]) == text[:before]
    assert all(label in (IGNORE, token) for label, token in zip(encoded.labels, encoded.input_ids, strict=True))
    assert encoded.sample_id == "sample" and encoded.clips == {"ego": ["one"], "exo": ["one"]}
    assert IGNORE == -100, "as PyTorch's cross-entropy and every trainer have it"
    prompt = made.encode_prompt(DIALOGUE.messages[:2], CODES.__getitem__, "asked")
    assert encoded.input_ids[: len(prompt.input_ids)] == prompt.input_ids and set(prompt.labels) == {IGNORE}
    assert (prompt.sample_id, prompt.clips) == ("asked", encoded.clips) and len(prompt.labels) == len(prompt.input_ids)
    assert str(made.tokenizer.decode(prompt.input_ids)).endswith("What?<|im_end|>\n<|im_start|>assistant\n")


def test_spaces_around_an_answer_are_the_templates_affair() -> None:
    """A template that trims its turns: the label is what is there."""
    trimming = CHATML.replace("message['content']", "message['content'] | trim")
    made = processor(trimming)
    spaced = Conversation("s", [said("user", "Hm?"), said("assistant", "  Bend it. ")], (1,))
    labels = [label for label in made.encode(spaced, CODES.__getitem__).labels if label != IGNORE]
    assert made.tokenizer.decode(labels) == "Bend it.<|im_end|>"


def test_answers_that_cannot_be_labelled_are_refused() -> None:
    silent = Conversation("s 1", [said("user", "Hm?"), said("assistant", "x")], ())
    with pytest.raises(
        ValueError, match=r"Sample s 1: no token is supervised; its answer is empty\. Remove the sample"
    ):
        processor().encode(silent, CODES.__getitem__)
    asked = replace(silent, supervised=(1,))
    plain_end = CHATML.replace("<|im_end|>", "###")
    with pytest.raises(
        ValueError, match="Sample s 1: the chat template ends turn 1 with '###\\\\n', not with a special token"
    ):
        processor(plain_end).encode(asked, CODES.__getitem__)
    other = CHATML.replace("assistant\n' }}", "coach\n' }}")
    with pytest.raises(
        ValueError, match="does not render turn 1 after its own generation prompt; use another template"
    ):
        processor(other).encode(asked, CODES.__getitem__)


@pytest.mark.parametrize(
    "changes", [{}, {"views": ("ego",)}, {"video_tokens": 0}, {"pose_form": "none"}, {"pose_form": "text"}, {"frames": 3, "video_tokens": 1}]
)  # fmt: skip
def test_lengths_are_those_of_encoding(changes: dict[str, Any]) -> None:
    made = processor(**changes)
    poses: Callable[[str], np.ndarray] = (JOINTS if made.config.pose_form == "text" else CODES).__getitem__
    user = [clip_part("one"), clip_part("two", ["ego"])]
    if made.config.video_tokens:
        user.append(clip_part("two", ["ego"], pose=False))
    conversations = [
        DIALOGUE,
        Conversation("b", [said("user", *user, "Two clips?"), said("assistant", "x")], (1,)),
        Conversation("c", [said("user", "No clip."), said("assistant", {"type": "pose", "clip_id": "one"})], (1,)),
    ]
    lengths = [len(made.encode(conversation, poses).input_ids) for conversation in conversations]
    assert made.lengths(conversations, poses) == lengths and len(set(lengths)) == 3


def test_the_end_of_a_turn_and_a_saved_processor(tmp_path: Path) -> None:
    made = processor()
    assert [made.end_of_turn_id] == [made.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    made.tokenizer.save_pretrained(tmp_path)
    again = CoachProcessor.load(tmp_path, CLIP)
    assert again.encode(DIALOGUE, CODES.__getitem__) == made.encode(DIALOGUE, CODES.__getitem__)
    assert again.vocabulary == made.vocabulary
