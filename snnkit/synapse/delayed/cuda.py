"""Delayed sums on a GPU: shifted rows gathered by CUDA C through CuPy, for windows too long to convolve densely.

Samples lie side by side, [channels, steps, batch], so that neighbouring threads read neighbouring values; zeros around
the steps take the place of bounds. Compiled, cached and launched as the neurons' kernels are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from snnkit.codegen import c_source, cuda

STEPS = 8
"""Steps that a thread adds up for one sample and output."""

LANES = 32
"""Threads that share the samples of one tap's correlation."""

_BODY = f"""
SNNKIT_KERNEL snnkit_delayed_sum(
    const float* rows, const float* coefs, const long long* begins, float* sums,
    long long outputs, long long taps, long long steps, long long batch)
{{
    const long long tiles = (steps + {STEPS - 1}) / {STEPS};
    SNNKIT_COLUMNS(m, outputs * tiles * batch) {{
        const long long b = m % batch;
        const long long first = m / batch % tiles * {STEPS};
        const long long o = m / batch / tiles;
        float sum[{STEPS}] = {{}};
        for (long long s = 0; s < taps; ++s) {{
            const float coef = coefs[o * taps + s];
            const float* row = rows + (begins[o * taps + s] + first) * batch + b;
            for (int k = 0; k < {STEPS}; ++k) {{
                sum[k] += coef * row[k * batch];
            }}
        }}
        for (int k = 0; k < {STEPS}; ++k) {{
            if (first + k < steps) {{
                sums[(o * steps + first + k) * batch + b] = sum[k];
            }}
        }}
    }}
}}

SNNKIT_KERNEL snnkit_delayed_correlation(
    const float* rows, const float* grads, const long long* begins, float* totals,
    long long outputs, long long taps, long long steps, long long batch)
{{
    SNNKIT_COLUMNS(m, outputs * taps * {LANES}) {{
        const long long lane = m % {LANES};
        const long long place = m / {LANES};
        const float* row = rows + begins[place] * batch;
        const float* grad = grads + place / taps * steps * batch;
        float total = 0.0f;
        for (long long t = 0; t < steps; ++t) {{
            for (long long b = lane; b < batch; b += {LANES}) {{
                total += grad[t * batch + b] * row[t * batch + b];
            }}
        }}
        totals[place * {LANES} + lane] = total;
    }}
}}
"""


@dataclass(frozen=True)
class Program:
    """One of the two kernels."""

    name: str

    def source(self, target: str) -> str:
        """Return the source of both for a target, `cuda` or `host`."""
        return c_source.prelude(target) + _BODY


SUM, CORRELATION = Program("snnkit_delayed_sum"), Program("snnkit_delayed_correlation")


def forward(x: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return the output; arguments as in `cpu.forward`, float32 on a GPU."""
    steps = x.shape[0] - past
    rows = _rows(x, reach - past, -steps % STEPS)
    return _sum(rows, _begins(lags, rows, reach - lags), coefs, steps)


def backward_input(grad: Tensor, coefs: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return the gradient of x; arguments as in `cpu.backward_input`."""
    steps = past + grad.shape[0]
    rows = _rows(grad, past, reach + -steps % STEPS)
    lags = lags.transpose(1, 2)
    return _sum(rows, _begins(lags, rows, lags), coefs.transpose(1, 2), steps)


def backward_coefs(grad: Tensor, x: Tensor, lags: Tensor, past: int, reach: int) -> Tensor:
    """Return the gradient of coefs; arguments as in `cpu.backward_coefs`."""
    rows, grads = _rows(x, reach - past, 0), _rows(grad, 0, 0)
    begins = _begins(lags, rows, reach - lags)
    totals = rows.new_empty((*begins.shape, LANES))
    sizes = (*begins.shape, grads.shape[1], grads.shape[2])
    cuda.launch(CORRELATION, x.device, totals.numel(), [rows, grads, begins, totals, *sizes])
    return totals.sum(-1).reshape(lags.shape)


def _rows(x: Tensor, before: int, after: int) -> Tensor:
    """Return [channels, before + T + after, B] of x [T, B, channels], zeros around."""
    return functional.pad(x.permute(2, 0, 1), (0, 0, before, after)).contiguous()


def _begins(lags: Tensor, rows: Tensor, shift: Tensor) -> Tensor:
    """Return the row where each tap of each output begins [G * O, I * R]."""
    G, O, I, R = lags.shape
    group = torch.arange(G, device=lags.device).view(-1, 1, 1, 1) * I
    channel = group + torch.arange(I, device=lags.device).view(-1, 1)
    return (channel * rows.shape[1] + shift).reshape(G * O, I * R).contiguous()


def _sum(rows: Tensor, begins: Tensor, coefs: Tensor, steps: int) -> Tensor:
    batch = rows.shape[2]
    sums = rows.new_empty((len(begins), steps, batch))
    weights = coefs.reshape(begins.shape).contiguous()
    columns = len(begins) * -(-steps // STEPS) * batch
    cuda.launch(SUM, rows.device, columns, [rows, weights, begins, sums, *begins.shape, steps, batch])
    return sums.permute(1, 2, 0).contiguous()
