"""Memory for sequences: large arrays on huge pages that are used again, and views without copies.

A system hands out large arrays as fresh pages and clears each of them on first touch, which costs more than a neuron
does. Arrays made here go back to a pool when torch lets go of them.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import os
import threading
import weakref
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_LARGE = 1 << 20
"""Bytes from which an array comes from the pool."""

_HUGE = 1 << 21

_WORTH = 1 << 24
"""Bytes from which telling the system that memory is free is worth that its pages are marked again on the next use."""


class _Pool:
    """Free memory by size, the oldest let go first where it exceeds its share of the machine."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._lent: dict[int, tuple[weakref.ref[memoryview], mmap.mmap]] = {}
        # Collecting garbage may give memory back in the middle of taking some.
        self._lock = threading.RLock()

    def take(self, size: int) -> memoryview:
        """Return a view of memory that comes back when the last one that holds the view lets go."""
        with self._lock:
            for k, memory in enumerate(self._free):
                if len(memory) == size:
                    del self._free[k]
                    break
            else:
                memory = _pages(size)
            view = memoryview(memory)
            reference = weakref.ref(view, self._returned)
            self._lent[id(reference)] = reference, memory
            return view

    def _returned(self, reference: weakref.ref[memoryview]) -> None:
        self._give(self._lent.pop(id(reference))[1])

    def _give(self, memory: mmap.mmap) -> None:
        # The system may take pages back, without their content, when it runs short.
        _advise(memory, "MADV_FREE", _WORTH)
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


def _pages(size: int) -> mmap.mmap:
    """Return fresh memory of this process alone, on huge pages where the system offers them."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _advise(memory, "MADV_HUGEPAGE", _HUGE)
    return memory


def _advise(memory: mmap.mmap, advice: str, least: int) -> None:
    """Tell the system how memory of a size and above is used; one that does not know of it goes without."""
    if len(memory) >= least and hasattr(mmap, advice):
        with contextlib.suppress(OSError):
            memory.madvise(getattr(mmap, advice))


@functools.cache
def _limit() -> int:
    """Return the bytes that the pool may keep: half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 1 << 30


def release() -> int:
    """Hand the pool's free memory back to the system and return how many bytes it was."""
    return _POOL.clear()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return uninitialised CPU memory of this shape; a large array comes from the pool."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < _LARGE:
        return torch.empty(shape, dtype=dtype)
    page = _HUGE if size >= _HUGE else mmap.PAGESIZE
    # The tensor holds the view. It is no view of another tensor, which autograd would not let anybody change.
    return torch.frombuffer(_POOL.take(-(-size // page) * page), dtype=dtype, count=count).resize_(shape)


def rows(x: Tensor) -> Tensor:
    """Return [T, M] data as contiguous rows, or as one row [1, M] where the time axis is expanded."""
    return x[:1].contiguous() if x.stride(0) == 0 else x.contiguous()
