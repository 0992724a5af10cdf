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

import numpy as np
import torch
from torch import Tensor

from snnkit.deploy.synapses import Conv, Synapses, integers, sizes, whole_number
from snnkit.errors import InputError, nearest

SIGNS = ("mixed", "excitatory", "inhibitory")
"""Sign modes of a weight matrix: signed, never negative, never positive."""

READS = ("spikes", "v")
"""What the last population's answer is: its spikes, or its membrane."""

INPUT = "input"
"""The name of the input where a connection starts."""

V_LIMIT = 2**23 - 1
"""Where the membrane is clipped; the threshold is compared on the same scale, `vth << 6`."""

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
        object.__setattr__(self, "shape", sizes(self.shape, where))
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
        whole_number(self.bias_exponent, f"bias_exponent of {where}", 0, 7)

    @property
    def size(self) -> int:
        """The number of neurons."""
        return math.prod(self.shape)


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
        whole_number(self.exponent, f"exponent of {where}", -8, 17)
        whole_number(self.bits, f"bits of {where}", 1, 8)
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
        object.__setattr__(self, "inputs", sizes(self.inputs, "the input"))
        object.__setattr__(self, "populations", tuple(self.populations))
        object.__setattr__(self, "connections", tuple(self.connections))
        if self.read not in READS:
            raise InputError(f"read is {self.read!r}{nearest(self.read, READS)}; known: {', '.join(READS)}")
        if not self.populations:
            raise InputError("an integer network needs a population of neurons")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale is {self.scale}; a number above 0 is needed")
        self._check_names()
        counts = {INPUT: math.prod(self.inputs)} | {p.name: p.size for p in self.populations}
        for connection in self.connections:
            synapses = connection.synapses
            if connection.target == INPUT:
                raise InputError(f"connection {connection.name!r} ends at the input; it must end at a population")
            for name, size in ((connection.source, synapses.n_inputs), (connection.target, synapses.n_outputs)):
                if name not in counts:
                    raise InputError(
                        f"connection {connection.name!r} names {name!r}{nearest(name, counts)}, no population"
                    )
                if counts[name] != size:
                    raise InputError(f"connection {connection.name!r} fits {size} and {name!r} has {counts[name]}")

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
        return self.watch(x, spikes=False)[0]

    def watch(self, x: Tensor, *, spikes: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the answer to x [T, B, features…] as a call does, and the spikes of each population, in step with it.

        Each population is seen from the step in which the input reaches it, for as many steps as x has.

        Args:
            x: input [T, B, features…].
            spikes: whether those of the populations are wanted.
        Returns:
            The answer [T, B, features…], float32; and name of each population to spikes [T, B, features…], uint8,
            without that whose membrane is read.
        """
        last = self.output.name
        answer = last if self.read == "spikes" else f"{last}.v"
        names = {part.name: part.name for part in self.populations[:-1]} if spikes else {}
        names[answer] = last
        late = max(self.latency[name] for name in names.values())
        traces = self.record(torch.cat([x, x.new_zeros((late, *x.shape[1:]))]), list(names))
        seen = {key: traces[key][self.latency[name] :][: len(x)] for key, name in names.items()}
        if answer == last:
            return seen[last].float(), seen
        return seen.pop(answer).double().div(self.scale).float(), seen

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
