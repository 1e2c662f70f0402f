"""Words of an answer while a thread generates them; a reader that leaves ends the generation."""

from collections.abc import Callable, Generator
from threading import Event, Thread

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, TextIteratorStreamer


class GivenUp(StoppingCriteria):
    """Ends a generation that nobody reads any more."""

    def __init__(self) -> None:
        self.event = Event()

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:  # type: ignore[override]
        """Tells for each row whether it ends: ``[B]``."""
        return torch.full((len(input_ids),), self.event.is_set(), dtype=torch.bool, device=input_ids.device)


def stream_words(
    tokenizer: PreTrainedTokenizerBase, generate: Callable[[TextIteratorStreamer, GivenUp], object]
) -> Generator[str]:
    """Runs a generation in a thread and yields its words as they come.

    Args:
        tokenizer: Tokenizer of the answer.
        generate: Generates, hands tokens to the streamer and stops where it is given up.

    Yields:
        Pieces of the answer.

    Raises:
        BaseException: Whatever ended the generation.
    """
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)  # type: ignore[arg-type]
    given_up, failures = GivenUp(), []

    def work() -> None:
        try:
            generate(streamer, given_up)
        except BaseException as error:  # handed over to the reader of the stream
            failures.append(error)
            streamer.end()

    worker = Thread(target=work, daemon=True)
    worker.start()
    try:
        yield from streamer
    finally:
        given_up.event.set()
        worker.join()  # the next question must not find the model at work
    if failures:
        raise failures[0]
