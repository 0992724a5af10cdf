"""Memory for sequences: huge pages where the system offers them, and views without copies."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_HUGE = 1 << 21
_ADVICE = 14


@lru_cache
def _advise() -> Callable[[int, int, int], None] | None:
    """Return the call that asks for huge pages, where there is one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return madvise


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return uninitialised CPU memory of this shape, on huge pages where it is large."""
    tensor = torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * tensor.element_size()
    advise = _advise() if size >= 2 * _HUGE else None
    if advise is not None:
        page = mmap.PAGESIZE
        start = -(-tensor.data_ptr() // page) * page
        end = (tensor.data_ptr() + size) // page * page
        advise(start, end - start, _ADVICE)
    return tensor


def rows(x: Tensor) -> Tensor:
    """Return [T, M] data as contiguous rows, or as one row [1, M] where the time axis is expanded."""
    return x[:1].contiguous() if x.stride(0) == 0 else x.contiguous()
