"""Teacher delays: random spikes in, the output of a layer of known weights and delays out, to be recovered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from snnkit.errors import InputError


@dataclass(frozen=True, eq=False)
class Teacher:
    """A layer whose synapses have planted delays: `y[t, b, o] = sum_i weight[o, i] * x[t - delay[o, i], b, i]`.

    Attributes:
        weight: float32 `[outputs, inputs]`; a synapse that is not there has weight 0.
        delay: int64 `[outputs, inputs]`, in steps.
        rate: chance that an input spikes in a step.
    Raises:
        InputError: weights and delays of other shapes or types, a negative delay, a rate beyond 0..1.

    Example:
        >>> teacher = draw(8, 4, generator=torch.Generator().manual_seed(0), max_delay=5)
        >>> x, y = teacher.sample(3, 20, generator=torch.Generator().manual_seed(1))
        >>> x.shape, y.shape, bool(torch.equal(teacher(x), y))
        (torch.Size([20, 3, 8]), torch.Size([20, 3, 4]), True)
    """

    weight: Tensor
    delay: Tensor
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.delay.shape != self.weight.shape or self.delay.dtype != torch.int64:
            raise InputError(
                f"weight has shape {list(self.weight.shape)}, delay {list(self.delay.shape)} of {self.delay.dtype}; "
                "both [outputs, inputs] are needed, the delays as int64"
            )
        if self.delay.numel() and int(self.delay.min()) < 0:
            raise InputError(f"the shortest delay is {int(self.delay.min())}; 0 steps or more are needed")
        if not 0 < self.rate <= 1:
            raise InputError(f"rate is {self.rate}; a chance above 0 and up to 1 is needed")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output `[T, B, outputs]` of an input `[T, B, inputs]`, silence before it."""
        if x.ndim != 3 or x.shape[2] != self.weight.shape[1]:
            raise InputError(f"x has shape {list(x.shape)}; [T, B, {self.weight.shape[1]}] is needed")
        y = x.new_zeros(*x.shape[:2], self.weight.shape[0])
        for delay in self.delay.unique().tolist():
            late = x[: max(0, len(x) - delay)]
            y[delay:] += late @ torch.where(self.delay == delay, self.weight, 0.0).to(x.dtype).T
        return y

    def sample(self, count: int, steps: int, *, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return random spikes and what the layer makes of them.

        Args:
            count: B.
            steps: T, longer than the longest delay.
            generator: what is drawn from, a CPU one.
        Returns:
            Spikes float32 `[T, B, inputs]`, 0 or 1, and targets float32 `[T, B, outputs]`.
        """
        longest = int(self.delay.max())
        if steps <= longest or count < 1:
            raise InputError(
                f"{count} samples of {steps} steps are asked for; at least 1 is needed, and more steps than the "
                f"longest delay, {longest}"
            )
        x = (torch.rand(steps, count, self.weight.shape[1], generator=generator) < self.rate).float()
        return x, self(x)

    def recovered(self, delay: Tensor, *, within: float = 1.0, least: float = 0.1) -> float:
        """Return the share of the synapses that matter whose delays were found.

        Args:
            delay: found delays, `[outputs, inputs]`, or with an axis of one tap after it, in steps.
            within: how far from the planted one, in steps, a found delay may be.
            least: a synapse matters whose weight is at least this share of the largest, by size.
        """
        found = delay.detach().reshape(self.delay.shape)
        matters = self.weight.abs() >= least * self.weight.abs().max()
        return float(((found - self.delay).abs() <= within)[matters].float().mean())


def draw(
    inputs: int,
    outputs: int,
    *,
    generator: Generator,
    max_delay: int = 24,
    density: float = 0.25,
    rate: float = 0.1,
) -> Teacher:
    """Draw a teacher.

    Args:
        inputs, outputs: sizes of the layer.
        generator: what is drawn from, a CPU one.
        max_delay: delays are as likely from 0 to this, in steps.
        density: share of the synapses that are there, the same number at every output, at least one; their weights
            have a size of 0.5 to 1, either sign, over the square root of that number.
        rate: chance that an input spikes in a step.
    Raises:
        InputError: sizes below 1, a negative delay, a density or rate beyond 0..1.
    """
    for name, value, low in (("inputs", inputs, 1), ("outputs", outputs, 1), ("max_delay", max_delay, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise InputError(f"{name} is {value!r}; a whole number of at least {low} is needed")
    if not 0 < density <= 1:
        raise InputError(f"density is {density}; a share above 0 and up to 1 is needed")
    kept = max(1, round(density * inputs))
    size = (0.5 + 0.5 * torch.rand(outputs, inputs, generator=generator)) / kept**0.5
    sign = 2.0 * torch.randint(2, (outputs, inputs), generator=generator) - 1
    there = torch.rand(outputs, inputs, generator=generator).argsort(dim=1).argsort(dim=1) < kept
    delay = torch.randint(max_delay + 1, (outputs, inputs), generator=generator)
    return Teacher(torch.where(there, size * sign, 0.0), delay, rate)
