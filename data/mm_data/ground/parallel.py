"""A process pool that can be interrupted."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., None] = lambda: None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Maps a function over processes, in order; an interrupt waits for the items in hand, not for all of them.

    Args:
        function: A module-level function.
        items: Arguments of the function.
        workers: Processes; 1 runs everything in this one.
        initializer: Called once in every process.
        initargs: Arguments of the initializer.

    Yields:
        The results, in the order of the items.
    """
    if workers == 1:
        initializer(*initargs)
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, initializer=initializer, initargs=initargs)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
