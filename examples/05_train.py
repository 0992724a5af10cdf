"""Train: real digits as spike times, a leaky readout, gradients through the spikes."""

import torch
from torch import nn

import snnkit
from snnkit.train import TrainSettings, evaluate, fit

torch.manual_seed(0)
data = snnkit.data.load("digits")
train, validation, test = (
    (split.images.flatten(1), split.labels) for split in (data.train, data.validation, data.test)
)


def encode(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return snnkit.encode.latency(images, steps=10)


net = snnkit.Network(nn.Linear(64, 128), snnkit.LIF(tau=4.0), nn.Linear(128, 10), snnkit.Readout(tau=20.0))
snnkit.initialise(net, encode(train[0][:256], torch.Generator()), rate=0.1)
print(snnkit.diagnose(net, encode(train[0][:256], torch.Generator()), train[1][:256]))
settings = TrainSettings(epochs=10, lr=1e-2, batch_size=64)
history = fit(net, train, validation=validation, settings=settings, encode=encode)
print("test accuracy", evaluate(net, test, encode=encode).accuracy)
