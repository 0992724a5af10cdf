"""Delays: classes that differ in the order of spikes alone, told apart by learning how long each spike waits."""

import torch
from torch import nn

import snnkit
from snnkit.data import motifs
from snnkit.train import TrainSettings, evaluate, fit

torch.set_num_threads(1)
task = motifs.draw(4, 12, generator=torch.Generator().manual_seed(0), steps=30)


def samples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, labels = task.sample(count, generator=torch.Generator().manual_seed(seed))
    return x.transpose(0, 1), labels


train, test = samples(1000, 1), samples(500, 2)
settings = TrainSettings(epochs=8, batch_size=25, lr=2e-2, delay_lr=0.6, loss="max", schedule="cosine")
for name, longest, learn in (("no", 0, False), ("fixed", 11, False), ("learnt", 11, True)):
    torch.manual_seed(0)
    net = snnkit.Network(
        snnkit.DelayLinear(12, 16, max_delay=longest, learn=learn),
        snnkit.LIF(tau=1.0),
        nn.Linear(16, 4),
        snnkit.Readout(tau=1.0),
    )
    snnkit.initialise(net, train[0].transpose(0, 1)[:, :200], rate=0.1)
    first = net[0].delay.detach().clone()
    fit(net, train, settings=settings)
    found = evaluate(net, test, mode="max").accuracy
    moved = (net[0].delay.detach() - first).abs().mean()
    print(f"{name} delays: {found:.0%} right, a guess is 25%; they moved by {moved:.1f} steps in the mean")
print("delays to the first neuron, in whole steps:", net[0].rounded()[0, :, 0].tolist())
costs = snnkit.synapse.delayed.costs(net.train()[0].problem(train[0].transpose(0, 1)))
print("methods that could compute them, the cheapest first:", ", ".join(costs))
