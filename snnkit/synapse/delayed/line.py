"""A delayed sum one step at a time, on the CPU, for a layer that hears itself and has to know each of its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from snnkit.arrays import empty
from snnkit.synapse.delayed import cpu

_DENSE = 0.3
"""Share of the window's lags from which on one product over all of them is faster than their sum."""


@dataclass(frozen=True)
class Line:
    """A delayed sum of signals [B, channels], with products ahead of it and behind it.

    Args:
        coefs, lags: weight and steps of every tap [G, O, I, R].
        reach: longest lag.
        before, after: matrices that are applied ahead of the sum, and behind it.
    """

    coefs: Tensor
    lags: Tensor
    reach: int
    before: Tensor | None = None
    after: Tensor | None = None

    def adjoint(self) -> Line:
        """Return the line that takes gradients back, for steps that run backward."""
        before, after = (None if matrix is None else matrix.t() for matrix in (self.after, self.before))
        return Line(self.coefs.transpose(1, 2), self.lags.transpose(1, 2), self.reach, before, after)

    def run(self, steps: int, batch: int, history: Tensor | None = None) -> Callable[[int, Tensor], Tensor]:
        """Return a function from a step and its signal [B, channels] to the sum [B, channels].

        Args:
            steps: how many there will be; each is taken once, in turn.
            batch: B.
            history: signals before the first step [B, reach, channels]; silence if None.
        """
        G, _, I, R = self.lags.shape
        # The samples lie side by side, so that a delay is a shift by whole rows.
        line = empty((self.reach + steps, G * I, batch), self.coefs.dtype)
        line[: self.reach] = 0 if history is None else self._enter(history.permute(1, 2, 0))
        wide = G == 1 and R > 1 and _DENSE * (self.reach + 1) <= R
        total = self._window(line) if wide else cpu.rolling(line, self.coefs, self.lags, self.reach)

        def hear(step: int, signal: Tensor) -> Tensor:
            line[self.reach + step] = self._enter(signal.t())
            y = total(step).t()
            return y if self.after is None else functional.linear(y, self.after)

        return hear

    def _enter(self, rows: Tensor) -> Tensor:
        return rows if self.before is None else self.before @ rows

    def _window(self, line: Tensor) -> Callable[[int], Tensor]:
        """Return the sum at a step as a product with all rows of the window at once."""
        (coefs,), (lags,), size = self.coefs, self.lags, self.reach + 1
        window = coefs.new_zeros((*coefs.shape[:2], size)).scatter_add(2, self.reach - lags, coefs)
        matrix = window.transpose(1, 2).flatten(1)
        return lambda step: matrix @ line[step : step + size].view(matrix.shape[1], -1)
