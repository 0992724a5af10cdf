"""Describe a neuron: equations in discrete time, checked when it is built, on every backend at once."""

import torch

import snnkit
from snnkit.neuron import Neuron, Param

bursting = Neuron(
    name="bursting",
    states={"v": 0.0, "w": 0.0},
    params={"tau": Param(5.0, low=1.0), "slow": Param(30.0, low=1.0), "theta": Param(1.0)},
    update=["v = v + (x - w - v) / tau", "w = w - w / slow"],
    spike="v - theta",
    reset=["v = v - s * theta", "w = w + 0.3 * s"],
    reference="adaptation current after Izhikevich, 2007, chapter 8",
)
layer = snnkit.Spiking(bursting, tau=4.0, learn=("tau",), surrogate=snnkit.surrogate.triangle(1.0))
spikes = layer(torch.full((200, 1, 1), 3.0))
times = spikes[:, 0, 0].nonzero().flatten()
print(bursting, "fires", len(times), "times; the intervals grow from", int(times[1] - times[0]), "steps to", end=" ")
print(int(times[-1] - times[-2]))
spikes.sum().backward()
print("gradient of tau:", layer.param_tau.grad.item())
