"""An answerer that is opened when the first question comes: an engine need not start to find that everything is answered."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from mm_adapter.inference.own_clip import decode_codes
from mm_adapter.inference.protocols import Answerer
from mm_adapter.inference.sampling import GREEDY, Sampling
from mm_data.tasks.questions import Choice, ClipChoice, Likelihoods, Poses, Words
from mm_tokenizers import PoseTokenizer


class OpenedLate:
    """An `Answerer` that opens another one for the first question.

    Args:
        opens: Opens it.
        at_once: Number of questions that it takes together.
        can_choose: Whether it can say how likely candidates are.
        can_demonstrate: Whether it learned to answer in poses.
        pose_tokenizer: Tokenizer that decodes its codes.
    """

    def __init__(
        self,
        opens: Callable[[], Answerer],
        at_once: int,
        can_choose: bool,
        can_demonstrate: bool,
        pose_tokenizer: PoseTokenizer,
    ) -> None:
        self._opens, self._pose_tokenizer = opens, pose_tokenizer
        self.at_once, self.can_choose, self.can_demonstrate = at_once, can_choose, can_demonstrate

    @cached_property
    def opened(self) -> Answerer:
        """The other one."""
        return self._opens()

    def answer_words(self, questions: Sequence[tuple[str, Words]], sampling: Sampling = GREEDY) -> list[str]:
        """Lets it answer in words."""
        return self.opened.answer_words(questions, sampling)

    def answer_choices(self, questions: Sequence[tuple[str, Choice | ClipChoice]]) -> list[Likelihoods]:
        """Lets it choose."""
        return self.opened.answer_choices(questions)

    def answer_poses(
        self, questions: Sequence[tuple[str, Poses]], sampling: Sampling = GREEDY
    ) -> list[np.ndarray | None]:
        """Lets it answer in poses."""
        return self.opened.answer_poses(questions, sampling)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes codes, without opening anything."""
        return decode_codes(self._pose_tokenizer, codes)
