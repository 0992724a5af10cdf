"""How well a trained network does on data, and how early."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from snnkit.network import Network
from snnkit.train.batches import Batches, Encode, Split, check_split, generator_for, samples_first
from snnkit.train.layers import passed
from snnkit.train.losses import check_target, labels_of, predictions_over_time
from snnkit.train.randomness import caller_randomness_kept


@runtime_checkable
class Watchable(Protocol):
    """A module that tells the spikes inside, as `snnkit.deploy.Emulated` does."""

    def watch(self, x: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the outputs for x [T, B, features…], and name to spikes [T, B, features…]."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network did on a split.

    Args:
        accuracy: share of samples named right after all their steps, 0..1.
        accuracy_over_time: the same had the outputs been read after 1, 2, … T steps.
        confusion: samples of each class (rows) by the class that they were named (columns), [C, C].
        spikes: spikes per sample of each spiking layer, or of each population of a chip, by its name; padding does
            not count.
        samples: how many there were.
        seconds: wall time, encoding included.
    """

    accuracy: float
    accuracy_over_time: tuple[float, ...]
    confusion: Tensor
    spikes: Mapping[str, float]
    samples: int
    seconds: float

    @property
    def spikes_per_sample(self) -> float:
        """Spikes of all layers, per sample."""
        return sum(self.spikes.values())

    def __str__(self) -> str:
        right = round(self.accuracy * self.samples)
        text = f"accuracy {100 * self.accuracy:.1f} % ({right} of {self.samples} samples), {self.seconds:.2g} s"
        layers = ", ".join(f"{name}: {count:.1f}" for name, count in self.spikes.items())
        return f"{text}; {self.spikes_per_sample:.1f} spikes a sample ({layers})" if layers else text


def evaluate(
    net: nn.Module,
    split: Split,
    *,
    encode: Encode | None = None,
    batch_size: int = 256,
    mode: str = "rate",
    seed: int = 0,
) -> Evaluation:
    """Measure a network on data, on the device where its weights are; nothing about it changes.

    Args:
        net: takes sequences [T, B, features…], returns outputs [T, B, C]. Spikes are counted in a `snnkit.Network`,
            that behind `torch.compile` too, and in `snnkit.deploy.Emulated`.
        split: (inputs, targets) or (inputs, targets, lengths), samples first, or a Dataset of such tuples.
        encode: turns inputs [B, …] and a generator into sequences, as for `fit`.
        batch_size: samples at once; random encoding depends on it.
        mode: how outputs are read: "rate", "last", "max" or "first_spike".
        seed: of random encoding.
    Returns:
        The measurements.
    Raises:
        InputError: data that do not fit, an unknown mode.

    Example:
        >>> net = snnkit.Network(nn.Linear(4, 3), snnkit.Readout(tau=2.0))
        >>> found = evaluate(net, (torch.rand(8, 5, 4), torch.arange(8) % 3))
        >>> found.samples, len(found.accuracy_over_time), found.confusion.sum().item()
        (8, 5, 8)
    """
    batches = Batches(check_split(split, "split"), batch_size, seed)
    tally = _Tally()
    since, training = time.monotonic(), net.training
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    net.eval()
    try:
        with torch.no_grad(), caller_randomness_kept():
            for number, batch in enumerate(batches.in_order()):
                x = (encode or samples_first)(batch.inputs.to(device), generator_for(device, seed, "evaluate", number))
                lengths = None if batch.lengths is None else batch.lengths.to(device)
                y = tally.run(net, x, lengths)
                tally.count(predictions_over_time(y, mode, lengths), batch.target.to(device), y.shape[-1])
    finally:
        net.train(training)
    return tally.evaluation(time.monotonic() - since)


class _Tally:
    """Sums over batches."""

    def __init__(self) -> None:
        self.right = torch.zeros(0, dtype=torch.int64)
        self.confusion = torch.zeros(0, 0, dtype=torch.int64)
        self.spikes: dict[str, float] = {}
        self.samples = 0

    def run(self, net: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the outputs, and count the spikes inside where the layers can be seen."""
        if isinstance(net, Watchable):
            y, spikes = net.watch(x)
            for name, fired in spikes.items():
                counts = fired.flatten(2).sum(2)
                step = torch.arange(len(counts), device=counts.device)[:, None]
                self._add(name, counts if lengths is None else counts * (step < lengths))
            return y
        # What torch.compile returns is no Network and holds one.
        inner = getattr(net, "_orig_mod", net)
        if not isinstance(inner, Network):
            return net(x)
        y = x
        for layer in passed(inner, x, lengths):
            y = layer.outputs
            if layer.spiking:
                self._add(layer.name, y)
        return y

    def _add(self, name: str, spikes: Tensor) -> None:
        self.spikes[name] = self.spikes.get(name, 0.0) + spikes.sum(dtype=torch.float64).item()

    def count(self, named: Tensor, target: Tensor, classes: int) -> None:
        """Add one batch: classes named at each step [T, B], and the right ones [B] or their shares [B, C]."""
        check_target(target, named.shape[1], classes)
        target = labels_of(target)
        right = (named == target).sum(1).cpu()
        steps = max(len(right), len(self.right))
        self.right = _extended(self.right, steps) + _extended(right, steps)
        cells = torch.bincount(target.long() * classes + named[-1], minlength=classes**2).cpu()
        self.confusion = cells.view(classes, classes) + (self.confusion if self.samples else 0)
        self.samples += len(target)

    def evaluation(self, seconds: float) -> Evaluation:
        """Return the means."""
        over_time = tuple((self.right.double() / self.samples).tolist())
        spikes = {name: total / self.samples for name, total in self.spikes.items()}
        return Evaluation(over_time[-1], over_time, self.confusion, spikes, self.samples, seconds)


def _extended(right: Tensor, steps: int) -> Tensor:
    """Return counts over more steps: past the end of a shorter batch its last predictions stay."""
    last = right[-1:] if len(right) else right.new_zeros(1)
    return torch.cat([right, last.expand(steps - len(right))])
