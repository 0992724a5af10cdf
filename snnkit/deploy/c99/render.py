"""A network as C text: a header with its sizes and state, and a source with its constants and its step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snnkit.deploy.c99.pack import Constant, constant, literal, smallest, width
from snnkit.deploy.c99.synapses import Synapses
from snnkit.deploy.emulator import c_text
from snnkit.deploy.integer import INPUT, IntegerNetwork, Population

DIGEST_START, DIGEST_FACTOR = 2166136261, 16777619
"""A digest of numbers starts from the one, and is multiplied by the other after each."""

ARITHMETIC = f"""\
/* The chip's arithmetic in integers. */
#ifndef SNNKIT_ARITHMETIC_H
#define SNNKIT_ARITHMETIC_H

#include <stdint.h>

{c_text.helpers()}
/* A digest of numbers, one after another: of two sequences that differ in one number, the digests differ. */
static inline uint32_t mix(uint32_t hash, uint32_t value)
{{
    return (hash ^ value) * {DIGEST_FACTOR}u;
}}

#endif
"""


@dataclass(frozen=True)
class Program:
    """A network as C text."""

    chip: IntegerNetwork

    @cached_property
    def synapses(self) -> list[Synapses]:
        """Its connections."""
        sources = {p.name: f"state->s_{k}" for k, p in enumerate(self.chip.populations)} | {INPUT: "input"}
        return [Synapses(c, k, sources[c.source]) for k, c in enumerate(self.chip.connections)]

    @cached_property
    def constants(self) -> list[Constant]:
        """All arrays."""
        found = [array for part in self.synapses for array in part.constants]
        return found + [array for k, p in enumerate(self.chip.populations) for array in _constants(p, k)]

    @property
    def graded(self) -> bool:
        """Whether the input is whole numbers and not spikes."""
        return any(c.graded for c in self.chip.connections if c.source == INPUT)

    @property
    def state_bytes(self) -> int:
        """The memory of a state, without what a compiler fills in."""
        return sum(count * size for count, size, _ in self._state.values())

    @cached_property
    def _state(self) -> dict[str, tuple[int, int, str]]:
        """Name of each member of the state to its count, its bytes and its type."""
        found: dict[str, tuple[int, int, str]] = {}
        for kind, size in (("int64_t", 8), ("int32_t", 4)):
            counts = [part.slots * part.outputs for part in self.synapses if part.gathered == kind]
            if counts:
                found[f"gathered_{kind}"] = (max(counts), size, kind)
        for part in self.synapses:
            found[f"pending_{part.index}"] = (part.slots * part.outputs, 4, "uint32_t")
        for k, population in enumerate(self.chip.populations):
            names = [f"u_{k}"] * keeps_current(population) + [f"v_{k}"]
            found |= {name: (population.size, 4, "int32_t") for name in names}
        for part in self.synapses:
            if part.slots > 1:
                kind = smallest(0, part.slots)
                found[f"now_{part.index}"] = (1, width(kind), kind)
        return found | {f"s_{k}": (p.size, 1, "uint8_t") for k, p in enumerate(self.chip.populations)}

    @property
    def header(self) -> str:
        """The text of `network.h`."""
        chip = self.chip
        members = [
            f"    {kind} {name};" if name.startswith("now_") else f"    {kind} {name}[{count}];"
            for name, (count, _, kind) in self._state.items()
        ]
        last = len(chip.populations) - 1
        inputs = "int32_t network_input; /* whole numbers" if self.graded else "uint8_t network_input; /* 0 or 1"
        return f"""\
/* A spiking network in integers: call network_start once for a sequence, then network_step for each of its steps.

   input: {_shape(chip.inputs)}, {"whole numbers" if self.graded else "spikes"}
   output: {_shape(chip.output.shape)}, {"spikes" if chip.read == "spikes" else f"membranes, {chip.scale:.9g} for 1"}
   an answer comes {chip.latency[chip.output.name]} steps after its input */
#ifndef SNNKIT_NETWORK_H
#define SNNKIT_NETWORK_H

#include <stdint.h>

#define NETWORK_INPUTS {math.prod(chip.inputs)}
#define NETWORK_OUTPUTS {chip.output.size}
#define NETWORK_LATENCY {chip.latency[chip.output.name]}

typedef {inputs} */

typedef struct {{
{chr(10).join(members)}
}} network_state;

void network_start(network_state *state);
void network_step(network_state *state, const network_input input[NETWORK_INPUTS]);

/* After a step: the output's spikes, 0 or 1, and its membranes. */
#define network_spikes(state) ((const uint8_t *)(state)->s_{last})
#define network_membranes(state) ((const int32_t *)(state)->v_{last})

/* A digest of all constants, and of all neurons of a state. */
uint32_t network_digest(void);
uint32_t network_state_digest(const network_state *state);

#endif
"""

    @property
    def source(self) -> str:
        """The text of `network.c`."""
        parts = ['#include "network.h"\n\n#include <string.h>\n\n#include "arithmetic.h"\n']
        parts += [array.text for array in self.constants]
        parts += [part.text for part in self.synapses]
        parts += [self._neurons(population, k) for k, population in enumerate(self.chip.populations)]
        return "\n".join([*parts, self._start, self._step, *self._digests])

    def _neurons(self, population: Population, k: int) -> str:
        arriving = [part.arriving for part in self.synapses if part.connection.target == population.name]
        du, dv, vth = (_value(name, getattr(population, name), k) for name in ("du", "dv", "vth"))
        factor = 1 << population.bias_exponent
        bias = f"bias_{k}[n] * (int32_t){factor}" if population.bias.ndim else literal(int(population.bias) * factor)
        kept = keeps_current(population)
        current = f"&state->u_{k}[n]" if kept else "&u"
        fresh = "" if kept else "        int32_t u = 0;\n"
        return f"""\
/* population "{population.name}": {_shape(population.shape)} */
static void neurons_{k}(network_state *state)
{{
    uint32_t n;
    for (n = 0; n < {population.size}u; ++n) {{
{fresh}        const uint32_t arrived = {" + ".join(arriving) or "0u"};
        state->s_{k}[n] = (uint8_t)neuron_step({current}, &state->v_{k}[n], low32(arrived),
            {du}, {dv}, {bias}, {vth});
    }}
}}
"""

    @property
    def _start(self) -> str:
        loops = ""
        for k, population in enumerate(self.chip.populations):
            start = population.v_start
            if start.any():
                put = f"state->v_{k}[n] = {_value('v_start', start, k)};"
                loops += f"    for (n = 0; n < {population.size}u; ++n) {{\n        {put}\n    }}\n"
        counter = "    uint32_t n;\n" if loops else ""
        return (
            f"void network_start(network_state *state)\n{{\n{counter}    memset(state, 0, sizeof(*state));\n{loops}}}\n"
        )

    @property
    def _step(self) -> str:
        calls = [f"    neurons_{k}(state);\n" for k in range(len(self.chip.populations))]
        calls += [f"    connect_{part.index}(state, {part.source});\n" for part in self.synapses]
        unused = "" if any(part.source == "input" for part in self.synapses) else "    (void)input;\n"
        head = "void network_step(network_state *state, const network_input input[NETWORK_INPUTS])"
        return f"{head}\n{{\n{unused}{''.join(calls)}}}\n"

    @property
    def _digests(self) -> list[str]:
        constants = "".join(array.digest for array in self.constants)
        neurons = "".join(
            f"    for (n = 0; n < {population.size}u; ++n) {{\n"
            f"        hash = mix(hash, state->s_{k}[n]);\n"
            + f"        hash = mix(hash, (uint32_t)state->u_{k}[n]);\n"
            * keeps_current(population)
            + f"        hash = mix(hash, (uint32_t)state->v_{k}[n]);\n"
            "    }\n"
            for k, population in enumerate(self.chip.populations)
        )
        start, end = f"    uint32_t hash = {DIGEST_START}u;\n", "    return hash;\n}\n"
        counter = "    uint32_t k;\n" if constants else ""
        return [
            f"uint32_t network_digest(void)\n{{\n{start}{counter}{constants}{end}",
            f"uint32_t network_state_digest(const network_state *state)\n{{\n{start}    uint32_t n;\n{neurons}{end}",
        ]


def keeps_current(population: Population) -> bool:
    """Return whether a current is part of the state: where nothing is kept of it, it is made anew in every step."""
    return bool((population.du != 4095).any())


def _value(name: str, array: np.ndarray, k: int) -> str:
    """Return the expression of a number of neuron n of population k."""
    return f"{name}_{k}[n]" if array.ndim else literal(int(array))


def _constants(population: Population, k: int) -> list[Constant]:
    """Return the arrays of a population: what differs between its neurons."""
    arrays = {name: getattr(population, name) for name in ("du", "dv", "bias", "vth", "v_start")}
    return [constant(f"{name}_{k}", array) for name, array in arrays.items() if array.ndim]


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
