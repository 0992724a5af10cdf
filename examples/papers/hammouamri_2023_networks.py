"""The arms of the experiment on delays: networks with as many numbers to store, and how each treats time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import snnkit
from snnkit.synapse import Delayed


@dataclass(frozen=True)
class Shape:
    """What is common to all arms.

    Args:
        inputs, hidden, classes: sizes; `hidden` is that of the arms with delays.
        layers: hidden layers.
        max_delay: longest delay, in steps.
        taps: synapses of each pair.
        tau: membrane time constant, in steps; at 1 nothing is left after a step.
        dropout: share of hidden neurons that is silenced for a whole sample.
        delayed_output: whether the last connection has delays as the others have.
    """

    inputs: int
    hidden: int
    classes: int
    layers: int = 2
    max_delay: int = 24
    taps: int = 1
    tau: float = 1.005
    dropout: float = 0.4
    delayed_output: bool = True


class Through(nn.Module):
    """A network that runs on through the silence after a recording, as in the paper; its loss knows where it ends.

    Args:
        net: what runs over the sequences.
        shares: whether the outputs become shares of the classes, as the paper's loss takes them.
    """

    def __init__(self, net: snnkit.Network, *, shares: bool) -> None:
        super().__init__()
        self.net = net
        self.shares = shares

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [T, B, C] of x [T, B, features], all the same where the network has one for all steps."""
        y = self.net(x)
        y = y if len(y) == len(x) else y.expand(len(x), -1, -1)
        return y.softmax(-1) if self.shares else y


class SharedDropout(nn.Module):
    """Dropout that silences a neuron for all of a sample's steps."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def run(self, x: Tensor, state: None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Return x [T, B, features] with some of its columns at 0 while training, and no state."""
        return x * nn.functional.dropout(torch.ones_like(x[0]), self.share, self.training), None


class Convolution(nn.Conv1d):
    """A causal convolution over time with every tap free: the delays that are there are all of them."""

    def __init__(self, n_inputs: int, n_outputs: int, taps: int) -> None:
        super().__init__(n_inputs, n_outputs, taps, bias=False)

    def run(self, x: Tensor, state: None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Return the outputs [T, B, n_outputs] of x [T, B, n_inputs], and no state."""
        rows = nn.functional.pad(x.permute(1, 2, 0), (self.kernel_size[0] - 1, 0))
        return self(rows).permute(2, 0, 1), None


class Gated(nn.Module):
    """One of torch's recurrent networks as a layer."""

    def __init__(self, cells: nn.RNNBase) -> None:
        super().__init__()
        self.cells = cells

    def run(self, x: Tensor, state: None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Return the outputs [T, B, hidden] of x [T, B, features], and no state; padding comes after what counts."""
        return self.cells(x)[0], None


class Sum(nn.Module):
    """The sum over time, as a sequence of one step."""

    def run(self, x: Tensor, state: None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Return the sum [1, B, features] of x [T, B, features], zeros past a sample's end; and no state."""
        return x.sum(0, keepdim=True), None


def stored(net: nn.Module) -> int:
    """Return how many numbers a network consists of: weights, normalisation, and delays, learnt or not."""
    fixed = sum(layer.delay.numel() for layer in net.modules() if isinstance(layer, Delayed) and not layer.learn)
    return snnkit.baseline.count_parameters(net) + fixed


def none(shape: Shape) -> snnkit.Network:
    """Return the network without delays."""
    return _spiking(shape, lambda n_inputs, n_outputs: nn.Linear(n_inputs, n_outputs, bias=False))


def fixed(shape: Shape) -> snnkit.Network:
    """Return the network whose delays are drawn as whole steps and stay."""
    return _delayed(shape, kernel="integer", learn=False)


def learned(shape: Shape) -> snnkit.Network:
    """Return the paper's network: a delay for every synapse, learnt under a Gaussian that narrows."""
    return _delayed(shape, kernel="gauss")


def axonal(shape: Shape) -> snnkit.Network:
    """Return the network with a learnt delay for every input of a layer."""
    return _delayed(shape, kernel="gauss", kind="axonal")


def recurrent(shape: Shape) -> snnkit.Network:
    """Return the network without delays from layer to layer, whose neurons hear each other, each after its own time.

    Neurons, training and the longest delay are those of the other arms. DelRec's network for SHD has nearly the same
    neurons, but recurrence in its second layer alone, orthogonal first weights there, dropout of what is heard, delays
    of 10 to 30 steps at first, and a kernel that narrows until the end of training.

    Source: Queant, Rançon, Cottereau & Masquelier, DelRec: learning delays in recurrent spiking neural networks, 2025.
    """

    def neurons() -> nn.Module:
        back = snnkit.DelayLinear(
            shape.hidden, shape.hidden, max_delay=shape.max_delay, kind="axonal", kernel="triangle"
        )
        return snnkit.Recurrent(_lif(shape), back)

    return _spiking(shape, lambda n_inputs, n_outputs: nn.Linear(n_inputs, n_outputs, bias=False), neurons)


def convolution(shape: Shape) -> snnkit.Network:
    """Return the ANN of temporal convolutions."""
    return _network(shape, lambda n_in, n_out: Convolution(n_in, n_out, shape.max_delay + 1), nn.ReLU, nn.Identity())


def lstm(shape: Shape) -> snnkit.Network:
    """Return the LSTM."""
    return _gated(shape, nn.LSTM)


def gru(shape: Shape) -> snnkit.Network:
    """Return the GRU."""
    return _gated(shape, nn.GRU)


def bag(shape: Shape) -> snnkit.Network:
    """Return the ANN that sees each channel's sum over time and nothing else."""
    net = _network(shape, lambda n_in, n_out: nn.Linear(n_in, n_out, bias=False), nn.ReLU, nn.Identity())
    return snnkit.Network(Sum(), nn.BatchNorm1d(shape.inputs), *net)


ARMS: dict[str, Callable[[Shape], snnkit.Network]] = {
    arm.__name__: arm for arm in (none, fixed, learned, axonal, recurrent, convolution, lstm, gru, bag)
}
"""Every arm by name."""


def build(arm: str, shape: Shape, *, seed: int) -> snnkit.Network:
    """Return an arm with as many numbers as the one with learnt delays has, its first weights from the seed.

    Args:
        arm: name of an arm.
        shape: of the arm with learnt delays.
        seed: of the first weights and delays.
    """
    wanted = _size("learned", shape, shape.hidden)
    low, high = 1, 16 * shape.hidden
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _size(arm, shape, middle) < wanted else (low, middle)
    nearest = min((max(low - 1, 1), low), key=lambda width: abs(_size(arm, shape, width) - wanted))
    shape = dataclasses.replace(shape, hidden=nearest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARMS[arm](shape)


def softmax_sum(y: Tensor, target: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Return the paper's loss: the cross-entropy of each class's share of the output, summed over time.

    Args:
        y: shares [T, B, C].
        target: class of each sample [B].
        lengths: steps of each sample that count [B]; all where it is not given.
    """
    if lengths is not None:
        y = y * (torch.arange(len(y), device=y.device)[:, None] < lengths)[..., None]
    return nn.functional.cross_entropy(y.sum(0), target)


def _size(arm: str, shape: Shape, hidden: int) -> int:
    with torch.random.fork_rng(devices=[]):
        return stored(ARMS[arm](dataclasses.replace(shape, hidden=hidden)))


def _lif(shape: Shape) -> nn.Module:
    return snnkit.LIF(reset="hard", input_decay=False, tau=shape.tau, surrogate=snnkit.surrogate.atan(5.0))


def _delayed(shape: Shape, **options: object) -> snnkit.Network:
    settings = {"max_delay": shape.max_delay, "taps": shape.taps, **options}
    return _spiking(shape, lambda n_inputs, n_outputs: snnkit.DelayLinear(n_inputs, n_outputs, **settings))


def _spiking(
    shape: Shape, connect: Callable[[int, int], nn.Module], neurons: Callable[[], nn.Module] | None = None
) -> snnkit.Network:
    readout = snnkit.Readout(tau=shape.tau, input_decay=False)
    return _network(shape, connect, neurons or (lambda: _lif(shape)), readout)


def _network(
    shape: Shape, connect: Callable[[int, int], nn.Module], neurons: Callable[[], nn.Module], readout: nn.Module
) -> snnkit.Network:
    """Return hidden layers of connection, normalisation, neurons and dropout, then a connection and the readout."""
    layers, width = [], shape.inputs
    for _ in range(shape.layers):
        layers += [connect(width, shape.hidden), nn.BatchNorm1d(shape.hidden), neurons(), SharedDropout(shape.dropout)]
        width = shape.hidden
    if shape.delayed_output:
        return snnkit.Network(*layers, connect(width, shape.classes), readout)
    return snnkit.Network(*layers, nn.Linear(width, shape.classes, bias=False), readout)


def _gated(shape: Shape, kind: type[nn.RNNBase]) -> snnkit.Network:
    cells = Gated(kind(shape.inputs, shape.hidden))
    return snnkit.Network(
        nn.BatchNorm1d(shape.inputs),
        cells,
        SharedDropout(shape.dropout),
        nn.Linear(shape.hidden, shape.classes),
    )
