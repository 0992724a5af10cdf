"""The reference: one step after another in plain NumPy, the meaning of every other path.

In a step, first every connection delivers what it summed up before; then the neurons integrate, fire and reset; then
every connection adds the new spikes to the sums of later steps.

Source: the fixed-point process models of lava-nc 0.10 (LIF, Dense, DelayDense, Sparse, DelaySparse, Conv).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnkit.deploy.integer import INPUT, V_LIMIT, Connection, IntegerNetwork, Population, State
from snnkit.deploy.synapses import Conv, Sparse

_BITS = 24


def run(chip: IntegerNetwork, x: Tensor, state: State, names: Sequence[str]) -> tuple[dict[str, Tensor], State]:
    """Run checked input [T, B, features…] from a state that may be written to; as `emulator.run`."""
    values = {name: {k: v.cpu().numpy() for k, v in parts.items()} for name, parts in state.items()}
    spikes = {INPUT: x.flatten(2).cpu().numpy().astype(np.int64)}
    for population in chip.populations:
        spikes[population.name] = np.zeros((len(x), x.shape[1], population.size), np.int64)
    traces = {n: np.zeros(spikes[n.rpartition(".")[0]].shape, np.int32) for n in names if n[-2:] in (".u", ".v")}
    for t in range(len(x)):
        for population in chip.populations:
            arrived = np.zeros((x.shape[1], population.size), np.int32)
            for connection in chip.into(population.name):
                arrived += values[connection.name]["pending"][:, :, 0]
            spikes[population.name][t] = neurons(population, values[population.name], arrived)
        for connection in chip.connections:
            synapses(connection, values[connection.name]["pending"], spikes[connection.source][t])
        for name, trace in traces.items():
            population, _, part = name.rpartition(".")
            trace[t] = values[population][part]
    found = {n: traces[n] if n in traces else spikes[n].astype(np.uint8) for n in names}
    shapes = {p.name: (*x.shape[:2], *p.shape) for p in chip.populations}
    shaped = {n: torch.from_numpy(v).view(shapes[n.removesuffix(".u").removesuffix(".v")]) for n, v in found.items()}
    after = {name: {k: torch.from_numpy(v).to(x.device) for k, v in parts.items()} for name, parts in values.items()}
    return {name: value.to(x.device) for name, value in shaped.items()}, after


def neurons(population: Population, state: dict[str, np.ndarray], arrived: np.ndarray) -> np.ndarray:
    """Take one step of all neurons, in place; return their spikes [B, neurons]."""
    bias = population.bias << population.bias_exponent
    u = wrap(_int32(decay(state["u"], population.du + 1) + _int32(arrived.astype(np.int64) << 6)))
    v = _int32(_int32(decay(state["v"], population.dv) + u.astype(np.int64)) + bias.astype(np.int64))
    v = np.clip(v, -V_LIMIT, V_LIMIT)
    fired = v > population.vth << 6
    state["u"][:] = u
    state["v"][:] = np.where(fired, 0, v)
    return fired


def decay(value: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return value * (4096 - by) / 4096, rounded towards zero, int64."""
    product = value.astype(np.int64) * (4096 - by.astype(np.int64))
    return np.sign(product) * (np.abs(product) >> 12)


def wrap(u: np.ndarray) -> np.ndarray:
    """Return a current put back once into 24 bits; 2**23 itself stays."""
    half = 1 << _BITS - 1
    return np.where(u > half, u - 2 * half, np.where(u <= -half, u + 2 * half, u)).astype(np.int32)


def synapses(connection: Connection, pending: np.ndarray, spikes: np.ndarray) -> None:
    """Move pending sums [B, outputs, delays] on by a step, and add those of spikes [B, inputs], in place."""
    pending[:, :, :-1] = pending[:, :, 1:].copy()
    pending[:, :, -1] = 0
    x = spikes if connection.graded else (spikes != 0).astype(np.int64)
    if isinstance(connection.synapses, Conv):
        pending[:, :, 0] += convolve(connection, x)
        return
    weight, delay = pairs(connection)
    for d in range(pending.shape[2]):
        total = x @ np.where(delay == d, weight, 0).astype(np.int64).T
        e = connection.exponent
        pending[:, :, d] += _int32(total << e if e > 0 else total >> -e)


def pairs(connection: Connection) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and delays of a dense or sparse connection as full matrices [outputs, inputs]."""
    part = connection.synapses
    if isinstance(part, Conv):
        raise TypeError("a convolution has no matrix")
    shape = (part.n_outputs, part.n_inputs)
    if not isinstance(part, Sparse):
        return connection.effective, np.zeros(shape, np.int32) if part.delay is None else part.delay
    rows = np.repeat(np.arange(shape[0]), np.diff(part.start))
    weight, delay = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    weight[rows, part.source] = connection.effective
    if part.delay is not None:
        delay[rows, part.source] = part.delay
    return weight, delay


def convolve(connection: Connection, x: np.ndarray) -> np.ndarray:
    """Return the sums of a convolution of inputs [B, features], put into 24 bits, [B, outputs]."""
    part = connection.synapses
    if not isinstance(part, Conv):
        raise TypeError("only a convolution convolves")
    image = torch.from_numpy(x.reshape(-1, *part.size)).double()
    weight = torch.from_numpy(part.weight.copy()).double()
    total = functional.conv2d(image, weight, None, part.stride, part.padding, part.dilation, part.groups)
    whole = total.flatten(1).numpy().astype(np.int64)
    return _int32((whole + (1 << _BITS - 1)) % (1 << _BITS) - (1 << _BITS - 1))


def _int32(value: np.ndarray) -> np.ndarray:
    """Return the low 32 bits, signed: what int32 arithmetic keeps."""
    return value.astype(np.int64).astype(np.int32)
