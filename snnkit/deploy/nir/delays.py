"""Branches of Delay and Linear as one layer with delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from snnkit.files.schema import UnfitError
from snnkit.synapse import DelayLinear
from snnkit.synapse.delay import KINDS

_LONGEST = 1 << 20
_MOST_TAPS = 64
_MOST_SYNAPSES = 1 << 28


@dataclass(frozen=True, eq=False)
class Branch:
    """A way from a node to another: delays in steps, weights, delays again.

    Args:
        weight: [outputs, inputs].
        bias: [outputs], or None.
        before: steps for each input, or None.
        behind: steps for each output, or None.
        notes: what our writer noted with the weights.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    before: np.ndarray | None
    behind: np.ndarray | None
    notes: Mapping[str, Any]

    def steps(self) -> np.ndarray:
        """Return the delay of every synapse."""
        total = np.zeros(self.weight.shape, np.int64)
        if self.before is not None:
            total = total + self.before
        return total if self.behind is None else total + self.behind[:, None]


def whole_steps(delay: np.ndarray, dt: float, count: int, where: str) -> np.ndarray:
    """Return delays in steps for delays in time, one for each of `count` features; raises UnfitError."""
    steps = np.asarray(delay, np.float64).reshape(-1) / dt
    whole = np.round(steps)
    if (np.abs(steps - whole) > 1e-3).any() or whole.min() < 0 or whole.max() > _LONGEST:
        worst = float(np.asarray(delay).reshape(-1)[np.argmax(np.abs(steps - whole))])
        raise UnfitError(
            f"{where} delays by {worst:g}, which is no whole number of steps of {dt:g} from 0 to {_LONGEST:,}; "
            "give the dt of the network's writer"
        )
    if whole.size not in (1, count):
        raise UnfitError(f"{where} has {whole.size} delays for {count} features")
    return np.broadcast_to(whole, count).astype(np.int64)


def delayed(branches: Sequence[Branch], where: str) -> nn.Module:
    """Return the layer that sums some branches; raises UnfitError where their sizes differ."""
    if len({branch.weight.shape for branch in branches}) != 1 or branches[0].weight.ndim != 2:
        raise UnfitError(f"{where} sums branches of different sizes")
    given = [branch.bias for branch in branches if branch.bias is not None]
    late = [branch for branch in branches if branch.bias is not None and branch.behind is not None]
    if late:
        raise UnfitError(f"{where} has a bias before a delay, which would start late; put it on a branch without one")
    bias = np.sum(given, axis=0) if given else None
    notes = branches[0].notes
    if notes.get("layer") != "DelayLinear" and not any(branch.steps().any() for branch in branches):
        return linear(np.sum([branch.weight for branch in branches], axis=0), bias)
    heard = [branch for branch in branches if branch.weight.any()] or list(branches[:1])
    kind = _kind(heard, notes)
    weight, delay = _synaptic(heard) if kind == "synaptic" else _shared(heard, kind)
    if delay.size > _MOST_SYNAPSES:
        raise UnfitError(f"{where} has more than {_MOST_SYNAPSES:,} synapses")
    return _layer(weight, delay, bias, kind=kind, longest=notes.get("max_delay", 0))


def linear(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    """Return a Linear of these weights, float32."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer


def parameter(values: np.ndarray) -> nn.Parameter:
    """Return values as a float32 parameter."""
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)))


def _kind(branches: Sequence[Branch], notes: Mapping[str, Any]) -> str:
    """Return what has a delay of its own: as noted where that fits, or the least that says it."""
    fits = {
        "synaptic": True,
        "axonal": all(branch.behind is None for branch in branches),
        "dendritic": all(branch.before is None for branch in branches),
    }
    noted = str(notes.get("kind"))
    if noted in KINDS:
        return noted if fits[noted] else "synaptic"
    return next((kind for kind in ("axonal", "dendritic") if fits[kind] and len(branches) == 1), "synaptic")


def _synaptic(branches: Sequence[Branch]) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and delays [outputs, inputs, taps]: branches share a tap where they share no synapse."""
    weights, delays = [branches[0].weight.copy()], [np.where(branches[0].weight != 0, branches[0].steps(), 0)]
    for branch in branches[1:]:
        there = branch.weight != 0
        if (there & (weights[-1] != 0)).any():
            weights.append(np.zeros_like(branch.weight))
            delays.append(np.zeros(branch.weight.shape, np.int64))
        weights[-1] = np.where(there, branch.weight, weights[-1])
        delays[-1] = np.where(there, branch.steps(), delays[-1])
    return np.stack(weights, -1), np.stack(delays, -1)


def _shared(branches: Sequence[Branch], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, and delays [inputs or outputs, taps], with a tap for each branch."""
    steps = [branch.before if kind == "axonal" else branch.behind for branch in branches]
    width = branches[0].weight.shape[1 if kind == "axonal" else 0]
    delays = [np.zeros(width, np.int64) if one is None else one for one in steps]
    return np.stack([branch.weight for branch in branches], -1), np.stack(delays, -1)


def _layer(weight: np.ndarray, delay: np.ndarray, bias: np.ndarray | None, *, kind: str, longest: Any) -> DelayLinear:
    if weight.shape[-1] > _MOST_TAPS:
        raise UnfitError(f"{weight.shape[-1]} branches reach the same synapse; at most {_MOST_TAPS} are read")
    noted = longest if isinstance(longest, int) and 0 <= longest <= _LONGEST else 0
    layer = DelayLinear(
        weight.shape[1],
        weight.shape[0],
        max_delay=max(int(delay.max(initial=0)), noted),
        kind=kind,
        taps=weight.shape[-1],
        learn=False,
        bias=bias is not None,
    )
    layer.weight = parameter(weight)
    layer.set_delay(torch.from_numpy(delay.astype(np.float32)))
    if bias is not None:
        layer.bias = parameter(bias)
    return layer
