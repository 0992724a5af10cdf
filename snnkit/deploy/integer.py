"""A network in the chip's integers: populations of neurons, and connections that take one step each.

Every array is NumPy's int32. A spike that a population emits in step t reaches its targets in step t + 1, or in
t + 1 + d through a synapse with delay d. What a step does is written in `snnkit.deploy.emulator.reference`.

Source: Davies et al., Loihi, IEEE Micro 2018; the fixed-point models of lava-nc 0.10.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnkit.errors import InputError, nearest

SIGNS = ("mixed", "excitatory", "inhibitory")
"""Sign modes of a weight matrix: signed, never negative, never positive."""

READS = ("spikes", "v")
"""What the last population's answer is: its spikes, or its membrane."""

INPUT = "input"
"""The name of the input where a connection starts."""

LONGEST = 62
"""The longest delay, in steps, that every tool and chip takes."""

V_LIMIT = 2**23 - 1
"""Where the membrane is clipped; the threshold is compared on the same scale, `vth << 6`."""


_WIDEST = 2**20
"""The largest weight of a convolution, whose sums over graded inputs are then exact in float64."""

State = dict[str, dict[str, Tensor]]
"""Name of a population to its `u` and `v`, and of a connection to its `pending` sums."""

_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)


def _zero() -> np.ndarray:
    return np.zeros((), np.int32)


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons that share a rule: `u = decay(u, du + 1) + 64 a`, `v = decay(v, dv) + u + bias`, fires if `v > 64 vth`.

    Args:
        name: a word, unlike every other population's and connection's.
        shape: features, in torch's order, such as (128,) or (16, 8, 8) for channels, height, width.
        du: decay of the current, of 4096; 4095 keeps nothing of it, -1 everything.
        dv: decay of the membrane, of 4096; 4096 keeps nothing of it, 0 everything.
        vth: threshold, 0..131071; the membrane must exceed 64 times it.
        bias: mantissa of what is added in every step, -4096..4095.
        bias_exponent: of 2, 0..7, by which the mantissa is multiplied.
        v_start: the membrane before the first step.

    All but the first two and the exponent are int32, scalars or one number for each neuron [neurons].
    """

    name: str
    shape: tuple[int, ...]
    du: np.ndarray
    dv: np.ndarray
    vth: np.ndarray
    bias: np.ndarray = field(default_factory=_zero)
    bias_exponent: int = 0
    v_start: np.ndarray = field(default_factory=_zero)

    def __post_init__(self) -> None:
        where = f"population {self.name!r}"
        object.__setattr__(self, "shape", _shape(self.shape, where))
        bounds = {
            "du": (-1, 4095),
            "dv": (0, 4096),
            "vth": (0, 131_071),
            "bias": (-4096, 4095),
            "v_start": (-V_LIMIT, V_LIMIT),
        }
        for name, (low, high) in bounds.items():
            value = integers(getattr(self, name), f"{name} of {where}", low, high)
            if value.shape not in ((), (self.size,)):
                raise InputError(
                    f"{name} of {where} has shape {list(value.shape)}; one number or [{self.size}] is needed"
                )
            object.__setattr__(self, name, value)
        _within(self.bias_exponent, f"bias_exponent of {where}", 0, 7)

    @property
    def size(self) -> int:
        """The number of neurons."""
        return math.prod(self.shape)


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
        _within(self.n_inputs, "n_inputs of Sparse", 1)
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
        object.__setattr__(self, "size", _shape(self.size, "Conv", 3))
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
        _shape(self.shape, "Conv", 3)

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


@dataclass(frozen=True, eq=False)
class Connection:
    """Synapses from a population, or the input, to a population.

    Args:
        name: a word, unlike every other population's and connection's.
        source, target: names of populations; the source may be `input`.
        synapses: their weights and delays, as they are given to the chip, before it clips and truncates them.
        exponent: of 2, by which a step's sum of weights is multiplied, -8..17; the floor is taken of the sum. Not
            for Conv.
        bits: of a weight, 1..8; lower bits of the 8-bit scale are dropped. Not for Conv.
        sign: of `SIGNS`. Not for Conv.
        graded: whether inputs count with their value and not as a spike.
    """

    name: str
    source: str
    target: str
    synapses: Synapses
    exponent: int = 0
    bits: int = 8
    sign: str = "mixed"
    graded: bool = False

    def __post_init__(self) -> None:
        where = f"connection {self.name!r}"
        _within(self.exponent, f"exponent of {where}", -8, 17)
        _within(self.bits, f"bits of {where}", 1, 8)
        if self.sign not in SIGNS:
            raise InputError(f"sign of {where} is {self.sign!r}{nearest(self.sign, SIGNS)}; known: {', '.join(SIGNS)}")
        if isinstance(self.synapses, Conv) and (self.exponent, self.bits, self.sign) != (0, 8, "mixed"):
            raise InputError(f"{where} is a Conv, which has neither exponent nor bits nor sign; scale its weights")

    @property
    def max_delay(self) -> int:
        """The longest delay of a synapse, in steps."""
        delay = getattr(self.synapses, "delay", None)
        return 0 if delay is None or not delay.size else int(delay.max())

    @cached_property
    def effective(self) -> np.ndarray:
        """The weights that the chip uses: clipped to 8 bits and a sign, lower bits dropped; those of Conv as given."""
        weight = self.synapses.weight
        if isinstance(self.synapses, Conv):
            return weight
        mixed, flip = self.sign == "mixed", -1 if self.sign == "inhibitory" else 1
        dropped = 8 - self.bits + mixed
        clipped = np.clip(flip * weight, -256 if mixed else 0, 255)
        return np.asarray(flip * ((clipped >> dropped) << dropped), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A network as the chip computes it.

    Args:
        inputs: shape of the input's features.
        populations: the last one's answer is the network's.
        connections: between them; several may end at one population.
        read: of `READS`, what that answer is.
        target: the chip that it was made for.
        scale: the membrane of the last population that stands for 1 in the network it was made from.

    Example:
        >>> chip = snnkit.deploy.quantise(net, target="loihi2", calibration=x)
        >>> spikes, state = chip.run(x)
    """

    inputs: tuple[int, ...]
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    read: str = "spikes"
    target: str = "loihi2"
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", _shape(self.inputs, "the input"))
        object.__setattr__(self, "populations", tuple(self.populations))
        object.__setattr__(self, "connections", tuple(self.connections))
        if self.read not in READS:
            raise InputError(f"read is {self.read!r}{nearest(self.read, READS)}; known: {', '.join(READS)}")
        if not self.populations:
            raise InputError("an integer network needs a population of neurons")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale is {self.scale}; a number above 0 is needed")
        self._check_names()
        sizes = {INPUT: math.prod(self.inputs)} | {p.name: p.size for p in self.populations}
        for connection in self.connections:
            synapses = connection.synapses
            if connection.target == INPUT:
                raise InputError(f"connection {connection.name!r} ends at the input; it must end at a population")
            for name, size in ((connection.source, synapses.n_inputs), (connection.target, synapses.n_outputs)):
                if name not in sizes:
                    raise InputError(
                        f"connection {connection.name!r} names {name!r}{nearest(name, sizes)}, no population"
                    )
                if sizes[name] != size:
                    raise InputError(f"connection {connection.name!r} fits {size} and {name!r} has {sizes[name]}")

    @property
    def output(self) -> Population:
        """The population whose answer is the network's."""
        return self.populations[-1]

    @cached_property
    def latency(self) -> dict[str, int]:
        """Steps from the input to each population along the fewest connections; 0 where the input does not reach."""
        found = {INPUT: 0}
        for _ in self.populations:
            for connection in self.connections:
                if connection.source in found:
                    steps = found[connection.source] + 1
                    found[connection.target] = min(steps, found.get(connection.target, steps))
        return {population.name: found.get(population.name, 0) for population in self.populations}

    @property
    def max_delay(self) -> int:
        """The longest delay of a synapse, in steps."""
        return max((connection.max_delay for connection in self.connections), default=0)

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the network that this was made from would: its answer to the input [T, B, features…].

        The chip's answer comes `latency` steps late; here the input is followed by that many silent steps, and the
        answer's first steps are dropped. Spikes are 0 and 1, and a membrane is divided by `scale`, float32.
        """
        late = self.latency[self.output.name]
        silent = x.new_zeros((late, *x.shape[1:]))
        if self.read == "spikes":
            return self.run(torch.cat([x, silent]))[0][late:].float()
        name = f"{self.output.name}.v"
        return self.record(torch.cat([x, silent]), [name])[name][late:].double().div(self.scale).float()

    def run(self, x: Tensor, state: State | None = None, *, backend: str = "auto") -> tuple[Tensor, State]:
        """Run over time as the chip does, late by one step for each connection.

        Args:
            x: input [T, B, features…]: 0 and 1, or whole numbers where connections are graded; of any type.
            state: what an earlier run returned; fresh if None.
            backend: `reference`, `cpu`, `cuda`, or `auto` by the device of x.
        Returns:
            Spikes of the last population [T, B, features…], uint8; and the state after the last step: for each
            population `u` and `v` [B, neurons], for each connection `pending` [B, outputs, max_delay + 1], the sums
            that arrive in the next steps, all int32.
        Raises:
            InputError: an input or state that does not fit, or numbers that are not whole.
            BackendError: a backend that cannot run here.
        """
        from snnkit.deploy import emulator

        traces, after = emulator.run(self, x, state, [self.output.name], backend)
        return traces[self.output.name], after

    def record(
        self, x: Tensor, names: Sequence[str] | None = None, state: State | None = None, *, backend: str = "auto"
    ) -> dict[str, Tensor]:
        """Run and return what happened inside.

        Args:
            x, state, backend: as for `run`.
            names: populations for their spikes, uint8; with `.u` or `.v` behind, for their state after each step,
                int32; all if None.
        Returns:
            Name to sequence [T, B, features…].
        """
        from snnkit.deploy import emulator

        if names is None:
            names = [f"{population.name}{part}" for population in self.populations for part in ("", ".u", ".v")]
        return emulator.run(self, x, state, names, backend)[0]

    def into(self, name: str) -> list[Connection]:
        """Return the connections that end at a population, in order."""
        return [connection for connection in self.connections if connection.target == name]

    def _check_names(self) -> None:
        names = [part.name for part in (*self.populations, *self.connections)]
        for name in names:
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name == INPUT:
                raise InputError(f"{name!r} cannot name a population or connection; use a word other than 'input'")
            if names.count(name) > 1:
                raise InputError(f"two parts of the network are named {name!r}; rename one")


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


def _shape(shape: Sequence[int], what: str, rank: int | None = None) -> tuple[int, ...]:
    found = tuple(int(n) for n in shape)
    if not found or min(found) < 1 or (rank is not None and len(found) != rank):
        raise InputError(f"the shape {list(found)} of {what} needs {rank or 'some'} sizes of at least 1")
    return found


def _within(value: Any, what: str, low: int, high: int = 2**31 - 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{what} is {value!r}; a whole number in {low}..{high} is needed")
