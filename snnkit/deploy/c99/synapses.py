"""Connections as C text: what a step adds for each source that spiked, to sums that arrive in later steps.

Weights are stored without their common sign and power of two, so the numbers of a mixed matrix of 8 bits take a byte.
Sums wrap in 32 bits unsigned. Where an exponent below 0 rounds sums down, they are gathered apart first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snnkit.deploy.c99.pack import Constant, constant, smallest, unsigned
from snnkit.deploy.capacity import common_power
from snnkit.deploy.emulator.reference import pairs
from snnkit.deploy.integer import INPUT, Connection
from snnkit.deploy.synapses import Conv

_LARGEST = 2**23


@dataclass(frozen=True)
class Synapses:
    """A connection of a network as C; `index` numbers it, `source` is the expression of its input."""

    connection: Connection
    index: int
    source: str

    @property
    def slots(self) -> int:
        """Steps that sums wait for at most, the next one among them."""
        return self.connection.max_delay + 1

    @property
    def outputs(self) -> int:
        """Neurons that it reaches."""
        return self.connection.synapses.n_outputs

    @cached_property
    def power(self) -> int:
        """The common power of two of the weights."""
        return common_power(self.connection.effective)

    @property
    def rounds(self) -> bool:
        """Whether sums have to be rounded down."""
        return self.power + self.connection.exponent < 0

    @property
    def gathered(self) -> str:
        """The type of sums that are gathered apart, or nothing."""
        if not self.rounds:
            return ""
        weight, _ = pairs(self.connection)
        largest = _LARGEST if self.connection.graded and self.connection.source == INPUT else 1
        most = int(np.abs(weight.astype(np.int64)).sum(1).max(initial=0)) * largest
        return "int32_t" if most < 2**31 else "int64_t"

    @property
    def arriving(self) -> str:
        """The expression of the sum that arrives at neuron n."""
        place = "n" if self.slots == 1 else f"state->now_{self.index} * {self.outputs}u + n"
        return f"state->pending_{self.index}[{place}]"

    @cached_property
    def constants(self) -> list[Constant]:
        """Its arrays: `w`, and `delay`, `start`, `target` as far as it has them."""
        return list(self._arrays.values())

    @property
    def text(self) -> str:
        """The function that takes a step."""
        body = self._conv() if isinstance(self.connection.synapses, Conv) else self._list()
        head = f'/* connection "{self.connection.name}": "{self.connection.source}" to "{self.connection.target}" */'
        return f"{head}\nstatic void connect_{self.index}(network_state *state, {self._kind} *x)\n{{\n{body}}}\n"

    @property
    def _kind(self) -> str:
        return "const network_input" if self.connection.source == INPUT else "const uint8_t"

    @cached_property
    def _sign(self) -> int:
        return -1 if self.connection.effective.max(initial=0) <= 0 else 1

    @cached_property
    def _arrays(self) -> dict[str, Constant]:
        part = self.connection.synapses
        if isinstance(part, Conv):
            outputs, fan, *kernel = part.weight.shape
            grouped = part.weight.reshape(part.groups, outputs // part.groups, fan, *kernel)
            return {"w": self._constant("w", self._stored(grouped.transpose(0, 2, 3, 4, 1)))}
        weight, delay = pairs(self.connection)
        weight, delay = self._stored(weight).T, delay.T
        late = {"delay": delay} if self.slots > 1 else {}
        full = {"w": weight, **late}
        there = weight != 0
        start = np.concatenate([[0], np.cumsum(there.sum(1))])
        listed = {"w": weight[there], "start": start, "target": np.nonzero(there)[1]}
        listed |= {name: array[there] for name, array in late.items()}
        found = [{name: self._constant(name, array) for name, array in arrays.items()} for arrays in (full, listed)]
        return min(found, key=lambda arrays: sum(array.bytes for array in arrays.values()))

    def _stored(self, weight: np.ndarray) -> np.ndarray:
        return weight.astype(np.int64) * self._sign >> self.power

    def _constant(self, name: str, values: np.ndarray) -> Constant:
        return constant(f"{name}_{self.index}", values if values.size else np.zeros(1, np.int64))

    def _size(self) -> str:
        """Return the expression of what a spike's stored weights are multiplied by."""
        graded = self.connection.graded
        if self.rounds:
            factor = self._sign << self.power
            return f"({self.gathered})x[i] * {factor}" if graded else f"{factor}"
        factor = unsigned(self._sign << self.power + self.connection.exponent)
        return f"(uint32_t)x[i] * {factor}" if graded else factor

    def _list(self) -> str:
        """Return the body for weights in a matrix or a list."""
        kind = self.gathered or "uint32_t"
        sums = f"state->gathered_{kind}" if self.rounds else f"state->pending_{self.index}"
        listed = "start" in self._arrays
        place = f"target_{self.index}[k]" if listed else "o"
        item = "k" if listed else f"i * {self.outputs}u + o"
        if self.slots > 1:
            slot = f"delay_{self.index}[{item}]" if self.rounds else "slot"
            place = f"(uint32_t){slot} * {self.outputs}u + {place}"
        later = self.slots > 1 and not self.rounds
        wait = (
            f"            uint32_t slot = now + delay_{self.index}[{item}];\n"
            f"            slot = slot < {self.slots}u ? slot : slot - {self.slots}u;\n"
        )
        loop = (
            f"for (k = start_{self.index}[i]; k < start_{self.index}[i + 1]; ++k)"
            if listed
            else f"for (o = 0; o < {self.outputs}u; ++o)"
        )
        return (
            f"    {kind} *const sums = {sums};\n"
            f"    uint32_t i, {'k' if listed else 'o'};\n"
            + self._advance(sums)
            + f"    for (i = 0; i < {self.connection.synapses.n_inputs}u; ++i) {{\n"
            f"        const {kind} size = {self._size()};\n"
            "        if (x[i] == 0) {\n            continue;\n        }\n"
            f"        {loop} {{\n"
            + (wait if later else "")
            + f"            sums[{place}] += ({kind})w_{self.index}[{item}] * size;\n"
            "        }\n    }\n" + (self._deliver() if self.rounds else "")
        )

    def _advance(self, sums: str) -> str:
        """Return what forgets the sums that arrived, and moves on by a step."""
        pending, count = f"state->pending_{self.index}", self.outputs
        if self.slots == 1:
            text = f"    memset({pending}, 0, sizeof({pending}));\n"
        else:
            now = f"state->now_{self.index}"
            kind = smallest(0, self.slots)
            text = (
                f"    uint32_t now = {now};\n"
                f"    memset({pending} + now * {count}u, 0, {count}u * sizeof({pending}[0]));\n"
                f"    now = now + 1u < {self.slots}u ? now + 1u : 0u;\n    {now} = ({kind})now;\n"
            )
        return text + (f"    memset(sums, 0, {self.slots * count}u * sizeof(sums[0]));\n" if self.rounds else "")

    def _deliver(self) -> str:
        """Return what adds gathered sums, rounded down, to those that wait."""
        pending, exponent = f"state->pending_{self.index}", self.connection.exponent
        if self.slots == 1:
            return (
                f"    for (i = 0; i < {self.outputs}u; ++i) {{\n"
                f"        {pending}[i] = (uint32_t)shift(sums[i], {exponent});\n    }}\n"
            )
        count = self.slots * self.outputs
        return (
            f"    for (i = 0; i < {count}u; ++i) {{\n"
            f"        const uint32_t place = (i + now * {self.outputs}u) % {count}u;\n"
            f"        {pending}[place] += (uint32_t)shift(sums[i], {exponent});\n    }}\n"
        )

    def _conv(self) -> str:
        part = self.connection.synapses
        assert isinstance(part, Conv)
        outputs, fan, tall, wide = part.weight.shape
        each = outputs // part.groups
        (_, height, width_in), (_, rows, columns) = part.size, part.shape
        return f"""\
    uint32_t *const sums = state->pending_{self.index};
    uint32_t i, o;
    int32_t a, b;
    memset(sums, 0, sizeof(state->pending_{self.index}));
    for (i = 0; i < {part.n_inputs}u; ++i) {{
        const uint32_t channel = i / {height * width_in}u, group = channel / {fan}u;
        const int32_t y = (int32_t)(i / {width_in}u % {height}u) + {part.padding[0]};
        const int32_t z = (int32_t)(i % {width_in}u) + {part.padding[1]};
        const uint32_t size = {self._size()};
        if (x[i] == 0) {{
            continue;
        }}
        for (a = 0; a < {tall}; ++a) {{
            const int32_t top = y - a * {part.dilation[0]};
            if (top < 0 || top % {part.stride[0]} != 0 || top / {part.stride[0]} >= {rows}) {{
                continue;
            }}
            for (b = 0; b < {wide}; ++b) {{
                const int32_t left = z - b * {part.dilation[1]};
                const uint32_t kernel = ((channel * {tall}u + (uint32_t)a) * {wide}u + (uint32_t)b) * {each}u;
                uint32_t place;
                if (left < 0 || left % {part.stride[1]} != 0 || left / {part.stride[1]} >= {columns}) {{
                    continue;
                }}
                place = group * {each * rows * columns}u
                    + (uint32_t)(top / {part.stride[0]} * {columns} + left / {part.stride[1]});
                for (o = 0; o < {each}u; ++o) {{
                    sums[place + o * {rows * columns}u] += (uint32_t)w_{self.index}[kernel + o] * size;
                }}
            }}
        }}
    }}
    for (i = 0; i < {part.n_outputs}u; ++i) {{
        sums[i] = (uint32_t)sum24(sums[i]);
    }}
"""
