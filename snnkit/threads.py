"""Work on as many threads as torch uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="snnkit")


def split(run: Callable[[int, int], None], items: int, *, most: int | None = None, grain: int = 1) -> None:
    """Call `run(low, high)` over all items, cut into one stretch per thread.

    Args:
        run: works on the items low..high, without Python's lock for most of its time.
        items: how many there are.
        most: threads at most; torch's number unless given.
        grain: every cut is a multiple of this.
    """
    threads = min(most or torch.get_num_threads(), -(-items // grain))
    if threads <= 1:
        run(0, items)
        return
    share = -(-items // threads // grain) * grain
    parts = [(low, min(items, low + share)) for low in range(0, items, share)]
    futures = [_pool(threads, os.getpid()).submit(run, *part) for part in parts[1:]]
    run(*parts[0])
    for future in futures:
        future.result()
