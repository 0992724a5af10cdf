"""Train and measure a spiking network and its ANN counterpart on the same digits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

import snnkit
from snnkit.baseline import counterpart
from snnkit.cli.demo.plan import Plan
from snnkit.data import Dataset, encode
from snnkit.deploy import EnergyReport, energy, energy_ann
from snnkit.train import Evaluation, History, TrainSettings, evaluate, fit

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and its measurements.

    Args:
        net: from sequences [T, B, 1, 8, 8] to outputs [T, B, 10].
        history: of its training.
        seconds: that its training took.
        validation, test: what it did on either split.
        cost: operations and energy per test sample.
    """

    net: snnkit.Network
    history: History
    seconds: float
    validation: Evaluation
    test: Evaluation
    cost: EnergyReport


@dataclass(frozen=True, eq=False)
class Run:
    """The two networks of one seed, and the data that they saw."""

    seed: int
    plan: Plan
    data: Dataset
    snn: Trained
    ann: Trained

    def spikes(self, images: Tensor) -> Tensor:
        """Return images [B, 1, 8, 8] as the spiking network's input [T, B, 1, 8, 8]."""
        return encode.latency(images, steps=self.plan.steps)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: tensors this small gain nothing from more, and times then compare between machines."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def spiking_network(plan: Plan, x: Tensor, *, seed: int) -> snnkit.Network:
    """Return a new spiking network whose hidden neurons fire at the planned rate on x [T, B, 1, 8, 8]."""
    torch.manual_seed(seed)
    net = snnkit.Network(
        nn.Flatten(),
        nn.Linear(64, plan.hidden, bias=False),
        snnkit.LIF(tau=plan.tau, input_decay=False),
        nn.Linear(plan.hidden, 10, bias=False),
        snnkit.Readout(tau=plan.tau, input_decay=False),
    )
    snnkit.initialise(net, x, rate=plan.rate)
    return net


def compile_kernels(plan: Plan) -> float:
    """Compile what the demo's network needs, or find it in the cache; return the seconds that it took."""
    since = time.monotonic()
    x = torch.rand(plan.steps, 2, 1, 8, 8)
    spiking_network(plan, x, seed=0)(x).sum().backward()
    return time.monotonic() - since


def moved(images: Tensor, shift: float) -> Tensor:
    """Return images [B, 1, H, W] followed by copies moved right, left, down and up by a part of a pixel, [5 B, …]."""
    height, width = images.shape[-2:]
    wide = functional.pad(images, (1, 1, 1, 1))
    copies = [images]
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        neighbour = wide[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        copies.append((1 - shift) * images + shift * neighbour)
    return torch.cat(copies)


def run(plan: Plan, data: Dataset, *, seed: int, say: Callable[[str], None]) -> Run:
    """Train both networks from one seed, choose each one's epoch on the validation images, and test it once.

    Args:
        plan: the settings.
        data: the digits.
        seed: of all draws.
        say: takes a line about each network when it is trained.
    """
    train = moved(data.train.images, plan.shift), data.train.labels.repeat(5)

    def spikes(images: Tensor, _: torch.Generator) -> Tensor:
        return encode.latency(images, steps=plan.steps)

    def still(images: Tensor, _: torch.Generator) -> Tensor:
        return images.unsqueeze(0)

    x = spikes(data.test.images, torch.Generator())
    net = spiking_network(plan, spikes(data.train.images[:256], torch.Generator()), seed=seed)
    snn = _trained(plan, net, spikes, (train, data), seed=seed, cost=lambda net: energy(net, x))
    say(_line("SNN", seed, snn))
    torch.manual_seed(seed)
    layers = counterpart(net)
    images = data.test.images
    ann = _trained(
        plan, snnkit.Network(*layers), still, (train, data), seed=seed, cost=lambda _: energy_ann(layers, images)
    )
    say(_line("ANN", seed, ann))
    return Run(seed, plan, data, snn, ann)


def _trained(
    plan: Plan,
    net: snnkit.Network,
    encoder: Callable[[Tensor, torch.Generator], Tensor],
    data: tuple[Pair, Dataset],
    *,
    seed: int,
    cost: Callable[[snnkit.Network], EnergyReport],
) -> Trained:
    train, splits = data
    validation = splits.validation.images, splits.validation.labels
    settings = TrainSettings(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        lr=plan.lr,
        weight_decay=plan.weight_decay,
        schedule="cosine",
        loss="rate",
        seed=seed,
        accelerator="cpu",
    )
    since = time.monotonic()
    history = fit(net, train, validation=validation, settings=settings, encode=encoder)
    seconds = time.monotonic() - since
    chosen = evaluate(net, validation, encode=encoder)
    test = evaluate(net, (splits.test.images, splits.test.labels), encode=encoder)
    return Trained(net, history, seconds, chosen, test, cost(net))


def _line(name: str, seed: int, trained: Trained) -> str:
    return (
        f"seed {seed}: {name} trained in {trained.seconds:.1f} s, "
        f"{trained.validation.accuracy:.1%} of the validation digits right after epoch {trained.history.best}"
    )
