"""Choose the scale of a population: as fine as its weights and its membrane allow, and closest to the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnkit.deploy.integer import INPUT, IntegerNetwork
from snnkit.deploy.quantisation.affine import Weights
from snnkit.deploy.quantisation.grid import HIGHEST, UNIT, Rounded, format_of, rounded, spacing
from snnkit.deploy.quantisation.lowering import Link, Stage

LIMITS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Shares of the largest weight from which on weights are clipped: the smaller, the finer all others."""

MARGIN = 2.0
"""How far current and membrane stay below the chip's 24 bits on calibration data."""

_WORTH = 0.95
"""What a later candidate's error must be below, as a share of the best before: calibration data are few."""

_BITS_24 = float(1 << 23)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a stage does on calibration data.

    Args:
        source: what arrives on the chip [T, B, features…], in step with the network.
        arrived: what arrives in the network, likewise.
        spikes: what the network's layer answers [T, B, features…].
        membrane: its membrane after each step, counted from the reset.
        graded: whether the network's input counts with its value.
    """

    source: Tensor
    arrived: Tensor
    spikes: Tensor
    membrane: Tensor
    graded: bool


@dataclass(frozen=True, eq=False)
class Chosen:
    """A stage at its scale, the share at which weights were clipped, its answer, and how near 24 bits it came."""

    scale: float
    limit: float
    answer: Tensor
    peak: float


def choose(stage: Stage, seen: Seen, *, bits: int) -> Chosen:
    """Return the scale whose answer on the chip is nearest to the network's; clipping must be worth it."""
    largest = _largest(stage, seen)
    best: tuple[float, Chosen] | None = None
    tried = set()
    for scale, limit in _candidates(stage, bits):
        while scale * max(MARGIN * largest, _theta(stage) * _BITS_24 / UNIT / (HIGHEST + 1)) > _BITS_24:
            scale /= 2
        if (scale, limit) in tried:
            continue
        tried.add((scale, limit))
        trial = rounded(stage, scale, bits=bits, late=1, limit=limit, graded=seen.graded)
        answer = alone(trial, stage, seen)(seen.source)
        error = _error(stage, seen, answer)
        if best is None or error < _WORTH * best[0]:
            best = error, Chosen(scale, limit, answer, scale * largest / _BITS_24)
        if error == 0:
            break
    assert best is not None
    return best[1]


def alone(trial: Rounded, stage: Stage, seen: Seen) -> IntegerNetwork:
    """Return a network of one population, which takes what the one before answers."""
    own = {stage.name, *(part.name for part in trial.extra)}
    connections = tuple(c if c.source in own else replace(c, source=INPUT) for c in trial.connections)
    return IntegerNetwork(
        tuple(seen.source.shape[2:]),
        (*trial.extra, trial.population),
        tuple(replace(c, graded=seen.graded) if c.source == INPUT else c for c in connections),
        read="v" if stage.theta is None else "spikes",
        scale=trial.scale,
    )


def _error(stage: Stage, seen: Seen, answer: Tensor) -> float:
    wanted = seen.membrane if stage.theta is None else seen.spikes
    return float((answer.double() - wanted.double()).square().sum())


def _theta(stage: Stage) -> float:
    return 0.0 if stage.theta is None else float(stage.theta.max())


def _candidates(stage: Stage, bits: int) -> Iterator[tuple[float, float]]:
    """Yield scales with their limits, first one that represents all weights if there is one.

    Where several links meet, the largest weight of all sets the scale, or that of the link with the smallest: then
    the others are multiplied by powers of 2. Convolutions cannot be.
    """
    held = [link.weights for link in stage.links if link.weights.weight.any()]
    if not held:
        yield UNIT * 128.0 / (_theta(stage) or 1.0), 1.0
        return
    fixed = [part for part in held if part.geometry is not None]
    joined = Weights(np.concatenate([part.weight.ravel() for part in fixed or held])[:, None])
    smallest = min(fixed or held, key=lambda part: np.abs(part.weight).max())
    for part, limits in ((joined, LIMITS[:1]), (smallest, LIMITS)):
        size, fmt = float(np.abs(part.weight).max()), format_of(part, bits)
        if fixed:
            fmt = replace(fmt, sign="mixed")
        parts = spacing(part.weight, fmt.levels)
        if parts is not None:
            yield UNIT * fmt.step * (fmt.levels // parts) * parts / size, 1.0
        for limit in limits:
            yield UNIT * fmt.top / (limit * size), limit


def _largest(stage: Stage, seen: Seen) -> float:
    """Return the largest current, or membrane that no reset ends, that the network has."""
    total = torch.from_numpy(stage.drive).float()
    for link in stage.links:
        own = link.source == stage.name
        total = total + current(link, seen.spikes if own else seen.arrived, own=own)
    keep = torch.from_numpy(np.asarray(stage.keep_u)).float()
    if bool((keep > 0).any()):
        held, steps = torch.zeros_like(total[0]), []
        for x in total:
            held = keep * held + x
            steps.append(held)
        total = torch.stack(steps)
    lowest = -float(seen.membrane.min())
    highest = float(seen.membrane.max()) if stage.theta is None else 0.0
    return max(float(total.abs().max()), lowest, highest, 1e-30)


def current(link: Link, spikes: Tensor, *, own: bool) -> Tensor:
    """Return what a link makes of spikes [T, B, features…], [T, B, neurons], in real numbers.

    Args:
        link: the weights.
        spikes: of its source.
        own: whether the source is the target, whose spikes come back a step later.
    """
    part = link.weights
    weight = part.kernel.float()
    if part.geometry is not None:
        at = part.geometry
        image = spikes.flatten(0, 1).view(-1, *at.size)
        y = functional.conv2d(image, weight, None, at.stride, at.padding, at.dilation, at.groups)
        return _later(y.flatten(1).unflatten(0, spikes.shape[:2]), own)
    flat = spikes.flatten(2)
    if part.delay is None:
        return _later(functional.linear(flat, weight), own)
    delay = torch.from_numpy(part.delay)
    total = flat.new_zeros(*flat.shape[:2], len(weight))
    for steps in delay.unique().tolist():
        total = total + _later(functional.linear(flat, torch.where(delay == steps, weight, 0.0)), steps + own)
    return total


def _later(y: Tensor, steps: int) -> Tensor:
    return y if steps == 0 else torch.cat([torch.zeros_like(y[:steps]), y[:-steps]])
