"""The ANN with a spiking network's layers: ReLU in place of neurons, the input without time."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InputError
from snnkit.network import row
from snnkit.spiking import Spiking, check_lengths, check_sequence
from snnkit.synapse.fold import stateful


def counterpart(net: nn.Module) -> nn.Sequential:
    """Return the ANN with the same torch layers as a spiking network, newly initialised.

    Spiking layers become ReLU and readouts become the identity; every other layer keeps its name, size and
    place. Weights are drawn again by each layer's own `reset_parameters`, from torch's global generator. The ANN
    has as many parameters as the network, less those that its neurons learn: report `count_parameters` of both.

    Args:
        net: `snnkit.Network` of torch and spiking layers in a row; it is not changed.
    Returns:
        A module from `[B, features…]`, the still image or the `time_mean` of the sequence, to `[B, classes]`.
    Raises:
        InputError: where a layer has no counterpart, such as one that is connected to itself.

    Example:
        >>> counterpart(snnkit.Network(nn.Linear(4, 3), snnkit.LIF(), nn.Linear(3, 2), snnkit.Readout()))
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
          (1): ReLU()
          (2): Linear(in_features=3, out_features=2, bias=True)
          (3): Identity()
        )
    """
    if not isinstance(net, nn.Sequential):
        raise InputError(f"counterpart takes a snnkit.Network, not {type(net).__name__}")
    ann = _sequence(net, "", {})
    for module in ann.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return ann


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers a module learns; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def time_mean(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean over time `[B, features…]` of a sequence `[T, B, features…]`.

    Args:
        x: sequence, floating.
        lengths: valid steps of each sample `[B]`; later ones do not count.
    Raises:
        InputError: for input that is not a sequence, or lengths that do not fit it.

    Example:
        >>> time_mean(torch.tensor([[[1.0]], [[3.0]]]))
        tensor([[2.]])
    """
    check_sequence(x, "time_mean")
    if lengths is None:
        return x.mean(0)
    check_lengths(lengths, x)
    lengths = lengths.to(x.device).view(-1, *[1] * (x.ndim - 2))
    steps = torch.arange(len(x), device=x.device).view(-1, *[1] * (x.ndim - 1))
    return torch.where(steps < lengths, x, 0.0).sum(0) / lengths


def _sequence(net: nn.Sequential, path: str, copies: dict[int, Any]) -> nn.Sequential:
    """Return a network's layers with their counterparts in place; one that occurs again does so here."""
    layers = OrderedDict((name, _layer(module, f"{path}{name}", copies)) for name, module in row(net))
    return nn.Sequential(layers)


def _layer(module: nn.Module, path: str, copies: dict[int, Any]) -> nn.Module:
    """Return the counterpart of one layer."""
    if isinstance(module, nn.Sequential):
        return _sequence(module, f"{path}.", copies)
    if isinstance(module, Spiking):
        return nn.ReLU() if module.neuron.spiking else nn.Identity()
    if stateful(module):
        raise InputError(
            f"layer {path!r} ({type(module).__name__}) has no counterpart without time; "
            "compare with a network of torch and spiking layers in a row"
        )
    return copy.deepcopy(module, copies)
