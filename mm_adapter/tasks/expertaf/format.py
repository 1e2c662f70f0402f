"""ExpertAF's three functions about one learner's clip: a remark, then, after it, the expert who shows the correction, and corrected poses."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mm_adapter.tasks.expertaf.inputs import NO_POSES, RAW_LIKELIHOOD
from mm_data.conversation import Conversation, said
from mm_data.tasks import Answer, TaskFormat, TaskItem
from mm_data.tasks.coaching import REMARK_TOKENS, commentary_prompt, demonstration_prompt
from mm_data.tasks.gallery import Gallery, prior_prompts
from mm_data.tasks.questions import CANNOT, Choice, ClipChoice, Dialogue, Poses, Question, Words

GALLERIES = ("activity", "all")


@dataclass(frozen=True)
class ExpertafOptions:
    """Switches of the task.

    Attributes:
        retrieval: Ask which expert's clip shows the correction.
        poses: Ask for corrected poses.
        gallery: Clips that are ranked: ``activity``, those of the learner's activity, or ``all``.
        privileged: Show the expert's clip with the learner's, and ask for clip and poses after the expert's own remark (ExpertAF's
            full-sup); tells the truth.
    """

    retrieval: bool = True
    poses: bool = True
    gallery: str = "activity"
    privileged: bool = False

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for an unknown gallery."""
        if self.gallery not in GALLERIES:
            raise ValueError(f"gallery is {self.gallery!r}; choose from {', '.join(GALLERIES)}.")


class ExpertafFormat(TaskFormat):
    """The task's way of teaching, asking and reading.

    Args:
        knowledge: ``gallery``, experts' clips with their activities, where somebody is asked to choose one.
        options: Switches of the task.
    """

    max_new_tokens = REMARK_TOKENS

    def __init__(self, knowledge: Mapping[str, Any], options: ExpertafOptions) -> None:
        self.options = options
        self.gallery = Gallery.of(knowledge.get("gallery", []), options.gallery == "activity")
        ranked = "of the learner's activity" if self.gallery.within_category else "of all activities"
        self.inputs = [f"gallery: {ranked}"] if options.retrieval and self.gallery.category else []
        self.inputs += ["the expert's clip and remark (leak: tells the truth)"] if options.privileged else []

    def conversation(self, item: TaskItem, reference: int) -> Conversation:
        """Shows the learner's clip, gives the remark and, where there is one, the expert's poses."""
        remark = item.references[reference]
        if item.expert is None:
            messages = [*commentary_prompt(item.clip.clip_id), said("assistant", remark)]
            return Conversation(f"{item.item_id}#{reference}", messages, (2,))
        shown = said("assistant", {"type": "pose", "clip_id": item.expert.clip_id})
        return Conversation(
            f"{item.item_id}#{reference}", [*demonstration_prompt(item.clip.clip_id, remark), shown], (2, 4)
        )

    def short(self, item: TaskItem) -> Conversation:
        """Gives the remark, which is as short as facts are."""
        messages = [*commentary_prompt(item.clip.clip_id), said("assistant", item.references[0])]
        return Conversation(f"{item.item_id}#short", messages, (2,))

    def truth(self, item: TaskItem) -> Answer:
        """Returns the expert's remark, and the clip of the gallery that stands for the expert's."""
        return Answer(item.truth.text, label=self._right_clip(item))

    def taught(self, item: TaskItem) -> Answer:
        """Returns the remark."""
        return Answer(item.references[0])

    def candidates(self, item: TaskItem) -> list[str]:
        """Returns the clips of the gallery that are ranked for an item."""
        return self.gallery.pool(item.category)

    def _right_clip(self, item: TaskItem) -> str | None:
        return None if item.expert is None else self.gallery.represents.get(item.expert.clip_id, item.expert.clip_id)

    def questions(self, item: TaskItem) -> Dialogue:
        """Asks for a remark; then, after it, how likely the poses of each expert are (Eq. 2), and for corrected poses (Eq. 3)."""
        learner, told = item.clip.clip_id, self.options.privileged and item.expert is not None
        offered = item.expert.clip_id if told and item.expert is not None else None
        (text,) = yield [Words(commentary_prompt(learner, offered), REMARK_TOKENS)]
        remark, pool = item.references[0] if told else text, self.candidates(item)
        asked: dict[str, Question] = {}
        if self.options.retrieval and pool:
            asked["scores"] = ClipChoice(demonstration_prompt(learner, remark), pool)
        if self.options.poses:
            asked["poses"] = Poses(demonstration_prompt(learner, remark))
        replies = dict(zip(asked, (yield list(asked.values())), strict=True)) if asked else {}
        record: dict[str, Any] = {"text": text}
        if "scores" in replies:
            record["scores"] = yield from _scores(replies["scores"], remark, pool)
        if replies.get("poses", CANNOT) is not CANNOT:
            record["poses"] = None if replies["poses"] is None else replies["poses"].tolist()
        return record

    def shared_questions(self, training: Sequence[TaskItem]) -> dict[str, Dialogue]:
        """Asks how likely each candidate is after training prompts (`mm_data.tasks.gallery.prior_prompts`)."""
        if not self.options.retrieval or not self.gallery.category:
            return {}
        return {
            f"prior {place}.{number}": _prior(item, pool)
            for place, (prompts, pool) in enumerate(prior_prompts(training, self.gallery))
            for number, item in enumerate(prompts)
        }

    def read(self, record: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Reads remark, ranking (minus priors) and poses."""
        answer = self.parse(record["text"])
        if "scores" in record:
            prior = priors(shared)
            answer = replace(answer, ranking={clip: score - prior[clip] for clip, score in record["scores"].items()})
        if "poses" not in record:
            return answer
        return replace(answer, poses=record["poses"], unread=[NO_POSES] if record["poses"] is None else None)

    def variants(self, record: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> dict[str, Answer]:
        """Reads the ranking without priors."""
        return {RAW_LIKELIHOOD: Answer(record["text"], ranking=record["scores"])} if "scores" in record else {}

    def parse(self, text: str) -> Answer:
        """Takes the text for the remark."""
        return Answer(text)


def _scores(
    reply: Any, remark: str, pool: Sequence[str]
) -> Generator[Sequence[Question], Sequence[Any], dict[str, float]]:
    """Returns candidates' mean log-likelihoods; of a coach that never learned to demonstrate, those of the remark about each (LLaVA-FT).

    Args:
        reply: Reply to the question about the clips.
        remark: What the learner was told.
        pool: Ids of the clips.

    Returns:
        Clip to mean log-likelihood.

    Raises:
        ValueError: Whoever answers has no likelihoods at all.
    """
    if reply is not CANNOT:
        return dict(zip(pool, reply.mean.tolist(), strict=True))
    said_of_each = yield [Choice(commentary_prompt(clip), [remark or "."]) for clip in pool]
    if CANNOT in said_of_each:
        raise ValueError("This system cannot say how likely a clip is; leave retrieval out: --set retrieval=false.")
    return {clip: float(likely.mean[0]) for clip, likely in zip(pool, said_of_each, strict=True)}


def rank(
    learner: str, remark: str, pool: Sequence[str]
) -> Generator[Sequence[Question], Sequence[Any], dict[str, float]]:
    """Asks how likely each of some clips is as the answer to a remark on a learner's clip (Eq. 2).

    Args:
        learner: Id of the learner's clip.
        remark: What the learner was told.
        pool: Ids of the candidates.

    Returns:
        Candidates' mean log-likelihoods.
    """
    (reply,) = yield [ClipChoice(demonstration_prompt(learner, remark), pool)]
    return (yield from _scores(reply, remark, pool))


def _prior(item: TaskItem, pool: Sequence[str]) -> Dialogue:
    scores = yield from rank(item.clip.clip_id, item.references[0], pool)
    return {"scores": scores}


def priors(shared: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Averages each candidate's log-likelihood over the prompts after which it was scored."""
    scores: dict[str, list[float]] = {}
    for record in shared.values():
        for clip, score in record["scores"].items():
            scores.setdefault(clip, []).append(score)
    return {clip: sum(score / len(of_clip) for score in of_clip) for clip, of_clip in scores.items()}
