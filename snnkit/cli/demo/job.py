"""Train and measure a spiking network, one with delays, and their ANN counterpart on the same digits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

import snnkit
from snnkit.baseline import counterpart
from snnkit.cli.demo.plan import Plan
from snnkit.cli.demo.section import NETWORKS
from snnkit.data import Dataset, encode
from snnkit.deploy import EnergyReport, energy, energy_ann
from snnkit.train import Evaluation, History, TrainSettings, evaluate, fit

Pair = tuple[Tensor, Tensor]
Encode = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and its measurements.

    Args:
        net: from sequences [T, B, 1, 8, 8] to outputs [T, B, 10].
        first: what its training started from, by the names of `net.named_parameters()`.
        history: of its training.
        seconds: that its training took.
        validation, test: what it did on either split.
        cost: operations and energy per test sample.
    """

    net: snnkit.Network
    first: Mapping[str, Tensor]
    history: History
    seconds: float
    validation: Evaluation
    test: Evaluation
    cost: EnergyReport


@dataclass(frozen=True, eq=False)
class Run:
    """The networks of one seed, and the data that they saw.

    Args:
        seed: of all draws.
        plan: the settings.
        data: the digits.
        networks: by the names of `section.NETWORKS`.
    """

    seed: int
    plan: Plan
    data: Dataset
    networks: Mapping[str, Trained]

    @property
    def snn(self) -> Trained:
        """The spiking network without delays."""
        return self.networks["snn"]

    @property
    def ann(self) -> Trained:
        """The ANN with the layers of `snn`."""
        return self.networks["ann"]

    @property
    def delays(self) -> Trained:
        """The spiking network that learns delays."""
        return self.networks["delays"]

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


def delay_network(plan: Plan, x: Tensor, *, seed: int) -> snnkit.Network:
    """Return a new spiking network that has delays in place of half of its neurons; see `spiking_network`."""
    torch.manual_seed(seed)
    chosen = plan.delays
    net = snnkit.Network(
        nn.Flatten(),
        snnkit.DelayLinear(64, chosen.hidden, max_delay=chosen.longest, kernel=chosen.kernel),
        snnkit.LIF(tau=plan.tau, input_decay=False, reset=chosen.reset),
        snnkit.DelayLinear(chosen.hidden, 10, max_delay=chosen.longest, kernel=chosen.kernel),
        snnkit.Readout(tau=plan.tau, input_decay=False),
    )
    snnkit.initialise(net, x, rate=plan.rate)
    return net


def compile_kernels(plan: Plan) -> float:
    """Compile what the demo's networks need, or find it in the cache; return the seconds that it took."""
    since = time.monotonic()
    x = (torch.rand(plan.steps, plan.batch_size, 1, 8, 8) < 0.1).float()
    for make in (spiking_network, delay_network):
        net = make(plan, x, seed=0)
        net(x).sum().backward()
        with torch.no_grad():
            net.eval()(x)
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
    """Train all networks from one seed, choose each one's epoch on the validation images, and test it once.

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

    typical = spikes(data.train.images[:256], torch.Generator())
    x, images = spikes(data.test.images, torch.Generator()), data.test.images
    networks: dict[str, Trained] = {}

    def add(name: str, net: snnkit.Network, encoder: Encode, cost: Callable[[snnkit.Network], EnergyReport]) -> None:
        networks[name] = _trained(net, _settings(plan, seed), encoder=encoder, train=train, data=data, cost=cost)
        say(_line(NETWORKS[name], seed, networks[name]))

    add("snn", spiking_network(plan, typical, seed=seed), spikes, lambda net: energy(net, x))
    add("delays", delay_network(plan, typical, seed=seed), spikes, lambda net: energy(net, x))
    torch.manual_seed(seed)
    layers = counterpart(networks["snn"].net)
    add("ann", snnkit.Network(*layers), still, lambda _: energy_ann(layers, images))
    return Run(seed, plan, data, networks)


def _settings(plan: Plan, seed: int) -> TrainSettings:
    return TrainSettings(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        lr=plan.lr,
        delay_lr=plan.delays.lr,
        weight_decay=plan.weight_decay,
        schedule="cosine",
        loss="rate",
        seed=seed,
        accelerator="cpu",
    )


def _trained(
    net: snnkit.Network,
    settings: TrainSettings,
    *,
    encoder: Encode,
    train: Pair,
    data: Dataset,
    cost: Callable[[snnkit.Network], EnergyReport],
) -> Trained:
    first = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    validation = data.validation.images, data.validation.labels
    since = time.monotonic()
    history = fit(net, train, validation=validation, settings=settings, encode=encoder)
    seconds = time.monotonic() - since
    chosen = evaluate(net, validation, encode=encoder)
    test = evaluate(net, (data.test.images, data.test.labels), encode=encoder)
    return Trained(net, first, history, seconds, chosen, test, cost(net))


def _line(name: str, seed: int, trained: Trained) -> str:
    return (
        f"seed {seed}: {name} trained in {trained.seconds:.1f} s, "
        f"{trained.validation.accuracy:.1%} of the validation digits right after epoch {trained.history.best}"
    )
