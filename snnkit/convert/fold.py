"""BatchNorm folded into the weights before it, and time constants taken out of a sigmoid."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from snnkit.convert.rows import started
from snnkit.convert.shapes import layers
from snnkit.errors import InputError
from snnkit.network import Network
from snnkit.neuron import lif, plif
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed, Recurrent

_NORM = nn.modules.batchnorm._BatchNorm
_LIF = {
    plif(reset=reset, input_decay=decay).digest: lif(reset=reset, input_decay=decay)
    for reset in ("soft", "hard")
    for decay in (True, False)
}


def fold(net: Network) -> Network:
    """Return a copy of a network, on the CPU, with batch normalisation in the weights before it, to be evaluated.

    PLIF, whose time constant is behind a sigmoid, becomes LIF.

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
            row.append((name, _plain(copy.deepcopy(module).cpu())))
            continue
        if not row or not isinstance(row[-1][1], nn.Linear | nn.Conv1d | nn.Conv2d | Delayed):
            raise InputError(
                f"layer {name!r} ({type(module).__name__}) does not follow Linear or a convolution, so it cannot be "
                "folded into weights; move it there"
            )
        if module.running_mean is None or module.running_var is None:
            raise InputError(f"layer {name!r} has no running statistics; make it with track_running_stats=True")
        absorb(row[-1][1], copy.deepcopy(module).cpu())
    return row


def _plain(module: nn.Module) -> nn.Module:
    """Return a PLIF, or a recurrent layer of it, as LIF; others as they are."""
    if isinstance(module, Recurrent):
        return Recurrent(_lif(module.layer), module.connection).train(module.training)
    return _lif(module) if isinstance(module, Spiking) else module


def _lif(module: Spiking) -> Spiking:
    neuron = _LIF.get(module.neuron.digest)
    if neuron is None:
        return module
    values = {name: value.detach() for name, value in module.values().items()}
    values["tau"] = (1 / values.pop("w").double().sigmoid()).float()
    return Spiking(
        started(neuron, **module.neuron.states),
        learn=tuple("tau" if name == "w" else name for name in module.learn),
        surrogate=module.surrogate,
        detach_reset=module.detach_reset,
        backend=module.backend,
        **values,
    )


@torch.no_grad()
def absorb(layer: nn.Module, norm: nn.modules.batchnorm._BatchNorm) -> None:
    """Put a normalisation, by its running statistics, into the weights and the bias of the layer before it."""
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
