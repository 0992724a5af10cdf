"""One delayed sum to compute."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.synapse.taps import Taps


@dataclass(frozen=True)
class Problem:
    """y[t, b, (g, o)] = sum over i, k, s of weight[g, o, i, k] * values[g, o, i, k, s] * x[t - lags[g, o, i, k, s]].

    Args:
        x: input [past + T, B, G * I]; its first `past` steps come before the first output, zeros before them.
        weight: [G, O, I, K].
        taps: lags and values [G, O, I, K, S]; leading axes may be of size 1.
        reach: longest lag in steps.
        past: steps of history in x, 0..reach.
        sigma: width of the Gaussian that all taps were made with; None for another kernel.
    """

    x: Tensor
    weight: Tensor
    taps: Taps
    reach: int
    past: int = 0
    sigma: float | None = None

    @property
    def steps(self) -> int:
        """Steps of the output."""
        return self.x.shape[0] - self.past

    @property
    def live(self) -> int:
        """Taps of one pair of an input and an output that are not zero by construction."""
        return self.weight.shape[3] * len(range(*self.taps.live.indices(self.taps.lags.shape[-1])))

    @property
    def pairs(self) -> int:
        """Pairs of an input and an output."""
        return self.weight[..., 0].numel()

    @property
    def products(self) -> float:
        """Multiplications of a sum with one tap for each pair."""
        return float(self.steps) * self.x.shape[1] * self.pairs

    @property
    def learning(self) -> bool:
        """Whether a gradient will be asked for."""
        parts = (self.x, self.weight, self.taps.values)
        return torch.is_grad_enabled() and any(part.requires_grad for part in parts)

    def coefs(self) -> tuple[Tensor, Tensor]:
        """Return weight times value, and lag, of every tap [G, O, I, K * S]."""
        full = (*self.weight.shape, self.taps.lags.shape[-1])
        coefs = self.weight.unsqueeze(-1) * self.taps.values
        return coefs.expand(full).flatten(3), self.taps.lags.expand(full).flatten(3)

    def window(self) -> Tensor:
        """Return the dense kernel [G, O, I, 1 + reach], by lag."""
        coefs, lags = self.coefs()
        size = self.taps.lags.shape[-1]
        if size == self.reach + 1 and self.sigma is not None:
            return coefs.unflatten(3, (-1, size)).sum(3)
        return coefs.new_zeros((*coefs.shape[:3], self.reach + 1)).scatter_add(3, lags, coefs)
