"""Work on as many threads as torch uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="snnkit")


def split(
    run: Callable[[int, int], Result], items: int, *, most: int | None = None, grain: int = 1, piece: int | None = None
) -> list[Result]:
    """Call `run(low, high)` over all items, cut into stretches that each thread takes as it gets to them.

    Args:
        run: works on the items low..high, without Python's lock for most of its time.
        items: how many there are.
        most: threads at most; torch's number unless given.
        grain: every cut is a multiple of this.
        piece: items in a stretch at most; a thread's share unless given.
    Returns:
        What the calls returned, in the order in which they ended.
    """
    threads = min(most or torch.get_num_threads(), -(-items // grain))
    if threads <= 1:
        return [run(0, items)]
    share = min(-(-items // threads // grain) * grain, piece or items)
    # One iterator for all threads: one that starts late leaves its stretches to the others.
    starts, results = iter(range(0, items, share)), []

    def work() -> None:
        for low in starts:
            results.append(run(low, min(items, low + share)))

    futures = [_pool(threads, os.getpid()).submit(work) for _ in range(threads - 1)]
    work()
    for future in futures:
        if not future.cancel():
            future.result()
    return results
