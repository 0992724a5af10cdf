"""Delay kernels: a real delay becomes a few weighted lags, the taps, through which its gradient flows.

`gauss` is the kernel of DCLS (Hammouamri, Khalfaoui-Hassani & Masquelier, Learning delays in spiking neural networks
using dilated convolutions with learnable spacings, ICLR 2024): a Gaussian, cut off at the window 0..max_delay and
normalised there. `linear` shares a spike between the two nearest steps. `integer` rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

OFFSET = 0.27
"""Added to `sigma` for the Gaussian's standard deviation, in steps."""

_NORMALISER = 1e-7
_REACH = 5.6
"""Standard deviations beyond which a Gaussian is below the precision of float32."""


@dataclass(frozen=True)
class Taps:
    """Weighted lags of every delay.

    Args:
        lags: steps, integer [..., S], within 0..max_delay.
        values: weight of each lag [..., S], differentiable with respect to the delay.
        live: the stretch of S whose values are not zero by construction; the rest carries gradients alone.
    """

    lags: Tensor
    values: Tensor
    live: slice


def gauss(delay: Tensor, max_delay: int, sigma: float) -> Taps:
    """Return a Gaussian around each delay, of standard deviation |sigma| + 0.27 steps.

    Args:
        delay: real delays in 0..max_delay, any shape.
        max_delay: longest delay in steps.
        sigma: width in steps, before the offset.
    """
    width = abs(sigma) + OFFSET
    lags = _around(delay, max_delay, math.ceil(_REACH * width))
    bell = torch.exp(-0.5 * ((lags - delay.unsqueeze(-1)) / width) ** 2)
    return Taps(lags, bell / (bell.sum(-1, keepdim=True) + _NORMALISER), slice(0, lags.shape[-1]))


def triangle(delay: Tensor, max_delay: int, sigma: float) -> Taps:
    """Return a triangle around each delay, 1 + sigma steps wide on either side, cut off at the window.

    Source: Queant, Rançon, Cottereau & Masquelier, DelRec: learning delays in recurrent spiking neural networks, 2025.
    """
    lags = _around(delay, max_delay, math.ceil(1 + sigma))
    height = (1 + sigma - (lags - delay.unsqueeze(-1)).abs()).clamp(min=0) / (1 + sigma) ** 2
    return Taps(lags, height, slice(0, lags.shape[-1]))


def linear(delay: Tensor, max_delay: int, sigma: float = 0.0) -> Taps:
    """Return the two steps around each delay, weighted by nearness; `sigma` has no meaning here."""
    first = delay.detach().floor().long().clamp(0, max(0, max_delay - 1))
    fraction = delay - first
    if max_delay == 0:
        return Taps(first.unsqueeze(-1), torch.ones_like(fraction).unsqueeze(-1), slice(0, 1))
    lags = torch.stack([first, first + 1], -1)
    return Taps(lags, torch.stack([1 - fraction, fraction], -1), slice(0, 2))


def integer(delay: Tensor, max_delay: int, sigma: float = 0.0) -> Taps:
    """Return the nearest step of each delay, halves to the even one; `sigma` has no meaning here.

    The gradient is the slope between the steps on either side, within the window.
    """
    nearest = delay.detach().round().long()
    if not delay.requires_grad or max_delay == 0:
        return Taps(nearest.unsqueeze(-1), torch.ones_like(delay).unsqueeze(-1), slice(0, 1))
    before, after = (nearest - 1).clamp(min=0), (nearest + 1).clamp(max=max_delay)
    slope = (delay - delay.detach()) / (after - before)
    return Taps(torch.stack([before, nearest, after], -1), torch.stack([-slope, 1 + 0 * slope, slope], -1), slice(1, 2))


def _around(delay: Tensor, max_delay: int, reach: int) -> Tensor:
    """Return all steps of 0..max_delay that are nearer to each delay than `reach`, and what fills them up to a row."""
    window = max_delay + 1
    size = min(window, 2 * reach)
    first = (delay.detach().floor().long() - reach + 1).clamp(0, window - size)
    return first.unsqueeze(-1) + torch.arange(size, device=delay.device)


KERNELS: dict[str, Callable[[Tensor, int, float], Taps]] = {
    "gauss": gauss,
    "triangle": triangle,
    "linear": linear,
    "integer": integer,
}
"""Delay kernels by name."""


def sigma_at(progress: float, *, start: float, end: float = 0.23, until: float = 0.25) -> float:
    """Return the width of `gauss` after a share of training: from `start` to `end` by a constant factor, then `end`.

    Args:
        progress: share of all epochs that are done, 0..1.
        start, end: widths in steps, before the offset.
        until: share of training after which the width stays.

    Example:
        >>> sigma_at(0.0, start=12.0), sigma_at(0.5, start=12.0)
        (12.0, 0.23)
    """
    if progress >= until or start <= end:
        return min(start, end)
    return start * (end / start) ** (progress / until)
