"""Work on every core in slices, results in order.

isal, blake3 and file I/O let go of the interpreter lock, so plain threads use every core. A
thread gets a slice of items, for handing over one body at a time costs as much as the work.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

CORES = max(1, min(8, os.cpu_count() or 1))
SLICE_ITEMS = 64

T = TypeVar("T")
R = TypeVar("R")


def in_slices(
    work: Callable[[Sequence[T]], Sequence[R]],
    items: Iterable[T],
    slice_items: int = SLICE_ITEMS,
    workers: int = CORES,
) -> Iterator[R]:
    """Yield what `work` returns for each slice of the items, in their order.

    A few slices are worked on ahead of the consumer, never all of them: memory stays bounded.
    Up to one slice of items is done in the calling thread. A consumer with much to do itself asks for
    fewer workers than cores.
    """
    source = iter(items)
    first = list(islice(source, slice_items))
    second = list(islice(source, slice_items))
    if not second:
        yield from work(first)
        return
    with ThreadPoolExecutor(workers, "blobs") as pool:
        ahead: deque[Future[Sequence[R]]] = deque()
        try:
            for part in chain((first, second), iter(lambda: list(islice(source, slice_items)), [])):
                ahead.append(pool.submit(work, part))
                if len(ahead) > workers + 1:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
