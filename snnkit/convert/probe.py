"""Inputs that show whether two networks are the same."""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.convert.shapes import Shape
from snnkit.network import Network
from snnkit.train.layers import passed

STEPS, BATCH = 24, 2
_GAINS = (1.0, 8.0)
_RATE = 0.3


def probes(shape: Shape, *, steps: int = STEPS) -> dict[str, Tensor]:
    """Return random inputs [steps, 2, features…] by what they are: spikes, large spikes, and normal numbers."""
    draw = torch.Generator().manual_seed(0)
    size = (steps, BATCH, *shape)
    spikes = (torch.rand(size, generator=draw) < _RATE).float()
    found = {f"spikes of size {gain:g}": spikes * gain for gain in _GAINS}
    return {**found, "normal numbers": torch.randn(size, generator=draw) * 2}


@torch.no_grad()
def outputs(net: Network, x: Tensor) -> list[Tensor]:
    """Return the spikes of every layer of neurons, and what the evaluated network gives at its end."""
    was = {module: module.training for module in net.modules()}
    net.eval()
    try:
        layers = list(passed(net, x))
    finally:
        for module, training in was.items():
            module.training = training
    return [layer.outputs for layer in layers if layer.spiking] + [layers[-1].outputs]


def differing(one: Tensor, other: Tensor) -> int:
    """Return how many values differ; all of them where the shapes do."""
    return int((one != other).sum()) if one.shape == other.shape else one.numel()
