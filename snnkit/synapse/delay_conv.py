"""Convolutions over space whose connections have learnable delays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from snnkit.errors import InputError
from snnkit.synapse.delay import Delayed


class _DelayConv(Delayed):
    """A convolution over the last axes of [T, B, channels, space…]."""

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        max_delay: int = 24,
        kind: str = "synaptic",
        taps: int = 1,
        kernel: str = "gauss",
        learn: bool = True,
        bias: bool = False,
        backend: str = "auto",
        tail: int = 0,
    ) -> None:
        sizes = self._each(kernel_size, "kernel_size", 1)
        options = {"kind": kind, "taps": taps, "kernel": kernel, "learn": learn, "bias": bias, "backend": backend}
        super().__init__((n_outputs, n_inputs, *sizes), max_delay=max_delay, options=options | {"tail": tail})
        self.kernel_size = sizes
        self.stride = self._each(stride, "stride", 1)
        self.padding = self._each(padding, "padding", 0)

    def fan_out(self, shape: Sequence[int]) -> Tensor:
        """Return the synapses that a spike of each input reaches, in the shape of one input [channels, space…]."""
        probe = torch.ones(1, *shape, requires_grad=True)
        ones = torch.ones(self.n_outputs * self.taps, self.n_inputs, *self.kernel_size)
        with torch.enable_grad():
            (reached,) = torch.autograd.grad(self._convolve(probe, ones).sum(), probe)
        return reached[0]

    @classmethod
    def _each(cls, value: int | Sequence[int], name: str, low: int) -> tuple[int, ...]:
        sizes = (value,) * cls.axes if isinstance(value, int) else tuple(value)
        if len(sizes) != cls.axes or not all(isinstance(size, int) and size >= low for size in sizes):
            raise InputError(f"{name} is {value!r}; a whole number of at least {low} is needed, or one for each axis")
        return sizes

    def _rows(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        around = [side for size in reversed(self.padding) for side in (size, size)]
        patches = functional.pad(x, around)
        for axis, (size, stride) in enumerate(zip(self.kernel_size, self.stride, strict=True)):
            patches = patches.unfold(3 + axis, size, stride)
        # [T, B, channels, space…, kernel…] to [T, B * space, channels * kernel]
        space, batch = patches.shape[3 : 3 + self.axes], x.shape[1]
        patches = patches.movedim(2, 2 + self.axes)
        rows = patches.reshape(len(x), batch * space.numel(), -1)
        return rows, lambda y: y.unflatten(1, (batch, -1)).transpose(2, 3).unflatten(3, space)

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._convolve(x.flatten(0, 1), weight.to(x.dtype)).unflatten(0, x.shape[:2])

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        convolution: Any = (functional.conv1d, functional.conv2d)[self.axes - 1]
        return convolution(x, weight, stride=self.stride, padding=self.padding)


class DelayConv1d(_DelayConv):
    """A convolution over length whose synapses have learnable delays.

    Args:
        n_inputs, n_outputs: channels in and out.
        kernel_size, stride, padding: along the length, as in `torch.nn.Conv1d`.
        others: as in `DelayLinear`; `synaptic` delays are one for each weight, shared by all places.

    Shapes:
        input [T, B, n_inputs, length]; `weight` [n_outputs, n_inputs, kernel_size, taps]; `delay` the same, or
        [n_inputs, taps], or [n_outputs, taps], in steps.

    Example:
        >>> layer = DelayConv1d(2, 8, 5, padding=2, max_delay=10)
        >>> y = layer(torch.rand(20, 4, 2, 32))

    Source: Khalfaoui-Hassani, Pellegrini & Masquelier, Dilated convolution with learnable spacings, ICLR 2023.
    """

    axes = 1


class DelayConv2d(_DelayConv):
    """A convolution over height and width whose synapses have learnable delays; see `DelayConv1d`.

    Shapes:
        input [T, B, n_inputs, height, width]; `weight` [n_outputs, n_inputs, kernel height, kernel width, taps].

    Example:
        >>> layer = DelayConv2d(2, 8, 3, padding=1, max_delay=10, kind="axonal")
        >>> y = layer(torch.rand(20, 4, 2, 16, 16))
    """

    axes = 2
