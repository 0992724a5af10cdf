"""Synapses: a full matrix, a list, or a convolution, in whole numbers; and the checks that integer networks share.

Every array is NumPy's int32, and can only be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from snnkit.errors import InputError

LONGEST = 62
"""The longest delay, in steps, that every tool and chip takes."""

_WIDEST = 2**20
"""The largest weight of a convolution, whose sums over graded inputs are then exact in float64."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A weight, and a delay, for every pair: `weight` [outputs, inputs] and `delay` alike, in steps, or None."""

    weight: np.ndarray
    delay: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", integers(self.weight, "the weight of Dense"))
        _check_rank(self.weight, "the weight of Dense", 2)
        _check_delay(self, self.weight.shape)

    @property
    def n_outputs(self) -> int:
        """Neurons that it reaches."""
        return self.weight.shape[0]

    @property
    def n_inputs(self) -> int:
        """Neurons or inputs that it comes from."""
        return self.weight.shape[1]


@dataclass(frozen=True, eq=False)
class Sparse:
    """Synapses in a list, by rows (CSR): those of output o are at `start[o]:start[o + 1]` of the other arrays.

    Args:
        n_inputs: neurons or inputs that it comes from.
        start: [outputs + 1].
        source: the input of each synapse, ascending within an output.
        weight: of each synapse.
        delay: of each synapse, in steps, or None.
    """

    n_inputs: int
    start: np.ndarray
    source: np.ndarray
    weight: np.ndarray
    delay: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("start", "source", "weight"):
            object.__setattr__(self, name, integers(getattr(self, name), f"{name} of Sparse"))
            _check_rank(getattr(self, name), f"{name} of Sparse", 1)
        whole_number(self.n_inputs, "n_inputs of Sparse", 1)
        count = len(self.weight)
        rising = (
            len(self.start) > 1 and self.start[0] == 0 and self.start[-1] == count and (np.diff(self.start) >= 0).all()
        )
        if not rising or len(self.source) != count:
            raise InputError(f"start of Sparse must rise from 0 to {count}, the synapses, with one source for each")
        if count and (self.source.min() < 0 or self.source.max() >= self.n_inputs):
            raise InputError(f"a source of Sparse is outside 0..{self.n_inputs - 1}")
        key = np.repeat(np.arange(self.n_outputs), np.diff(self.start)).astype(np.int64) * self.n_inputs + self.source
        if (np.diff(key) <= 0).any():
            raise InputError("sources of Sparse must ascend within an output, each at most once")
        _check_delay(self, self.weight.shape)

    @property
    def n_outputs(self) -> int:
        """Neurons that it reaches."""
        return len(self.start) - 1


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution over space as torch's: `weight` [channels out, channels in / groups, height, width].

    Args:
        weight: the kernels.
        size: channels, height and width of its input.
        stride, padding, dilation: for height and width.
        groups: of channels.
    """

    weight: np.ndarray
    size: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", integers(self.weight, "the weight of Conv", -_WIDEST, _WIDEST))
        _check_rank(self.weight, "the weight of Conv", 4)
        object.__setattr__(self, "size", sizes(self.size, "Conv", 3))
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            pair = tuple(int(k) for k in getattr(self, name))
            if len(pair) != 2 or min(pair) < low:
                raise InputError(f"{name} of Conv is {pair}; two numbers of at least {low} are needed")
            object.__setattr__(self, name, pair)
        outputs, inputs = self.weight.shape[:2]
        if self.groups < 1 or outputs % self.groups or inputs * self.groups != self.size[0]:
            raise InputError(
                f"Conv of weight {list(self.weight.shape)} in {self.groups} groups does not fit {self.size[0]} channels"
            )
        sizes(self.shape, "Conv", 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its output."""
        space = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self.size[1:], self.padding, self.dilation, self.weight.shape[2:], self.stride, strict=True
            )
        )
        height, width = space
        return self.weight.shape[0], height, width

    @property
    def n_inputs(self) -> int:
        """Neurons or inputs that it comes from."""
        return math.prod(self.size)

    @property
    def n_outputs(self) -> int:
        """Neurons that it reaches."""
        return math.prod(self.shape)


Synapses = Dense | Sparse | Conv


def integers(value: Any, what: str, low: int = -(2**31), high: int = 2**31 - 1) -> np.ndarray:
    """Return a read-only int32 copy of whole numbers; raises InputError where one is broken or out of bounds."""
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all() or (array != np.floor(array)).any():
        raise InputError(f"{what} must hold whole numbers")
    if array.size and (array.min() < low or array.max() > high):
        raise InputError(f"{what} holds {array.min()}..{array.max()}; {low}..{high} is needed")
    found = array.astype(np.int32)
    found.flags.writeable = False
    return found


def _check_rank(array: np.ndarray, what: str, rank: int) -> None:
    if array.ndim != rank:
        raise InputError(f"{what} has shape {list(array.shape)}; {rank} axes are needed")


def _check_delay(synapses: Dense | Sparse, shape: tuple[int, ...]) -> None:
    if synapses.delay is None:
        return
    what = f"the delay of {type(synapses).__name__}"
    delay = integers(synapses.delay, what, 0, LONGEST)
    if delay.shape != shape:
        raise InputError(f"{what} has shape {list(delay.shape)}; that of the weight is needed, {list(shape)}")
    object.__setattr__(synapses, "delay", delay)


def sizes(shape: Sequence[int], what: str, rank: int | None = None) -> tuple[int, ...]:
    """Return a shape as whole numbers; raises InputError for no sizes, sizes below 1, or another rank."""
    found = tuple(int(n) for n in shape)
    if not found or min(found) < 1 or (rank is not None and len(found) != rank):
        raise InputError(f"the shape {list(found)} of {what} needs {rank or 'some'} sizes of at least 1")
    return found


def whole_number(value: Any, what: str, low: int, high: int = 2**31 - 1) -> None:
    """Raise InputError unless a value is a whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{what} is {value!r}; a whole number in {low}..{high} is needed")
