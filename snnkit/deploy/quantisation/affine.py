"""What lies between two layers of neurons, as one weight for every pair, or as one convolution.

Every module of such a chain is affine while it is evaluated: its value at 0 is the bias, and the rest is a matrix.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnkit.convert.shapes import misfit
from snnkit.errors import InputError
from snnkit.synapse import Delayed

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
SHAPES = (nn.Flatten, nn.Unflatten)
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
AFFINE = (*LINEAR, *NORMS, *MEANS, *SHAPES, *NOTHING, Delayed)

_CHUNK = 256
_LARGEST = 2**25
_CLOSE = 1e-9


@dataclass(frozen=True, eq=False)
class Geometry:
    """How a convolution moves over `size`, channels, height and width; as `snnkit.deploy.Conv`."""

    size: tuple[int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True, eq=False)
class Weights:
    """Real weights between populations, float64.

    Args:
        weight: [outputs, inputs], or with a geometry [channels out, channels in / groups, height, width].
        delay: of each pair, in steps, or None.
        geometry: of a convolution, or None.
    """

    weight: np.ndarray
    delay: np.ndarray | None = None
    geometry: Geometry | None = None

    @property
    def kernel(self) -> Tensor:
        """The weight as a tensor."""
        return torch.from_numpy(self.weight)


class Scale(nn.Module):
    """Multiplication of every feature by a number of its own."""

    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, features…] times the factors, which broadcast to the features."""
        return x * self.factor


class _Norm(nn.Module):
    """Batch normalisation by its running statistics, without its shift: a factor for each channel."""

    factor: Tensor

    def __init__(self, module: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        assert module.running_var is not None
        factor = (module.running_var.double() + module.eps).rsqrt()
        self.factor = factor if module.weight is None else factor * module.weight.detach().double()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor.view(-1, *[1] * (x.ndim - 2))


class _Undelayed(nn.Module):
    """A layer with delays at some of its weights, without time."""

    def __init__(self, layer: Delayed, weight: Tensor) -> None:
        super().__init__()
        self.layer, self.weight = [layer], weight

    def forward(self, x: Tensor) -> Tensor:
        return self.layer[0]._product(x.unsqueeze(0), self.weight)[0]


def bias(chain: Sequence[tuple[str, nn.Module]], shape: Sequence[int]) -> Tensor:
    """Return what a chain of named modules makes of no input [features…], float64.

    Raises:
        InputError: a module that does not take what comes before it.
    """
    x = torch.zeros(1, *shape, dtype=torch.float64)
    for name, module in chain:
        try:
            x = _silent(module, x)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise misfit(name, module, x.shape[1:]) from error
    return x[0].detach()


def _silent(module: nn.Module, x: Tensor) -> Tensor:
    """Return what a module makes of a constant input [1, features…]."""
    if not isinstance(module, Delayed):
        return copy.deepcopy(module).double().eval()(x)
    y = _Undelayed(module, module.weight.detach().double().sum(-1))(x)
    return y if module.bias is None else y + module.bias.detach().double().view(-1, *[1] * module.axes)


def weights(chain: Sequence[nn.Module], shape: Sequence[int], *, where: str, longest: int) -> tuple[Weights, ...]:
    """Return the weights of a chain: several sets only where a pair has several delays.

    Args:
        chain: modules of `AFFINE`, or `Scale`.
        shape: features that come in.
        where: its name, for messages.
        longest: the longest delay that the chip takes.
    Raises:
        InputError: two layers with delays in a row, delays that are too long, or more pairs than can be listed.
    """
    delayed = [module for module in chain if isinstance(module, Delayed)]
    if len(delayed) > 1:
        raise InputError(f"layer {where!r}: two layers with delays follow each other; put neurons between them")
    if delayed:
        return _with_delays(chain, delayed[0], shape, where=where, longest=longest)
    parts = [_unbiased(module) for module in chain]
    found = _convolution(parts, shape)
    return (Weights(_matrix(parts, shape, where)) if found is None else found,)


def _unbiased(module: nn.Module) -> nn.Module:
    if isinstance(module, NORMS):
        return _Norm(module)
    module = copy.deepcopy(module).double().eval()
    if isinstance(module, LINEAR):
        module.register_parameter("bias", None)
    return module


def _through(parts: Iterable[nn.Module], x: Tensor) -> Tensor:
    with torch.no_grad():
        for part in parts:
            x = part(x)
    return x


def _matrix(parts: Sequence[nn.Module], shape: Sequence[int], where: str) -> np.ndarray:
    """Return [outputs, inputs]: what each input alone makes of the outputs."""
    inputs = math.prod(shape)
    outputs = _through(parts, torch.zeros(1, *shape, dtype=torch.float64)).numel()
    if inputs * outputs > _LARGEST:
        raise InputError(
            f"layer {where!r} connects {inputs} with {outputs} neurons in a way that the chip has no convolution for, "
            f"and {inputs * outputs:,} pairs are more than {_LARGEST:,}: use nn.Conv2d with zero padding and without "
            "delays, pool before it without overlap, or make the layer smaller"
        )
    found = np.empty((outputs, inputs))
    for first in range(0, inputs, _CHUNK):
        end = min(first + _CHUNK, inputs)
        alone = functional.one_hot(torch.arange(first, end), inputs).double().view(-1, *shape)
        found[:, first:end] = _through(parts, alone).flatten(1).T.numpy()
    return found


def _with_delays(
    chain: Sequence[nn.Module], layer: Delayed, shape: Sequence[int], *, where: str, longest: int
) -> tuple[Weights, ...]:
    """Return sets of weights with at most one delay for each pair."""
    weight = layer.weight.detach().double()
    outputs, inputs, *space, taps = weight.shape
    ones = [1] * len(space)
    views = {"synaptic": weight.shape, "axonal": (1, inputs, *ones, taps), "dendritic": (outputs, 1, *ones, taps)}
    delay = layer.rounded().cpu().view(views[layer.kind]).expand(weight.shape).clamp(max=longest)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for steps in delay.unique().tolist():
        masked = torch.where(delay == steps, weight, 0.0).sum(-1)
        parts = [_Undelayed(layer, masked) if m is layer else _unbiased(m) for m in chain]
        left = _matrix(parts, shape, where)
        for held, when in found:
            free = (left != 0) & (held == 0)
            held[free], when[free], left[free] = left[free], steps, 0.0
        if not found or left.any():
            found.append((left, np.where(left != 0, steps, 0).astype(np.int32)))
    return tuple(Weights(held, when) for held, when in found)


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A convolution, or a factor or mean for each channel: `weight` [out, in / groups, height, width]."""

    weight: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def channelwise(self) -> bool:
        return self.weight.shape[1] == 1 and self.groups == self.weight.shape[0]

    @property
    def point(self) -> bool:
        return tuple(self.weight.shape[2:]) == (1, 1) == self.stride and self.padding == (0, 0)


def _convolution(parts: Sequence[nn.Module], shape: Sequence[int]) -> Weights | None:
    """Return a chain as one convolution where it is one, else None."""
    if len(shape) != 3:
        return None
    whole: _Kernel | None = None
    x = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = _through(parts, x)
    seen = shape[0]
    for part in parts:
        if isinstance(part, (*NOTHING, nn.Flatten)):
            continue
        kernel = _kernel(part, seen)
        whole = kernel if whole is None or kernel is None else _composed(whole, kernel)
        if whole is None:
            return None
        seen = whole.weight.shape[0]
    if whole is None:
        return None
    height, width = shape[1:]
    geometry = Geometry((shape[0], height, width), whole.stride, whole.padding, whole.dilation, whole.groups)
    again = functional.conv2d(x, whole.weight, None, whole.stride, whole.padding, whole.dilation, whole.groups)
    # Pooling that drops a rim or overlaps is no convolution where padding follows: then the numbers differ.
    if again.numel() != y.numel() or not torch.allclose(again.flatten(), y.flatten(), rtol=_CLOSE, atol=_CLOSE):
        return None
    return Weights(whole.weight.contiguous().numpy(), None, geometry)


def _kernel(part: nn.Module, channels: int) -> _Kernel | None:
    if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros":
        padding = _padding(part)
        if padding is None:
            return None
        return _Kernel(part.weight.detach(), _pair(part.stride), padding, _pair(part.dilation), part.groups)
    if isinstance(part, nn.AvgPool2d):
        size, stride = _pair(part.kernel_size), _pair(part.stride)
        mean = torch.full((channels, 1, *size), 1 / math.prod(size), dtype=torch.float64)
        return _Kernel(mean, stride, _pair(part.padding), (1, 1), channels)
    if isinstance(part, _Norm | Scale):
        factor = part.factor.flatten()
        if len(factor) in (1, channels):
            factor = factor.expand(channels).reshape(channels, 1, 1, 1)
            return _Kernel(factor, (1, 1), (0, 0), (1, 1), channels)
    return None


def _padding(part: nn.Conv2d) -> tuple[int, int] | None:
    """Return how far a convolution pads above and to the left; None where that is less than below and to the right."""
    if not isinstance(part.padding, str):
        return _pair(part.padding)
    if part.padding == "valid":
        return 0, 0
    high, wide = (d * (k - 1) for d, k in zip(_pair(part.dilation), _pair(part.kernel_size), strict=True))
    return None if high % 2 or wide % 2 else (high // 2, wide // 2)


def _composed(first: _Kernel, then: _Kernel) -> _Kernel | None:
    """Return one kernel for two in a row, where the first is channelwise, or the second a factor for each channel."""
    if then.channelwise and then.point:
        factor = then.weight.view(-1, 1, 1, 1)
        return _Kernel(first.weight * factor, first.stride, first.padding, first.dilation, first.groups)
    if not first.channelwise:
        return None
    outputs, inputs, *size = then.weight.shape
    factors = first.weight.view(then.groups, 1, inputs, *first.weight.shape[2:])
    if first.point:
        scaled = then.weight.view(then.groups, -1, inputs, *size) * factors
        return _Kernel(scaled.view(then.weight.shape), then.stride, then.padding, then.dilation, then.groups)
    step = tuple(d * s for d, s in zip(then.dilation, first.stride, strict=True))
    small = first.weight.shape[2:]
    wide = [(k - 1) * d + m for k, d, m in zip(size, step, small, strict=True)]
    weight = then.weight.new_zeros(then.groups, outputs // then.groups, inputs, *wide)
    grouped = then.weight.view(then.groups, -1, inputs, *size)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row * step[0], column * step[1]
            part = grouped[..., row, column, None, None] * factors
            weight[..., y : y + small[0], x : x + small[1]] += part
    stride = _product(then.stride, first.stride)
    padding = tuple(p + q * s for p, q, s in zip(first.padding, then.padding, first.stride, strict=True))
    return _Kernel(weight.view(outputs, inputs, *wide), stride, (padding[0], padding[1]), (1, 1), then.groups)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _product(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] * b[0], a[1] * b[1]
