"""ExpertAF's three functions as conversations.

One dialogue carries them: the learner's clip, the commentary, then the demonstration. A clip is a content part that
the processor expands; an assistant's pose part is answered in pose tokens.

| format | supervised turns | function |
|---|---|---|
| ``commentary`` | the remark; the expert's clip may be in the question | F_t |
| ``demonstration`` | the expert's poses, after learner clip and remark | F_r and F_g, which share this objective |
| ``dialogue`` | both, without the expert's clip in the question | all three in one pass |
"""

from collections.abc import Collection

from mm_data.conversation import Conversation, Message, clip_part, said
from mm_data.ground.digests import uniform
from mm_data.records import CoachingTuple
from mm_data.tasks.questions import Poses, Words

SYSTEM = "You are an expert sports coach."
ASK_COMMENTARY = "What should I improve?"
OFFER_EXPERT = "An expert does it like this:"
ASK_DEMONSTRATION = "Show me how it should look."
FORMATS = ("commentary", "demonstration", "dialogue")
REMARK_TOKENS = 64
"""Longest remark."""


def shows_poses(formats: Collection[str] | None) -> bool:
    """Says whether a coach that was trained in these formats demonstrates; one of an earlier version does not say."""
    return formats is None or any(form != "commentary" for form in formats)


def system_turn() -> Message:
    """Returns the turn that every conversation with a coach begins with."""
    return said("system", SYSTEM)


def commentary_prompt(learner: str, expert: str | None = None) -> list[Message]:
    """Returns the system turn and the learner's question; ``expert`` is a clip id that training may offer and inference never has."""
    offered = [] if expert is None else [OFFER_EXPERT, clip_part(expert)]
    return [system_turn(), said("user", clip_part(learner), *offered, ASK_COMMENTARY)]


def demonstration_prompt(learner: str, remark: str) -> list[Message]:
    """Returns the dialogue up to the request for a demonstration."""
    return [
        *commentary_prompt(learner),
        said("assistant", remark),
        said("user", ASK_DEMONSTRATION),
    ]


def ask_commentary(learner: str, expert: str | None = None) -> tuple[str, Words]:
    """Returns the question for a remark on a learner's clip, with its id; ``expert`` as in `commentary_prompt`."""
    return learner, Words(commentary_prompt(learner, expert), REMARK_TOKENS)


def ask_demonstration(learner: str, remark: str) -> tuple[str, Poses]:
    """Returns the question for corrected poses after a remark, with its id."""
    return f"{learner} after {remark!r}", Poses(demonstration_prompt(learner, remark))


def offers_expert(item: CoachingTuple, expert_drop: float, seed: int, epoch: int) -> bool:
    """Says whether a commentary question of this epoch holds the expert's clip.

    Depends on seed, epoch and tuple alone, so every rank and every resumed run agrees.
    """
    return uniform(f"{seed}/{epoch}/{item.tuple_id}#commentary") >= expert_drop


def training_conversation(item: CoachingTuple, form: str, offer_expert: bool = False) -> Conversation:
    """Makes one training sample.

    Args:
        item: The coaching tuple.
        form: One of `FORMATS`.
        offer_expert: Whether a commentary question holds the expert's clip; other formats never do.

    Returns:
        The conversation.

    Raises:
        ValueError: Unknown format.
    """
    learner, expert = item.learner.clip_id, item.expert.clip_id
    sample_id = f"{item.tuple_id}#{form}"
    if form == "commentary":
        prompt = commentary_prompt(learner, expert if offer_expert else None)
        return Conversation(sample_id, [*prompt, said("assistant", item.summary)], (2,))
    if form in ("demonstration", "dialogue"):
        messages = [
            *demonstration_prompt(learner, item.summary),
            said("assistant", {"type": "pose", "clip_id": expert}),
        ]
        return Conversation(sample_id, messages, (4,) if form == "demonstration" else (2, 4))
    raise ValueError(f"Unknown sample format {form!r}; choose from {', '.join(FORMATS)}.")
