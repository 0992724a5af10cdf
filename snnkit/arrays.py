"""Memory for sequences: large arrays on huge pages that are used again, and views without copies.

A system hands out large arrays as fresh pages and clears each of them on first touch, which costs more than a neuron
does. Arrays made here go back to a pool when torch lets go of them.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

_LARGE = 1 << 18
"""Bytes from which an array comes from the pool."""

_HUGE = 1 << 21


class _Pool:
    """Free memory by size, the oldest let go first where it exceeds its share of the machine."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        # Collecting garbage may give memory back in the middle of taking some.
        self._lock = threading.RLock()

    def take(self, size: int) -> mmap.mmap:
        with self._lock:
            for k, memory in enumerate(self._free):
                if len(memory) == size:
                    return self._free.pop(k)
        return _pages(size)

    def give(self, memory: mmap.mmap) -> None:
        with self._lock:
            self._free.append(memory)
            while sum(map(len, self._free)) > _limit():
                self._free.pop(0)

    def clear(self) -> int:
        with self._lock:
            size = sum(map(len, self._free))
            self._free.clear()
        return size


_POOL = _Pool()


class _Block:
    """Memory of one array; it returns to the pool when the last array on it is gone."""

    # Held here, since a module's names may be gone when the last arrays of a process are.
    pool = _POOL

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.__array_interface__ = {
            "shape": (len(memory),),
            "typestr": "|u1",
            "data": (np.frombuffer(memory, np.uint8).ctypes.data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self.pool.give(self.memory)


def _pages(size: int) -> mmap.mmap:
    """Return fresh memory of this process alone, on huge pages where the system offers them."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@functools.cache
def _limit() -> int:
    """Return the bytes that the pool may keep: an eighth of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8 if hasattr(os, "sysconf") else 1 << 30


def release() -> int:
    """Hand the pool's free memory back to the system and return how many bytes it was."""
    return _POOL.clear()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return uninitialised CPU memory of this shape; a large array comes from the pool."""
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        return torch.empty(shape, dtype=dtype)
    page = _HUGE if size >= _HUGE else mmap.PAGESIZE
    block = _Block(_POOL.take(-(-size // page) * page))
    flat = torch.from_numpy(np.asarray(block))
    return flat[:size].view(dtype).view(shape)


def rows(x: Tensor) -> Tensor:
    """Return [T, M] data as contiguous rows, or as one row [1, M] where the time axis is expanded."""
    return x[:1].contiguous() if x.stride(0) == 0 else x.contiguous()
