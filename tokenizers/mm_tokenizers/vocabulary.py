"""Pose tokens as vocabulary: names, ids, and the strict grammar of a clip.

A clip of T frames is ``T·(M + 1) + 1`` tokens: M codes and a frame end per frame, then a sequence end (351 at the
published size of 10 × 34).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FRAME_END = "<|pose_frame_end|>"
SEQUENCE_END = "<|pose_end|>"


@dataclass(frozen=True)
class PoseVocabulary:
    """Ids of the pose tokens inside a language model's vocabulary.

    Attributes:
        first_id: Id of code 0; code k is ``first_id + k``, then come frame end and sequence end.
        num_codes: K, codes in the codebook.
        tokens_per_frame: M, tokens per pose.
        frames: T, frames per clip.
    """

    first_id: int
    num_codes: int
    tokens_per_frame: int
    frames: int

    @property
    def frame_end_id(self) -> int:
        """Id of the frame end."""
        return self.first_id + self.num_codes

    @property
    def sequence_end_id(self) -> int:
        """Id of the sequence end."""
        return self.first_id + self.num_codes + 1

    @property
    def size(self) -> int:
        """Number of ids: K codes and two ends."""
        return self.num_codes + 2

    @property
    def clip_length(self) -> int:
        """Tokens of one clip."""
        return self.frames * (self.tokens_per_frame + 1) + 1

    def names(self) -> list[str]:
        """Returns the token strings in id order."""
        width = len(str(self.num_codes - 1))
        return [f"<|pose_{k:0{width}d}|>" for k in range(self.num_codes)] + [FRAME_END, SEQUENCE_END]

    def to_ids(self, codes: np.ndarray) -> list[int]:
        """Turns codes ``[T, M]`` into the ids of a clip.

        Args:
            codes: Codes ``[T, M]``.

        Returns:
            The ids.

        Raises:
            ValueError: The shape is not ``[frames, tokens_per_frame]`` or a code is outside the codebook.
        """
        if codes.shape != (self.frames, self.tokens_per_frame):
            raise ValueError(
                f"Pose codes have shape {codes.shape}; "
                f"this vocabulary's clips are {(self.frames, self.tokens_per_frame)}."
            )
        if codes.min() < 0 or codes.max() >= self.num_codes:
            raise ValueError(f"Pose codes span {codes.min()}..{codes.max()}; the codebook has {self.num_codes} codes.")
        ids: list[int] = []
        for frame in codes.tolist():
            ids.extend(self.first_id + code for code in frame)
            ids.append(self.frame_end_id)
        return [*ids, self.sequence_end_id]

    def allowed(self, position: int) -> range:
        """Returns the ids that the grammar allows at a position of a clip, ``0 <= position < clip_length``."""
        if position == self.clip_length - 1:
            return range(self.sequence_end_id, self.sequence_end_id + 1)
        if position % (self.tokens_per_frame + 1) == self.tokens_per_frame:
            return range(self.frame_end_id, self.frame_end_id + 1)
        return range(self.first_id, self.first_id + self.num_codes)

    def parse(self, ids: Sequence[int]) -> np.ndarray:
        """Reads the codes ``[T, M]`` out of the ids of one clip; strict, nothing is repaired.

        Args:
            ids: Ids of one clip.

        Returns:
            The codes.

        Raises:
            ValueError: The length is wrong, or an id breaks the grammar; says where and what was expected.
        """
        if len(ids) != self.clip_length:
            raise ValueError(
                f"A pose clip has {self.clip_length} tokens ({self.frames} frames × ({self.tokens_per_frame} + 1) + "
                f"1), got {len(ids)}."
            )
        for position, token in enumerate(ids):
            allowed = self.allowed(position)
            if token not in allowed:
                raise ValueError(
                    f"Pose token {position} is id {token}; "
                    f"the grammar allows {allowed.start}..{allowed.stop - 1} there."
                )
        grid = np.asarray(ids[:-1]).reshape(self.frames, self.tokens_per_frame + 1)
        return grid[:, :-1] - self.first_id


def parse_text(text: str) -> np.ndarray:
    """Reads codes ``[T, M]`` out of pose tokens as text, of any number of frames; strict, nothing is repaired.

    Args:
        text: Names of pose tokens.

    Returns:
        The codes.

    Raises:
        ValueError: Something is no pose token, frames differ in length, or an end is missing; says where.
    """
    names = _TOKEN.findall(text)
    if rest := _TOKEN.sub("", text).strip():
        raise ValueError(f"Pose tokens hold something else: {rest[:40]!r}.")
    if not names or names[-1] != SEQUENCE_END or SEQUENCE_END in names[:-1]:
        raise ValueError(f"A pose sequence ends in one {SEQUENCE_END}; this one has {names.count(SEQUENCE_END)}.")
    frames: list[list[int]] = [[]]
    for name in names[:-1]:
        if name == FRAME_END:
            frames.append([])
        else:
            frames[-1].append(int(name.removeprefix("<|pose_").removesuffix("|>")))
    if frames.pop():
        raise ValueError(f"The last frame does not end in {FRAME_END}.")
    lengths = [len(frame) for frame in frames]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"Frames have {sorted(set(lengths))} pose tokens; all have to have the same number.")
    return np.array(frames)


_TOKEN = re.compile(r"<\|pose_(?:\d+|frame_end|end)\|>")
