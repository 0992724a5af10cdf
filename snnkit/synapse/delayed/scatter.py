"""Spikes of one step, added to the sums of the steps at which they arrive."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def arrive(x, weight, lag, bias, ring, position):
    """Add the inputs x [I] to a ring of sums [slots, O], and return what arrives now, and the bias [O].

    `weight` and `lag` are [I, K * O], the taps of all outputs in turn; slots is a power of two beyond the longest lag.
    `position` [1] moves on by one step.
    """
    slots, outputs = ring.shape
    now = position[0]
    for i in range(len(x)):
        value = x[i]
        if value != 0:
            for first in range(0, weight.shape[1], outputs):
                for o in range(outputs):
                    ring[(now + lag[i, first + o]) & (slots - 1), o] += weight[i, first + o] * value
    y = np.empty(outputs, ring.dtype)
    for o in range(outputs):
        y[o] = ring[now, o] + bias[o]
        ring[now, o] = 0
    position[0] = (now + 1) & (slots - 1)
    return y
