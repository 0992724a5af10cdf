"""Run a network layer by layer, seeing what goes into each layer and what comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InputError
from snnkit.network import Network, row
from snnkit.spiking import Spiking
from snnkit.synapse import Recurrent, fold
from snnkit.synapse.fold import stateful
from snnkit.synapse.hooks import hooked


@dataclass(frozen=True)
class Passed:
    """One layer and what passed through it.

    Args:
        name: the layer's name in the network, such as "1", or "2.0" in a network within it.
        module: the layer.
        inputs, outputs: sequences [T, B, features…].
    """

    name: str
    module: nn.Module
    inputs: Tensor
    outputs: Tensor

    @property
    def spiking(self) -> bool:
        """Whether the outputs are spikes."""
        layer = neuron_layer(self.module)
        return layer is not None and layer.neuron.spiking

    @property
    def kind(self) -> str:
        """What the layer is: its neuron, such as "lif", or its class, such as "Linear"."""
        layer = neuron_layer(self.module)
        return type(self.module).__name__ if layer is None else layer.neuron.name


def neuron_layer(module: nn.Module) -> Spiking | None:
    """Return the layer of neurons that a module is or wraps, or None."""
    inner = module.layer if isinstance(module, Recurrent) else module
    return inner if isinstance(inner, Spiking) else None


@contextlib.contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Look at a network without changing it: nothing is dropped, batches are normalised by their own statistics."""
    modes = {module: module.training for module in net.modules()}
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    for module in net.modules():
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                buffer.copy_(buffers[name])


def outputs(net: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return a network's outputs from fresh state; padding is kept from state and statistics where it can be."""
    return net.run(x, lengths=lengths)[0] if isinstance(net, Network) else net(x)


def run_layer(module: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return one layer's outputs over time [T, B, features…], from fresh state."""
    if stateful(module):
        return hooked(module, x, lambda x: module.run(x, lengths=lengths))[0]  # pyright: ignore[reportCallIssue]
    return fold(module, x, lengths)


def mean_over_steps(y: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean of outputs [T, B, features…] over samples and their valid steps [features…], in float64."""
    steps = len(y) * y.shape[1] if lengths is None else int(lengths.sum())
    return y.sum((0, 1), dtype=torch.float64) / steps


def passed(net: nn.Module, x: Tensor, lengths: Tensor | None = None, *, within: str = "") -> Iterator[Passed]:
    """Yield the layers of a network in order, each with its inputs and outputs, from fresh state.

    Args:
        net: a `snnkit.Network`; networks within it are entered. Of a module of one's own, the layers of neurons that
            it runs or calls come first, under their names in it, and then the module.
        x: input [T, B, features…].
        lengths: valid time steps of each sample [B].
        within: put before the names.
    Raises:
        InputError: another kind of module.

    Example:
        >>> net = Network(nn.Linear(4, 3), nn.Linear(3, 2))
        >>> [(layer.name, list(layer.outputs.shape)) for layer in passed(net, torch.rand(5, 1, 4))]
        [('0', [5, 1, 3]), ('1', [5, 1, 2])]
    """
    if not isinstance(net, Network):
        raise InputError(
            f"this {type(net).__name__} cannot be seen layer by layer; type snnkit.Network(nn.Linear(…), …)"
        )
    for name, module in row(net):
        if isinstance(module, Network):
            for layer in passed(module, x, lengths, within=f"{within}{name}."):
                yield layer
                x = layer.outputs
            continue
        inside: list[Passed] = []
        with _seen_in(module, f"{within}{name}.", inside):
            y = run_layer(module, x, lengths)
        yield from inside
        yield Passed(f"{within}{name}", module, x, y)
        x = y


@contextlib.contextmanager
def _seen_in(module: nn.Module, within: str, found: list[Passed]) -> Iterator[None]:
    """Note what passes through the layers of neurons in a module of one's own, which alone knows how they connect."""
    layers = {} if neuron_layer(module) else {n: m for n, m in module.named_modules() if neuron_layer(m)}
    layers = {n: m for n, m in layers.items() if not (n.endswith(".layer") and n.removesuffix(".layer") in layers)}

    def watch(name: str, layer: Any) -> None:
        run, forward = layer.run, layer.forward

        def seen(x: Tensor, state: Any = None, *, lengths: Tensor | None = None) -> Any:
            y, after = run(x, state, lengths=lengths)
            found.append(Passed(f"{within}{name}", layer, x, y))
            return y, after

        def called(x: Tensor) -> Tensor:
            y = forward(x)
            if not found or found[-1].outputs is not y:
                found.append(Passed(f"{within}{name}", layer, x, y))
            return y

        layer.run, layer.forward = seen, called

    own = {name: {k: vars(layer)[k] for k in ("run", "forward") if k in vars(layer)} for name, layer in layers.items()}
    for name, layer in layers.items():
        watch(name, layer)
    try:
        yield
    finally:
        for name, layer in layers.items():
            del layer.__dict__["run"], layer.__dict__["forward"]
            layer.__dict__.update(own[name])
