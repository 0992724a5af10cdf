"""Connect: torch's own layers over time, and a layer connected to itself."""

import torch
from torch import nn

import snnkit

torch.manual_seed(0)
net = snnkit.Network(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.BatchNorm2d(8),
    snnkit.LIF(tau=torch.linspace(2, 9, 8).view(8, 1, 1)),
    nn.AvgPool2d(2),
    nn.Flatten(),
    nn.Linear(8 * 4 * 4, 64),
    snnkit.Recurrent(snnkit.ALIF(tau=10.0), nn.Linear(64, 64, bias=False)),
    nn.Linear(64, 10),
    snnkit.Readout(tau=5.0),
)
images = torch.rand(4, 1, 8, 8)
generator = torch.Generator().manual_seed(0)
y = net(snnkit.encode.rate(images, steps=20, generator=generator))
print("output", list(y.shape), "of a network with a time constant per channel:", net[2])
