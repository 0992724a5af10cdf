"""The CPU's emulator: population after population over all steps, some samples at a time, on numba kernels.

A spike costs one addition for each of its synapses, and silence costs nothing. Convolutions go through torch, in
floating point wherever that is exact. Populations that hear themselves take their steps one after another inside the
kernel. What is connected in wider loops is left to the reference.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnkit.codegen import cache
from snnkit.deploy.emulator.cpu_source import source
from snnkit.deploy.integer import INPUT, Connection, IntegerNetwork, Population, State
from snnkit.deploy.synapses import Conv, Dense
from snnkit.threads import split

_CHUNK = 1 << 24
"""Bytes of sums and spikes that are worked on at a time, so that they stay in the processor's cache."""

_EXACT = 2**24
_LOW, _HIGH = -(2**23), 2**23


_LISTED: weakref.WeakKeyDictionary[Connection, Any] = weakref.WeakKeyDictionary()
"""The lists of synapses of the connections that are in use: sorting them takes longer than a short run."""


def order(chip: IntegerNetwork) -> list[Population] | None:
    """Return the populations so that each comes after what it hears, itself aside; None where that cannot be.

    Nor can it where a population hears itself through more than one connection, or through a convolution.
    """
    for population in chip.populations:
        own = [c for c in chip.into(population.name) if c.source == population.name]
        if len(own) > 1 or any(isinstance(c.synapses, Conv) for c in own):
            return None
    done, found, waiting = {INPUT}, [], list(chip.populations)
    while waiting:
        ready = [p for p in waiting if all(c.source in done | {p.name} for c in chip.into(p.name))]
        if not ready:
            return None
        found += ready
        done |= {p.name for p in ready}
        waiting = [p for p in waiting if p.name not in done]
    return found


def run(chip: IntegerNetwork, x: Tensor, state: State, names: Sequence[str]) -> tuple[dict[str, Tensor], State]:
    """Run checked input [T, B, features…] from a state that may be written to; as `emulator.run`."""
    T, B = x.shape[:2]
    sequence = order(chip)
    if sequence is None:
        raise ValueError("the populations are connected in a loop of several")
    planned = [_plan(chip, population, names) for population in sequence]
    shapes = {p.name: p.shape for p in chip.populations}
    traces = {}
    for name in names:
        population = name if name in shapes else name.rpartition(".")[0]
        kind = torch.uint8 if name in shapes else torch.int32
        traces[name] = torch.empty((T, B, *shapes[population]), dtype=kind)
    bytes_each = T * (sum(9 * p.size for p in chip.populations) + x[0, 0].numel()) + 1
    rows = max(1, min(B, _CHUNK * torch.get_num_threads() // bytes_each))
    for low in range(0, B, rows):
        _run(planned, x[:, low : low + rows], slice(low, low + rows), state, traces)
    return traces, state


@dataclass(frozen=True, eq=False)
class _Planned:
    """A population with its connections as the kernels take them.

    Args:
        population: whose turn it is.
        parameters: of the neurons [4, neurons].
        inward: connections from others, with their synapses.
        own: that from itself, if there is one.
        traced: whether its state is recorded.
    """

    population: Population
    parameters: np.ndarray
    inward: list[tuple[Connection, Any]]
    own: list[tuple[Connection, Any]]
    traced: bool


def _plan(chip: IntegerNetwork, population: Population, names: Sequence[str]) -> _Planned:
    own, inward = [], []
    for connection in chip.into(population.name):
        part = None if isinstance(connection.synapses, Conv) else synapses(connection)
        (own if connection.source == population.name else inward).append((connection, part))
    traced = any(f"{population.name}.{part}" in names for part in "uv")
    return _Planned(population, parameters(population), inward, own, traced)


def _run(planned: list[_Planned], x: Tensor, rows: slice, state: State, traces: dict[str, Tensor]) -> None:
    """Run some samples [T, rows, features…]; write their traces, and their states after the last step."""
    kernels = _kernels()
    whole = x.flatten(2).transpose(0, 1)
    binary = {INPUT: np.ascontiguousarray((whole != 0).to(torch.uint8).numpy())}
    graded = np.ascontiguousarray(whole.to(torch.int32).numpy()) if _graded(planned) else binary[INPUT]
    B, T = binary[INPUT].shape[:2]
    for step in planned:
        name, size = step.population.name, step.population.size
        arrived = np.zeros((B, T, size), np.int32)
        fired = np.empty((B, T, size), np.uint8)
        now = np.stack([state[name][part][rows].numpy() for part in "uv"], 1)
        record = np.empty((B if step.traced else 0, T, 2, size), np.int32)
        tails = [_resume(connection, state, rows, arrived) for connection, _ in step.inward + step.own]
        for (connection, part), tail in zip(step.inward, tails, strict=False):
            values = graded if connection.graded and connection.source == INPUT else binary[connection.source]
            if part is None:
                _convolve(connection, values, arrived, tail)
            else:
                arguments = values, part, min(connection.exponent, 0), arrived, tail
                split(lambda low, high, given=arguments: kernels.connect(*given, low, high), B)
        arguments = arrived, now, step.parameters, fired, record
        if step.own:
            connection, part = step.own[0]
            inner = (*arguments, part, min(connection.exponent, 0), tails[-1])
            split(lambda low, high, given=inner: kernels.recur(*given, low, high), B)
        else:
            split(lambda low, high, given=arguments: kernels.fire(*given, low, high), B)
        binary[name] = fired
        _keep(step, state, rows, now, tails)
        _trace(name, traces, rows, fired, record)


def _graded(planned: list[_Planned]) -> bool:
    """Return whether the numbers of the input count, and not only that there are some."""
    return any(connection.graded and connection.source == INPUT for step in planned for connection, _ in step.inward)


def _keep(step: _Planned, state: State, rows: slice, now: np.ndarray, tails: list[np.ndarray]) -> None:
    """Write the state of a population, and of the connections that end there, after the last step."""
    for number, part in enumerate("uv"):
        state[step.population.name][part][rows] = torch.from_numpy(now[:, number])
    for (connection, _), tail in zip(step.inward + step.own, tails, strict=True):
        state[connection.name]["pending"][rows] = torch.from_numpy(tail).transpose(1, 2)


def _trace(name: str, traces: dict[str, Tensor], rows: slice, fired: np.ndarray, record: np.ndarray) -> None:
    """Write what is recorded of a population."""
    found = {name: fired, f"{name}.u": record[:, :, 0], f"{name}.v": record[:, :, 1]}
    for key in found.keys() & traces.keys():
        traces[key][:, rows] = torch.from_numpy(found[key]).transpose(0, 1).reshape(traces[key][:, rows].shape)


def _resume(connection: Connection, state: State, rows: slice, arrived: np.ndarray) -> np.ndarray:
    """Deliver the sums that were pending, and return those that still are, [B, max_delay + 1, outputs]."""
    pending = state[connection.name]["pending"][rows].transpose(1, 2).numpy()
    steps = min(arrived.shape[1], pending.shape[1])
    arrived[:, :steps] += pending[:, :steps]
    tail = np.zeros(pending.shape, np.int32)
    tail[:, : pending.shape[1] - steps] = pending[:, steps:]
    return tail


def parameters(population: Population) -> np.ndarray:
    """Return what each neuron has of its own as rows, in the order of `rule.PARAMETERS`, int32 [4, neurons]."""
    bias = population.bias << population.bias_exponent
    values = (population.du, population.dv, bias, population.vth)
    return np.stack([np.broadcast_to(value, population.size).astype(np.int32) for value in values])


def synapses(connection: Connection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the synapses of each input start, where each ends, and its weight.

    Synapse k of `start[j]:start[j + 1]` adds `weight[k]` at `place[k]`, which is delay * outputs + output. For a dense
    connection without delays the places follow each other, and none are given. Where a sum is multiplied, the weights
    are.
    """
    if connection not in _LISTED:
        _LISTED[connection] = _listed(connection)
    return _LISTED[connection]


def _listed(connection: Connection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    part = connection.synapses
    weight = connection.effective.astype(np.int64) << max(connection.exponent, 0)
    weight = weight.astype(np.int32)
    if isinstance(part, Conv):
        raise TypeError("a convolution has no list of synapses")
    if isinstance(part, Dense):
        if part.delay is None or not part.delay.any():
            start = np.arange(part.n_inputs + 1, dtype=np.int64) * part.n_outputs
            return start, np.empty(0, np.int32), np.ascontiguousarray(weight.T).reshape(-1)
        output, source = np.nonzero(weight)
        weight, delay = weight[output, source], part.delay[output, source]
    else:
        output, source = np.repeat(np.arange(part.n_outputs), np.diff(part.start)), part.source
        delay = np.zeros(len(source), np.int32) if part.delay is None else part.delay
    place = delay.astype(np.int64) * part.n_outputs + output
    sequence = np.lexsort((place, source))
    start = np.searchsorted(source[sequence], np.arange(part.n_inputs + 1))
    # No places at all would mean that they follow each other, so where there is no synapse one is given that none uses.
    spare = np.zeros(0 if len(sequence) else 1, np.int32)
    return start, np.append(place[sequence].astype(np.int32), spare), np.append(weight[sequence], spare)


def _convolve(connection: Connection, inputs: np.ndarray, arrived: np.ndarray, tail: np.ndarray) -> None:
    """Add the sums of a convolution, each put into 24 bits, a step later."""
    part = connection.synapses
    assert isinstance(part, Conv)
    most = int(np.abs(part.weight.astype(np.int64)).sum((1, 2, 3)).max()) * max(1, int(np.abs(inputs).max(initial=0)))
    real = torch.float32 if most < _EXACT else torch.float64
    image = torch.from_numpy(inputs).flatten(0, 1).unflatten(1, part.size).to(real)
    kernel = torch.from_numpy(part.weight.copy()).to(real)
    total = functional.conv2d(image, kernel, None, part.stride, part.padding, part.dilation, part.groups)
    if most >= _HIGH:
        total = torch.remainder(total - _LOW, _HIGH - _LOW) + _LOW
    sums = total.to(torch.int32).view(len(inputs), inputs.shape[1], -1).numpy()
    arrived[:, 1:] += sums[:, :-1]
    tail[:, 0] += sums[:, -1]


@functools.cache
def _kernels() -> Any:
    text = source()
    return cache.load("chip", text, lambda: text)
