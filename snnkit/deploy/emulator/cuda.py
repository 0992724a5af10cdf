"""The GPU's emulator: the chip's integers in CUDA C through CuPy, a thread for each neuron or sum of a sample.

Samples lie side by side, [neurons, steps, batch]. A sum is gathered from the spikes of the steps that its synapses
wait for; synapses lie by output and delay, because the floor of a multiplied sum is taken for each delay. Populations
that hear themselves, or each other in loops, take their steps one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snnkit.codegen import c_source, cuda
from snnkit.deploy.emulator.c_text import helpers
from snnkit.deploy.emulator.cpu import order, parameters
from snnkit.deploy.integer import INPUT, Connection, IntegerNetwork, Population, State
from snnkit.deploy.synapses import Conv, Dense

_CHUNK = 1 << 30
"""Bytes of spikes and sums that are worked on at a time."""

_TYPES = """
#ifdef __CUDACC_RTC__
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
#else
#include <stdint.h>
#endif
"""

_BODY = """
// The sums that arrive in steps first..first + count, at `sums` [outputs, count, batch], added to what is there.
SNNKIT_KERNEL snnkit_chip_sum(
    const int32_t* spikes, const long long* start, const int32_t* source, const int32_t* delay, const int32_t* weight,
    int32_t* sums, long long graded, long long exponent, long long outputs, long long steps, long long batch,
    long long first, long long count, long long row)
{
    SNNKIT_COLUMNS(m, outputs * count * batch) {
        const long long b = m % batch, t = m / batch % count, o = m / batch / count;
        int32_t total = 0;
        for (long long k = start[o]; k < start[o + 1];) {
            const int32_t d = delay[k];
            const long long step = first + t - 1 - d;
            const int there = step >= 0 && step < steps;
            int64_t part = 0;
            for (; k < start[o + 1] && delay[k] == d; ++k) {
                const int32_t x = there ? spikes[(source[k] * steps + step) * batch + b] : 0;
                part += (int64_t)weight[k] * (graded ? x : x != 0);
            }
            total = add(total, shift(part, (int)exponent));
        }
        int32_t* sum = sums + (o * row + t) * batch + b;
        *sum = add(*sum, total);
    }
}

// The sums of a convolution of the step before, [channels, height, width, count, batch], added to what is there.
SNNKIT_KERNEL snnkit_chip_convolve(
    const int32_t* spikes, const long long* size, const int32_t* weight, int32_t* sums, long long graded,
    long long outputs, long long steps, long long batch, long long first, long long count, long long row)
{
    const long long channels = size[0], height = size[1], width = size[2], high = size[3], wide = size[4];
    const long long groups = size[5], kernel_high = size[6], kernel_wide = size[7], features = size[14];
    SNNKIT_COLUMNS(m, outputs * count * batch) {
        const long long b = m % batch, t = m / batch % count, o = m / batch / count;
        const long long feature = o / (high * wide), y = o / wide % high * size[8], x = o % wide * size[9];
        const long long step = first + t - 1, inside = channels / groups, group = feature / (features / groups);
        uint32_t total = 0;
        if (step >= 0 && step < steps) {
            const int32_t* kernel = weight + feature * inside * kernel_high * kernel_wide;
            for (long long k = 0; k < inside * kernel_high * kernel_wide; ++k) {
                const long long row_in = y - size[10] + k / kernel_wide % kernel_high * size[12];
                const long long column = x - size[11] + k % kernel_wide * size[13];
                if (row_in >= 0 && row_in < height && column >= 0 && column < width) {
                    const long long channel = group * inside + k / (kernel_high * kernel_wide);
                    const long long n = (channel * height + row_in) * width + column;
                    const int32_t value = spikes[(n * steps + step) * batch + b];
                    total += (uint32_t)kernel[k] * (uint32_t)(graded ? value : value != 0);
                }
            }
        }
        int32_t* sum = sums + (o * row + t) * batch + b;
        *sum = add(*sum, sum24(total));
    }
}

// Steps first..first + count of every neuron; states [2, neurons, batch], traces [2, neurons, steps, batch] or none.
SNNKIT_KERNEL snnkit_chip_fire(
    const int32_t* sums, const int32_t* parameters, int32_t* states, int32_t* spikes, int32_t* traces,
    long long traced, long long neurons, long long steps, long long batch, long long first, long long count)
{
    SNNKIT_COLUMNS(m, neurons * batch) {
        const long long n = m / batch, b = m % batch;
        const int32_t du = parameters[n], dv = parameters[neurons + n];
        const int32_t bias = parameters[2 * neurons + n], vth = parameters[3 * neurons + n];
        int32_t u = states[m], v = states[neurons * batch + m];
        for (long long t = first; t < first + count; ++t) {
            const long long place = (n * steps + t) * batch + b;
            spikes[place] = neuron_step(&u, &v, sums[place], du, dv, bias, vth);
            if (traced) {
                traces[place] = u;
                traces[neurons * steps * batch + place] = v;
            }
        }
        states[m] = u;
        states[neurons * batch + m] = v;
    }
}
"""


@dataclass(frozen=True)
class Program:
    """One of the three kernels."""

    name: str

    def source(self, target: str) -> str:
        """Return the source of all for a target, `cuda` or `host`."""
        return c_source.prelude(target) + _TYPES + helpers("SNNKIT_INLINE") + _BODY


SUM, CONVOLVE, FIRE = (Program(f"snnkit_chip_{name}") for name in ("sum", "convolve", "fire"))


def run(chip: IntegerNetwork, x: Tensor, state: State, names: Sequence[str]) -> tuple[dict[str, Tensor], State]:
    """Run checked input [T, B, features…] from a state that may be written to; as `emulator.run`."""
    T, B = x.shape[:2]
    sizes = x[0, 0].numel() + sum(4 * p.size for p in chip.populations)
    rows = max(1, min(B, _CHUNK // (4 * T * sizes)))
    parts = []
    for low in range(0, B, rows):
        chosen = slice(low, low + rows)
        inner = {name: {key: value[chosen] for key, value in entry.items()} for name, entry in state.items()}
        parts.append(_Run(chip, x[:, chosen], inner, names).result())
    traces = {name: torch.cat([found[name] for found, _ in parts], 1) for name in dict.fromkeys(names)}
    after = {
        name: {key: torch.cat([found[name][key] for _, found in parts]) for key in entry}
        for name, entry in state.items()
    }
    return traces, after


class _Run:
    """Some samples on their way through a network, all arrays int32 with samples side by side."""

    def __init__(self, chip: IntegerNetwork, x: Tensor, state: State, names: Sequence[str]) -> None:
        self.chip, self.names, self.shape, self.device = chip, names, x.shape[:2], x.device
        T, B = self.shape
        self.spikes = {INPUT: x.flatten(2).permute(2, 0, 1).to(torch.int32).contiguous()}
        self.sums, self.states, self.traces, self.tails = {}, {}, {}, {}
        for population in chip.populations:
            name, size = population.name, population.size
            self.spikes[name] = self._empty(size, T, B)
            self.sums[name] = torch.zeros_like(self.spikes[name])
            self.states[name] = torch.stack([state[name][part].t() for part in "uv"]).contiguous()
            traced = any(f"{name}.{part}" in names for part in "uv")
            self.traces[name] = self._empty(2, size, T, B) if traced else self._empty(1)
        self.parameters = {p.name: self._to(parameters(p)) for p in chip.populations}
        self.synapses = {c.name: self._synapses(c) for c in chip.connections}
        for connection in chip.connections:
            pending = state[connection.name]["pending"].permute(1, 2, 0)
            steps = min(T, pending.shape[1])
            self.sums[connection.target][:, :steps] += pending[:, :steps]
            tail = torch.zeros_like(pending, memory_format=torch.contiguous_format)
            tail[:, : pending.shape[1] - steps] = pending[:, steps:]
            self.tails[connection.name] = tail
        self._go(order(chip))

    def result(self) -> tuple[dict[str, Tensor], State]:
        """Return what is recorded, and the state after the last step."""
        found = {}
        shapes = {p.name: p.shape for p in self.chip.populations}
        for name in self.names:
            population, _, part = (name, "", "") if name in shapes else name.rpartition(".")
            values = self.traces[population]["uv".index(part)] if part else self.spikes[population].to(torch.uint8)
            found[name] = values.permute(1, 2, 0).reshape(*self.shape, *shapes[population])
        after = {
            n: {part: value[k].t().contiguous() for k, part in enumerate("uv")} for n, value in self.states.items()
        }
        return found, after | {n: {"pending": t.permute(2, 0, 1).contiguous()} for n, t in self.tails.items()}

    def _go(self, sequence: list[Population] | None) -> None:
        """Run all steps: population after population where their order allows it, else step after step."""
        T = self.shape[0]
        loops = sequence is None
        for group in [self.chip.populations] if sequence is None else [[population] for population in sequence]:
            own = {p.name for p in group}
            inner = [c for c in self.chip.connections if c.source in own and c.target in own]
            for connection in self.chip.connections:
                if connection.target in own and connection not in inner and not loops:
                    self._deliver(connection, 0, T, self.sums[connection.target])
            steps = range(T) if inner or loops else range(1)
            count = 1 if inner or loops else T
            for t in steps:
                for connection in self.chip.connections if loops else inner:
                    if t > 0:
                        self._deliver(connection, t, 1, self.sums[connection.target][:, t:])
                for population in group:
                    self._fire(population, t, count)
        for connection in self.chip.connections:
            self._deliver(connection, T, connection.max_delay + 1, self.tails[connection.name])

    def _deliver(self, connection: Connection, first: int, count: int, sums: Tensor) -> None:
        """Add the sums that arrive in some steps to `sums` [outputs, steps, batch], from its first step on."""
        T, B = self.shape
        outputs, row = connection.synapses.n_outputs, sums.stride(0) // B
        spikes, held = self.spikes[connection.source], self.synapses[connection.name]
        place = [int(connection.graded), *([] if isinstance(connection.synapses, Conv) else [connection.exponent])]
        arguments = [spikes, *held, sums, *place, outputs, T, B, first, count, row]
        program = CONVOLVE if isinstance(connection.synapses, Conv) else SUM
        cuda.launch(program, self.device, outputs * count * B, arguments)

    def _fire(self, population: Population, first: int, count: int) -> None:
        T, B = self.shape
        name = population.name
        traces = self.traces[name]
        arrays = [self.sums[name], self.parameters[name], self.states[name], self.spikes[name], traces]
        numbers = [int(traces.ndim > 1), population.size, T, B, first, count]
        cuda.launch(FIRE, self.device, population.size * B, [*arrays, *numbers])

    def _synapses(self, connection: Connection) -> list[Tensor]:
        part = connection.synapses
        if isinstance(part, Conv):
            space = (*part.size, *part.shape[1:], part.groups, *part.weight.shape[2:])
            numbers = (*space, *part.stride, *part.padding, *part.dilation, len(part.weight))
            return [self._to(np.asarray(numbers, np.int64)), self._to(part.weight.reshape(-1))]
        return [self._to(array) for array in by_output(connection)]

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.int32, device=self.device)

    def _to(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array).copy()).to(self.device)


def by_output(connection: Connection) -> tuple[np.ndarray, ...]:
    """Return where the synapses of each output start, and of each its source, delay and weight, in order of delay."""
    part = connection.synapses
    if isinstance(part, Conv):
        raise TypeError("a convolution has no list of synapses")
    if isinstance(part, Dense):
        output, source = np.nonzero(connection.effective)
        weight = connection.effective[output, source]
        delay = np.zeros_like(weight) if part.delay is None else part.delay[output, source]
    else:
        output, source = np.repeat(np.arange(part.n_outputs), np.diff(part.start)), part.source
        weight = connection.effective
        delay = np.zeros_like(weight) if part.delay is None else part.delay
    sequence = np.lexsort((source, delay, output))
    start = np.searchsorted(output[sequence], np.arange(part.n_outputs + 1)).astype(np.int64)
    return start, *(array[sequence].astype(np.int32) for array in (source, delay, weight))
