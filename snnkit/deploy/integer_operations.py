"""Operations that an integer network performs for an input, connection by connection, counted and not yet priced."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from snnkit.deploy.emulator.reference import pairs
from snnkit.deploy.integer import INPUT, Connection, IntegerNetwork
from snnkit.deploy.operations import LayerOperations
from snnkit.deploy.synapses import Conv

_STATES = 2


def count_integers(chip: IntegerNetwork, x: Tensor) -> tuple[LayerOperations, ...]:
    """Count the operations of an integer network for an input [T, B, features…].

    A spike costs one accumulate for every synapse with a weight that leaves its neuron; a graded input, one
    multiply-accumulate for every such synapse in every step. Every neuron is updated in every step.

    Returns:
        One entry per population after those of the connections into it, in order.
    """
    names = [population.name for population in chip.populations]
    passed = chip.record(x, names) | {INPUT: x}
    found = []
    for population in chip.populations:
        for connection in chip.into(population.name):
            values = passed[connection.source].flatten(2)
            found.append(_connection(connection, values))
        spikes = float(passed[population.name].sum(dtype=torch.float64)) / x.shape[1]
        updates = float(population.size * x.shape[0])
        found.append(
            LayerOperations(
                population.name,
                "neurons",
                spikes=spikes,
                neurons=population.size,
                states=_STATES,
                updates=updates,
            )
        )
    return tuple(found)


def count_dense(chip: IntegerNetwork) -> tuple[LayerOperations, ...]:
    """Count the multiply-accumulates of one pass of an ANN with the connections that lead on."""
    order = {INPUT: -1} | {population.name: k for k, population in enumerate(chip.populations)}
    found = []
    for connection in chip.connections:
        if order[connection.source] < order[connection.target]:
            every = float(integer_fan_out(connection)[1].sum())
            kind = type(connection.synapses).__name__
            found.append(
                LayerOperations(
                    connection.name,
                    kind,
                    "analogue",
                    multiply_accumulate=every,
                    multiply_accumulate_nonzero=every,
                )
            )
    return tuple(found)


def _connection(connection: Connection, values: Tensor) -> LayerOperations:
    """Return what a connection with input [T, B, inputs] costs."""
    fan_out = integer_fan_out(connection)[0].to(values.device)
    events = (values != 0).sum((0, 1), dtype=torch.float64)
    kind = type(connection.synapses).__name__
    nonzero = float((events * fan_out).sum()) / values.shape[1]
    if not connection.graded or connection.source != INPUT:
        return LayerOperations(connection.name, kind, "spikes", accumulate=nonzero)
    return LayerOperations(
        connection.name,
        kind,
        "analogue",
        multiply_accumulate=float(fan_out.sum()) * values.shape[0],
        multiply_accumulate_nonzero=nonzero,
    )


def integer_fan_out(connection: Connection) -> tuple[Tensor, Tensor]:
    """Return how many synapses leave each neuron of the source [inputs], float64: with a weight, and all pairs."""
    part = connection.synapses
    if not isinstance(part, Conv):
        matrix = torch.from_numpy((pairs(connection)[0] != 0).astype("float64"))
        return matrix.sum(0), torch.full((part.n_inputs,), float(part.n_outputs), dtype=torch.float64)
    weight = torch.from_numpy((connection.effective != 0).astype("float64"))
    found = []
    with torch.enable_grad():
        probe = torch.zeros(1, *part.size, dtype=torch.float64, requires_grad=True)
        for used in (weight, torch.ones_like(weight)):
            y = functional.conv2d(probe, used, None, part.stride, part.padding, part.dilation, part.groups)
            found.append(torch.autograd.grad(y.sum(), probe)[0].flatten())
    return found[0], found[1]
