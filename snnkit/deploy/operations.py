"""Operations that a network performs for an input, layer by layer, counted and not yet priced."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from snnkit.errors import InputError
from snnkit.network import row
from snnkit.spiking import Spiking, check_sequence
from snnkit.synapse import Recurrent, fold
from snnkit.synapse.fold import stateful

_CONNECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONNECTIONS += (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE_MEANS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_ROUTES = (nn.Identity, nn.Flatten, nn.Unflatten, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_ROUTES += (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardtanh)
_ACTIVATIONS += (nn.Softmax, nn.LogSoftmax, nn.Softplus)


@dataclass(frozen=True)
class LayerOperations:
    """What one layer does for one sample over all steps, as the mean over the samples.

    Attributes:
        name: the layer's path in the network, such as `2`.
        kind: the torch layer, such as `Conv2d`, or the neuron, such as `lif`.
        traffic: `spikes` or `analogue` into a connection; empty for neurons.
        spikes: spikes that neurons emit; an integer spike counts as that many.
        accumulate: additions of a weight, one per incoming spike and connection.
        multiply_accumulate: products of a weight and an analogue input, zeros included.
        multiply_accumulate_nonzero: those whose input is not zero.
        neurons: neurons of the layer.
        states: state variables of a neuron.
        updates: neurons times steps.
    """

    name: str
    kind: str
    traffic: str = ""
    spikes: float = 0.0
    accumulate: float = 0.0
    multiply_accumulate: float = 0.0
    multiply_accumulate_nonzero: float = 0.0
    neurons: int = 0
    states: int = 0
    updates: float = 0.0


@dataclass(frozen=True)
class _Signal:
    """Values `[T, B, features…]`, and how many spikes each is made of; None where they are analogue."""

    values: Tensor
    events: Tensor | None


def count(net: nn.Module, x: Tensor) -> tuple[LayerOperations, ...]:
    """Count the operations of a spiking network.

    An input or a spiking layer's output that holds whole numbers only is spikes: a value k is |k| of them. Every
    spike costs one accumulate per connection that leaves its neuron; connections into the zero padding do not
    exist. Average pooling and batch normalisation cost nothing, being absorbed by the neighbouring weights, so
    a spike that enters an average pool costs the fan-out of every cell that it reaches. A layer with analogue
    input multiplies at every step, whether or not the input changes. The bias is part of the neuron's update.

    Args:
        net: `snnkit.Network` or `nn.Sequential`; evaluated as `net.eval()` would, and not changed.
        x: input `[T, B, features…]`.
    Returns:
        One entry per connection and per layer of neurons, in order.
    Raises:
        InputError: for input that is not a sequence, or a layer whose operations are unknown.
    """
    check_net(net, "energy")
    check_sequence(x, "energy")
    return _walk(net, _Signal(x, _whole(x)))


def count_ann(model: nn.Module, x: Tensor) -> tuple[LayerOperations, ...]:
    """Count the multiply-accumulates of one pass of an ANN, `nn.Sequential` over `x` `[B, features…]`."""
    if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point() or x.numel() == 0:
        came = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"energy_ann got {came}; a floating tensor [B, features…] with samples is needed")
    check_net(model, "energy_ann")
    for module in model.modules():
        if stateful(module):
            raise InputError(f"energy_ann got a {type(module).__name__}; for spiking networks use energy(net, x)")
    return _walk(model, _Signal(x.unsqueeze(0), None))


def check_net(net: object, what: str) -> None:
    """Raise InputError for anything but a module."""
    if not isinstance(net, nn.Module):
        raise InputError(f"{what} takes a snnkit.Network, or one in the chip's integers, not {type(net).__name__}")


def _walk(net: nn.Module, signal: _Signal) -> tuple[LayerOperations, ...]:
    found: list[LayerOperations] = []
    with torch.no_grad():
        for name, module in layers_of(copy.deepcopy(net).eval()):
            signal = _pass(module, name, signal, found)
    return tuple(found)


_UNKNOWN = (
    "energy does not know what layer {!r} ({}) costs; chains of Linear, Conv, BatchNorm, pooling, Flatten, Dropout "
    "and spiking layers are counted, and layers with a method fan_out"
)


def layers_of(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield path and module of every layer, in the order in which nested sequences run them."""
    if isinstance(module, nn.Sequential):
        for child, inner in row(module):
            yield from layers_of(inner, f"{name}.{child}" if name else child)
    else:
        yield name, module


def _pass(module: nn.Module, name: str, signal: _Signal, found: list[LayerOperations]) -> _Signal:
    """Send a signal through a layer, and note what that costs."""
    x, events = signal.values, signal.events
    if isinstance(module, Spiking):
        y = module(x)
        found.append(_neurons(module, name, y))
        return _Signal(y, _whole(y) if module.neuron.spiking else None)
    if isinstance(module, Recurrent):
        return _recurrent(module, name, signal, found)
    if isinstance(module, _CONNECTIONS) or callable(getattr(module, "fan_out", None)):
        found.append(_connection(module, name, signal))
        return _Signal(module.run(x)[0] if stateful(module) else fold(module, x), None)  # pyright: ignore[reportCallIssue]
    if stateful(module):
        raise InputError(_UNKNOWN.format(name, type(module).__name__))
    y = fold(module, x)
    if events is None and isinstance(module, (*_NORMS, *_MEANS, *_ADAPTIVE_MEANS, *_ROUTES, *_ACTIVATIONS)):
        return _Signal(y, None)
    if isinstance(module, _ACTIVATIONS):
        return _Signal(y, None)
    if isinstance(module, _NORMS):
        return _Signal(y, events)
    if isinstance(module, _ROUTES) and events is not None:
        return _Signal(y, fold(module, events))
    if isinstance(module, (*_MEANS, *_ADAPTIVE_MEANS)) and events is not None:
        return _Signal(y, _sum_pool(module, name, events))
    raise InputError(_UNKNOWN.format(name, type(module).__name__))


def _recurrent(module: Recurrent, name: str, signal: _Signal, found: list[LayerOperations]) -> _Signal:
    """Send a signal through a recurrent layer; its connection sees each output one step later."""
    y = module(signal.values)
    late = torch.cat([torch.zeros_like(y[:1]), y[:-1]])
    back = _Signal(late, _whole(late) if module.layer.neuron.spiking else None)
    for child, inner in layers_of(module.connection, f"{name}.connection"):
        back = _pass(inner, child, back, found)
    found.append(_neurons(module.layer, name, y))
    return _Signal(y, _whole(y) if module.layer.neuron.spiking else None)


def _neurons(layer: Spiking, name: str, y: Tensor) -> LayerOperations:
    """Return the spikes and updates of a layer of neurons with output y."""
    neurons = math.prod(y.shape[2:])
    spikes = float(y.abs().sum(dtype=torch.float64)) / y.shape[1] if layer.neuron.spiking else 0.0
    return LayerOperations(
        name=name,
        kind=layer.neuron.name,
        spikes=spikes,
        neurons=neurons,
        states=len(layer.neuron.states),
        updates=float(neurons * y.shape[0]),
    )


def _connection(module: nn.Module, name: str, signal: _Signal) -> LayerOperations:
    """Return the accumulates of a connection with spikes as input, or its multiply-accumulates."""
    x = signal.values
    fan_out = _fan_out(module, name, x)
    kind = type(module).__name__
    if signal.events is not None:
        arrived = signal.events.sum((0, 1), dtype=torch.float64)
        accumulate = float((arrived * fan_out).sum()) / x.shape[1]
        return LayerOperations(name, kind, "spikes", accumulate=accumulate)
    nonzero = (x != 0).sum((0, 1)).double()
    return LayerOperations(
        name,
        kind,
        "analogue",
        multiply_accumulate=float(fan_out.sum()) * x.shape[0],
        multiply_accumulate_nonzero=float((nonzero * fan_out).sum()) / x.shape[1],
    )


def _fan_out(module: nn.Module, name: str, x: Tensor) -> Tensor:
    """Return how many connections leave each input, `[features…]` float64.

    With all weights at one, the derivative of the sum of the outputs by an input counts them: borders, stride,
    dilation and groups included.
    """
    shape = x.shape[2:]
    own = getattr(module, "fan_out", None)
    if callable(own):
        return torch.as_tensor(own(shape), dtype=torch.float64, device=x.device).expand(shape)
    names = [weight for weight, _ in module.named_parameters()]
    if not set(names) <= {"weight", "bias"}:
        raise InputError(
            f"layer {name!r} has the parameters {', '.join(names)} in place of a weight; "
            "type torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') first"
        )
    ones = {key: torch.ones_like(value, dtype=torch.float64) for key, value in module.named_parameters()}
    with torch.enable_grad():
        probe = torch.zeros(1, *shape, dtype=torch.float64, device=x.device, requires_grad=True)
        (fan_out,) = torch.autograd.grad(functional_call(module, ones, (probe,)).sum(), probe)
    return fan_out[0]


def _sum_pool(module: nn.Module, name: str, events: Tensor) -> Tensor:
    """Return how many spikes reach each cell of an average pool."""
    flat = events.flatten(0, 1)
    rank = flat.ndim - 2
    options = {"ceil_mode": getattr(module, "ceil_mode", False), "divisor_override": 1}
    if isinstance(module, _ADAPTIVE_MEANS):
        sizes = _each(module.output_size, rank)
        wanted = [axis if size is None else size for axis, size in zip(flat.shape[2:], sizes, strict=True)]
        if any(axis % size for axis, size in zip(flat.shape[2:], wanted, strict=True)):
            raise InputError(f"layer {name!r} pools {list(flat.shape[2:])} to {wanted}; energy needs sizes that divide")
        kernel = stride = [axis // size for axis, size in zip(flat.shape[2:], wanted, strict=True)]
        padding = [0] * rank
    else:
        kernel, stride, padding = (_each(getattr(module, key), rank) for key in ("kernel_size", "stride", "padding"))
    if rank == 1:
        pooled = F.avg_pool2d(flat.unsqueeze(-2), (1, *kernel), (1, *stride), (0, *padding), **options).squeeze(-2)
    else:
        pooled = (F.avg_pool2d if rank == 2 else F.avg_pool3d)(flat, kernel, stride, padding, **options)
    return pooled.unflatten(0, events.shape[:2])


def _each(value: object, rank: int) -> list:
    """Return an option that is given once for all axes, or per axis, per axis."""
    return list(value) if isinstance(value, tuple | list) else [value] * rank


def _whole(values: Tensor) -> Tensor | None:
    """Return the number of spikes at each place if all values are whole numbers, else None."""
    return values.abs().float() if bool((values == values.round()).all()) else None
