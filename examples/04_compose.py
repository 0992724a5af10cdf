"""Compose: run, carry the state, record what happens inside, save and load."""

import tempfile
from pathlib import Path

import torch
from torch import nn

import snnkit

torch.manual_seed(0)
net = snnkit.Network(nn.Linear(64, 128), snnkit.CubaLIF(tau_syn=4.0), nn.Linear(128, 10), snnkit.Readout(tau=4.0))
x = torch.rand(30, 8, 64)
whole = net(x)
first, state = net.run(x[:12])
rest, state = net.run(x[12:], state)
print("two pieces equal the whole:", torch.equal(torch.cat([first, rest]), whole))
y_t, state = net.step(x[0], state)
traces = net.record(x, ["1.v", "1"])
print("membranes", list(traces["1.v"].shape), "spikes per neuron", traces["1"].mean(1).sum(0).mean().item())
lengths = torch.tensor([30, 30, 10, 20, 5, 30, 30, 1])
print("padding is silent:", not net.run(x, lengths=lengths)[0][10:, 2].any())
with tempfile.TemporaryDirectory() as folder:
    snnkit.save(net, Path(folder) / "net.h5")
    print("loaded gives the same:", torch.equal(snnkit.load(Path(folder) / "net.h5")(x), whole))
