"""Integer networks drawn at random, to compare what claims to run them alike.

Over many seeds they cover every kind of synapse and sign mode, all widths, exponents and delays that a chip takes,
recurrence, skipped populations, graded inputs, odd sizes, and currents and membranes that wrap and clip.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from snnkit.deploy.integer import INPUT, SIGNS, Connection, IntegerNetwork, Population
from snnkit.deploy.synapses import LONGEST, Conv, Dense, Sparse

_SIZES = (1, 2, 3, 7, 16, 31, 63)


def network(seed: int) -> IntegerNetwork:
    """Return the network of a seed; every third one sees images.

    Example:
        >>> chip = snnkit.deploy.draw.network(0)
    """
    draw = np.random.default_rng(seed)
    wild = draw.random() < 0.3
    images = seed % 3 == 2
    inputs = tuple(int(n) for n in draw.integers(2, 8, 3)) if images else (int(draw.choice(_SIZES)),)
    populations, connections, shapes = [], [], {INPUT: inputs}
    source = INPUT
    for k in range(int(draw.integers(1, 4))):
        name = f"p{k}"
        if len(shapes[source]) == 3 and (k == 0 or draw.random() < 0.5):
            synapses = _conv(draw, shapes[source], wild)
            shapes[name] = synapses.shape
            connections.append(Connection(f"c{k}", source, name, synapses, graded=bool(draw.random() < 0.3)))
        else:
            shapes[name] = (int(draw.choice(_SIZES)),)
            connections.append(_connection(draw, f"c{k}", source, name, shapes, wild))
        populations.append(_population(draw, name, shapes[name], wild))
        source = name
    for k in range(int(draw.integers(0, 3))):
        origin, target = draw.choice([INPUT, *(p.name for p in populations)]), draw.choice(populations).name
        connections.append(_connection(draw, f"extra{k}", str(origin), target, shapes, wild))
    return IntegerNetwork(inputs, tuple(populations), tuple(connections))


def spikes(chip: IntegerNetwork, seed: int, *, steps: int = 40, batch: int = 2) -> Tensor:
    """Return an input [steps, batch, features…] for a network: spikes, or whole numbers where all of it is graded."""
    draw = np.random.default_rng(seed)
    shape = (steps, batch, *chip.inputs)
    x = (draw.random(shape) < draw.choice([0.1, 0.3, 0.7])).astype(np.int32)
    if any(connection.graded for connection in chip.connections if connection.source == INPUT):
        x *= draw.integers(-40, 200, shape, dtype=np.int32)
    return torch.from_numpy(x)


def spiking(chip: IntegerNetwork) -> IntegerNetwork:
    """Return the network without graded connections."""
    return replace(chip, connections=tuple(replace(part, graded=False) for part in chip.connections))


def _population(draw: np.random.Generator, name: str, shape: tuple[int, ...], wild: bool) -> Population:
    size = int(np.prod(shape))

    def value(low: int, high: int) -> np.ndarray:
        count = size if draw.random() < 0.4 else None
        return np.asarray(draw.integers(low, high + 1, count), np.int32)

    du = [value(-1, 4095), np.int32(4095), np.int32(-1)][int(draw.choice(3, p=[0.7, 0.15, 0.15]))]
    dv = [value(0, 4096), np.int32(0), np.int32(4096)][int(draw.choice(3, p=[0.7, 0.2, 0.1]))]
    return Population(
        name,
        shape,
        np.asarray(du),
        np.asarray(dv),
        vth=value(0, 131_071) if wild else value(0, 600),
        bias=value(-4096, 4095) if wild else value(-40, 80),
        bias_exponent=int(draw.integers(0, 8)) if wild else int(draw.integers(0, 4)),
        v_start=value(-(2**23) + 1, 2**23 - 1) if wild else value(-2000, 2000),
    )


def _connection(
    draw: np.random.Generator, name: str, source: str, target: str, shapes: dict[str, tuple[int, ...]], wild: bool
) -> Connection:
    inputs, outputs = int(np.prod(shapes[source])), int(np.prod(shapes[target]))
    delayed = draw.random() < 0.6
    longest = int(draw.choice([1, 3, 17, LONGEST]))
    low, high = [(-300, 300), (0, 255), (-255, 0), (-20, 40)][int(draw.integers(4))]
    if draw.random() < 0.6:
        weight = draw.integers(low, high + 1, (outputs, inputs))
        delay = draw.integers(0, longest + 1, weight.shape) if delayed else None
        synapses = Dense(weight, delay)
    else:
        there = draw.random((outputs, inputs)) < draw.choice([0.05, 0.3, 0.9])
        counts = there.sum(1)
        weight = draw.integers(low, high + 1, int(counts.sum()))
        start, listed = np.concatenate([[0], np.cumsum(counts)]), np.nonzero(there)[1]
        delay = draw.integers(0, longest + 1, len(weight)) if delayed else None
        synapses = Sparse(inputs, start, listed, weight, delay)
    return Connection(
        name,
        source,
        target,
        synapses,
        exponent=int(draw.integers(-8, 18)) if wild else int(draw.integers(-3, 2)),
        bits=int(draw.integers(1, 9)) if wild else int(draw.integers(4, 9)),
        sign=str(draw.choice(SIGNS)),
        graded=bool(draw.random() < 0.2),
    )


def _conv(draw: np.random.Generator, size: tuple[int, ...], wild: bool) -> Conv:
    channels, height, width = size
    groups = int(draw.choice([g for g in (1, 2, 3) if channels % g == 0]))
    kernel = [int(draw.integers(1, min(3, n) + 1)) for n in (height, width)]
    outputs = groups * int(draw.integers(1, 4))
    bound = 2**17 if wild else 200
    weight = draw.integers(-bound, bound, (outputs, channels // groups, *kernel))
    stride, padding = (tuple(int(n) for n in draw.integers(low, low + 2, 2)) for low in (1, 0))
    wide = [int(draw.integers(1, 3)) if (k - 1) * 2 < n else 1 for k, n in zip(kernel, size[1:], strict=True)]
    pairs = {"stride": (stride[0], stride[1]), "padding": (padding[0], padding[1]), "dilation": (wide[0], wide[1])}
    return Conv(weight, (channels, height, width), **pairs, groups=groups)
