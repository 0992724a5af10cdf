"""BatchNorm folded into the weights before it, as every target needs it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from snnkit.convert.shapes import layers
from snnkit.errors import InputError
from snnkit.network import Network
from snnkit.synapse import Delayed

_NORM = nn.modules.batchnorm._BatchNorm


def fold(net: Network) -> Network:
    """Return a copy of a network, on the CPU, whose batch normalisation is in the weights before it, to be evaluated.

    Args:
        net: layers in a row; networks within it are opened, dropout is left out.
    Returns:
        The same function, up to the rounding of the products that are made here.
    Raises:
        InputError: a normalisation without running statistics, or one that does not follow Linear or a convolution.

    Example:
        >>> net = snnkit.Network(nn.Linear(4, 3), nn.BatchNorm1d(3), snnkit.LIF())
        >>> len(fold(net))
        2
    """
    return Network(*(module for _, module in folded(net))).eval()


@torch.no_grad()
def folded(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return copies of the layers of `fold(net)`, each under the name that it has in the network itself."""
    row: list[tuple[str, nn.Module]] = []
    for name, module in layers(net):
        if not isinstance(module, _NORM):
            row.append((name, copy.deepcopy(module).cpu()))
            continue
        if not row or not isinstance(row[-1][1], nn.Linear | nn.Conv1d | nn.Conv2d | Delayed):
            raise InputError(
                f"layer {name!r} ({type(module).__name__}) does not follow Linear or a convolution, so it cannot be "
                "folded into weights; move it there"
            )
        if module.running_mean is None or module.running_var is None:
            raise InputError(f"layer {name!r} has no running statistics; make it with track_running_stats=True")
        _fold(row[-1][1], copy.deepcopy(module).cpu())
    return row


def _fold(layer: nn.Module, norm: _NORM) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert isinstance(mean, Tensor) and isinstance(variance, Tensor)
    scale = (variance.double() + norm.eps).rsqrt()
    scale = scale * norm.weight.double() if isinstance(norm.weight, Tensor) else scale
    shift = norm.bias.double() if isinstance(norm.bias, Tensor) else torch.zeros_like(scale)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    before = layer.bias.double() if isinstance(layer.bias, Tensor) else torch.zeros_like(scale)
    folded = weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(folded.to(weight.dtype))
    layer.bias = nn.Parameter((before * scale + shift - mean.double() * scale).to(weight.dtype))
