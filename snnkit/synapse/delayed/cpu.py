"""Delayed sums on the CPU: weighted shifted rows, with no kernel tensor and no work for the taps between the lags.

Eight samples lie side by side, so that a shift in time is a shift by whole vectors: [groups, channels, steps, 8].
One input row is read for each tap, eight taps at a time, while a block of inputs stays in the first-level cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from snnkit.arrays import empty
from snnkit.threads import split

LANES = 8
"""Samples side by side."""

_FLAGS = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
_STREAMS = 8
_TILE = 64
"""Output rows that are worked on before the next inputs are read."""

_SMALL = 1 << 18
"""Multiplications below which one thread is faster than several."""


def forward(x: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return y[t, b, (g, o)] = sum over i and taps r of coefs[g, o, i, r] * x[t - lags[g, o, i, r], b, (g, i)].

    Args:
        x: input [past + T, B, G * I]; the first `past` steps come before the first output, zeros before them.
        coefs, lags: weights and steps [G, O, I, R]; lags within 0..reach.
        past: steps of history in x.
        reach: longest lag.
    Returns:
        Output [T, B, G * O].
    """
    steps = x.shape[0] - past
    rows = _pack(x, reach - past, 0)
    y = _sum(rows, _offsets(lags, rows, -lags, reach), coefs.flatten(0, 1).flatten(1), steps)
    return _unpack(y, x.shape[1])


def backward_input(grad: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return the gradient of x [past + T, B, G * I] from that of y [T, B, G * O]; arguments as in `forward`."""
    rows = _pack(grad, past, reach)
    lags, coefs = lags.transpose(1, 2), coefs.transpose(1, 2)
    total = _sum(rows, _offsets(lags, rows, lags, 0), coefs.flatten(0, 1).flatten(1), past + grad.shape[0])
    return _unpack(total, grad.shape[1])


def backward_coefs(grad: Tensor, x: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return the gradient of coefs [G, O, I, R]: the input's correlation with the output's gradient at the lags."""
    rows, outer = _pack(x, reach - past, 0), _pack(grad, 0, 0)
    offsets = _offsets(lags, rows, -lags, reach)
    total = np.empty(offsets.shape, np.float64 if x.dtype == torch.float64 else np.float32)
    arrays = rows.numpy().reshape(len(rows), -1), offsets, outer.numpy().reshape(len(outer), outer.shape[1], -1)
    work = offsets.size * arrays[2].shape[2] * len(rows)
    most = 1 if work < _SMALL else None
    split(lambda low, high: _correlate(*arrays, total, low, high), len(offsets), most=most, grain=_STREAMS)
    return torch.from_numpy(total[:, : lags.shape[2] * lags.shape[3]]).reshape(lags.shape)


def events(x: Tensor, weight: Tensor, lag: Tensor, past: int, reach: int) -> Tensor:
    """Return `forward` for one lag per synapse and spikes of 0 and 1, at a cost of one addition per spike and synapse.

    Spikes are packed to 64 steps a word. Arguments as in `forward`, but weight and lag are [O, I].
    """
    T, B, _ = x.shape
    steps = T - past
    bits = _bits(x.permute(1, 2, 0).contiguous().numpy())
    y = empty((B, weight.shape[0], T + reach), x.dtype)
    arrays = bits, weight.t().contiguous().numpy(), lag.t().to(torch.int32).contiguous().numpy(), y.numpy()
    split(lambda low, high: _scatter(*arrays, low, high), B * -(-weight.shape[0] // _SCATTERED))
    return y[:, :, past : past + steps].permute(2, 0, 1).contiguous()


def rolling(line: Tensor, coefs: Tensor, lags: Tensor, reach: int) -> Callable[[int], Tensor]:
    """Return a function from a step to `forward` at that step, of rows whose later ones need not be there yet.

    Args:
        line: input [reach + T, G * I, B]; the first `reach` rows come before the first step.
        coefs, lags, reach: as in `forward`.
    """
    G, O, I, R = lags.shape
    _, channels, batch = line.shape
    channel = torch.arange(channels).view(G, 1, I, 1)
    begin = (((reach - lags) * channels + channel) * batch).reshape(G * O, I * R)
    offsets, weights = _rounded(begin).numpy(), _rounded(coefs.detach().reshape(G * O, I * R)).numpy()
    flat, tiles = line.numpy().reshape(1, -1), -(-len(offsets) // _TILE)
    most = 1 if offsets.size * batch < _SMALL else None

    def total(step: int) -> Tensor:
        y = torch.empty((len(offsets), batch), dtype=line.dtype)
        arrays = flat[:, step * channels * batch :], offsets, weights, y.numpy()[None]
        split(lambda low, high: _accumulate(*arrays, tiles, low, high), tiles, most=most)
        return y

    return total


def _pack(x: Tensor, before: int, after: int) -> Tensor:
    """Return [groups, channels, before + T + after, lanes] of x [T, B, channels], zeros around; before may be < 0."""
    if before < 0:
        x, before = x[-before:], 0
    T, B, C = x.shape
    lanes = LANES if B >= LANES // 2 else 1
    packed = empty((-(-B // lanes), C, before + T + after, lanes), x.dtype)
    arrays = x.contiguous().numpy(), packed.numpy()
    split(lambda low, high: _fill(*arrays, before, low, high), len(packed) * C, most=_threads(x), grain=1)
    return packed


def _unpack(packed: Tensor, batch: int) -> Tensor:
    """Return [T, B, channels] of [groups, channels, T, lanes]."""
    y = empty((packed.shape[2], batch, packed.shape[1]), packed.dtype)
    arrays = packed.numpy(), y.numpy()
    split(lambda low, high: _spread(*arrays, low, high), packed.shape[2], most=_threads(y))
    return y


def _threads(x: Tensor) -> int | None:
    return 1 if x.numel() < _SMALL else None


def _offsets(lags: Tensor, rows: Tensor, shift: Tensor, start: int) -> np.ndarray:
    """Return where each tap of each output begins in a group of packed rows [G * O, I * R, rounded up to 8]."""
    G, O, I, R = lags.shape
    steps, lanes = rows.shape[2:]
    channel = torch.arange(G).view(-1, 1, 1, 1) * I + torch.arange(I).view(-1, 1)
    begin = ((channel * steps + start + shift) * lanes).reshape(G * O, I * R)
    return _rounded(begin).numpy()


def _rounded(streams: Tensor) -> Tensor:
    return torch.nn.functional.pad(streams, (0, -streams.shape[1] % _STREAMS)).contiguous()


def _sum(rows: Tensor, offsets: np.ndarray, coefs: Tensor, steps: int) -> Tensor:
    groups, lanes = len(rows), rows.shape[3]
    y = empty((groups, len(offsets), steps, lanes), rows.dtype)
    weights = _rounded(coefs.detach().to(rows.dtype)).numpy()
    arrays = rows.numpy().reshape(groups, -1), offsets, weights, y.numpy().reshape(groups, len(offsets), -1)
    tiles = -(-len(offsets) // _TILE)
    most = 1 if y.numel() * offsets.shape[1] < _SMALL else None
    split(lambda low, high: _accumulate(*arrays, tiles, low, high), groups * tiles, most=most)
    return y


@numba.njit(**_FLAGS)
def _accumulate(x, offsets, coefs, y, tiles, low, high):
    size = y.shape[2]
    for item in range(low, high):
        g = item // tiles
        first = (item % tiles) * _TILE
        last = min(first + _TILE, len(offsets))
        y[g, first:last] = 0
        for s in range(0, offsets.shape[1], _STREAMS):
            for o in range(first, last):
                row = y[g, o]
                begin, w = offsets[o, s : s + _STREAMS], coefs[o, s : s + _STREAMS]
                x0, x1 = x[g, begin[0] : begin[0] + size], x[g, begin[1] : begin[1] + size]
                x2, x3 = x[g, begin[2] : begin[2] + size], x[g, begin[3] : begin[3] + size]
                x4, x5 = x[g, begin[4] : begin[4] + size], x[g, begin[5] : begin[5] + size]
                x6, x7 = x[g, begin[6] : begin[6] + size], x[g, begin[7] : begin[7] + size]
                w0, w1, w2, w3, w4, w5, w6, w7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
                for k in range(size):
                    near = w0 * x0[k] + w1 * x1[k] + w2 * x2[k] + w3 * x3[k]
                    row[k] += near + w4 * x4[k] + w5 * x5[k] + w6 * x6[k] + w7 * x7[k]


@numba.njit(**_FLAGS)
def _correlate(x, offsets, grad, total, low, high):
    size = grad.shape[2]
    zero = total.dtype.type(0)
    total[low:high] = 0
    for g in range(len(x)):
        for first in range(low, high, _TILE):
            for s in range(0, offsets.shape[1], _STREAMS):
                for o in range(first, min(first + _TILE, high)):
                    row = grad[g, o]
                    begin = offsets[o, s : s + _STREAMS]
                    x0, x1 = x[g, begin[0] : begin[0] + size], x[g, begin[1] : begin[1] + size]
                    x2, x3 = x[g, begin[2] : begin[2] + size], x[g, begin[3] : begin[3] + size]
                    x4, x5 = x[g, begin[4] : begin[4] + size], x[g, begin[5] : begin[5] + size]
                    x6, x7 = x[g, begin[6] : begin[6] + size], x[g, begin[7] : begin[7] + size]
                    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = zero
                    for k in range(size):
                        c0 += row[k] * x0[k]
                        c1 += row[k] * x1[k]
                        c2 += row[k] * x2[k]
                        c3 += row[k] * x3[k]
                        c4 += row[k] * x4[k]
                        c5 += row[k] * x5[k]
                        c6 += row[k] * x6[k]
                        c7 += row[k] * x7[k]
                    out = total[o, s : s + _STREAMS]
                    out[0] += c0
                    out[1] += c1
                    out[2] += c2
                    out[3] += c3
                    out[4] += c4
                    out[5] += c5
                    out[6] += c6
                    out[7] += c7


@numba.njit(**_FLAGS)
def _fill(x, packed, before, low, high):
    T, B, C = x.shape
    lanes = packed.shape[3]
    for first in range(low, high, 16):
        last = min(high, first + 16)
        for item in range(first, last):
            packed[item // C, item % C, :before] = 0
            packed[item // C, item % C, before + T :] = 0
        for t in range(T):
            for item in range(first, last):
                g, c = item // C, item % C
                row = packed[g, c, before + t]
                for lane in range(lanes):
                    b = g * lanes + lane
                    row[lane] = x[t, b, c] if b < B else 0


@numba.njit(**_FLAGS)
def _spread(packed, y, low, high):
    B, C = y.shape[1:]
    lanes = packed.shape[3]
    for g in range(len(packed)):
        for first in range(0, C, 16):
            columns = packed[g, first : first + 16]
            for t in range(low, high):
                for lane in range(min(lanes, B - g * lanes)):
                    row = y[t, g * lanes + lane, first : first + 16]
                    for c in range(len(row)):
                        row[c] = columns[c, t, lane]


_SCATTERED = 32
"""Output rows that spikes are scattered to at a time, so that they stay in the first-level cache."""


@intrinsic
def _lowest(context: Any, word: Any) -> Any:
    """Return the place of the lowest bit of a word that is not 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.uint64(types.uint64), build


@numba.njit(**_FLAGS)
def _bits(x):
    B, I, T = x.shape
    bits = np.zeros((B, I, -(-T // 64)), np.uint64)
    for b in range(B):
        for i in range(I):
            for t in range(T):
                if x[b, i, t] != 0:
                    bits[b, i, t // 64] |= np.uint64(1) << np.uint64(t % 64)
    return bits


@numba.njit(**_FLAGS)
def _scatter(bits, weight, lag, y, low, high):
    outputs = y.shape[1]
    tiles = -(-outputs // _SCATTERED)
    times = np.empty(bits.shape[2] * 64, np.int64)
    for item in range(low, high):
        b, first = item // tiles, (item % tiles) * _SCATTERED
        last = min(first + _SCATTERED, outputs)
        y[b, first:last] = 0
        for i in range(bits.shape[1]):
            count = 0
            for part in range(bits.shape[2]):
                word = bits[b, i, part]
                while word != 0:
                    times[count] = part * 64 + np.int64(_lowest(word))  # pyright: ignore[reportCallIssue]
                    word &= word - np.uint64(1)
                    count += 1
            if count:
                for o in range(first, last):
                    row, w, d = y[b, o], weight[i, o], lag[i, o]
                    for k in range(count):
                        row[times[k] + d] += w
