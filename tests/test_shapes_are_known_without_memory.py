"""On torch's meta device, where tensors have a shape and no memory, layers tell the shapes of their outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import snnkit
from snnkit.synapse.delay import KINDS
from snnkit.synapse.taps import KERNELS


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_delays(kind: str, kernel: str) -> None:
    layer = snnkit.DelayLinear(4, 3, max_delay=5, kind=kind, kernel=kernel).to("meta")
    for mode in (True, False):
        assert layer.train(mode)(torch.rand(6, 2, 4, device="meta")).shape == (6, 2, 3)


def test_a_network() -> None:
    net = snnkit.Network(
        snnkit.DelayConv2d(1, 4, 3, max_delay=2),
        nn.BatchNorm2d(4),
        snnkit.LIF(tau=3.0, learn=("tau",)),
        nn.Flatten(),
        snnkit.Recurrent(snnkit.ALIF(), nn.Linear(64, 64)),
        snnkit.DelayLinear(64, 10, max_delay=2),
        snnkit.Readout(),
    )
    y, state = net.to("meta").run(torch.rand(5, 2, 1, 6, 6, device="meta"))
    assert y.shape == (5, 2, 10) and state["2"]["v"].shape == (2, 4, 4, 4)


def test_a_layer_with_delays_is_made_without_memory_and_filled_later() -> None:
    full, x = snnkit.DelayLinear(4, 3, max_delay=5), torch.rand(6, 2, 4)
    with torch.device("meta"):
        layer = snnkit.DelayLinear(4, 3, max_delay=5)
    layer = layer.to_empty(device="cpu")
    layer.load_state_dict(full.state_dict())
    assert torch.equal(layer(x), full(x))
