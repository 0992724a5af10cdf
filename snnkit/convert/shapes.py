"""What a step of a network looks like between its layers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from numbers import Integral

import torch
from torch import nn

from snnkit.errors import InputError
from snnkit.network import Network, row
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed, DelayLinear, Recurrent

Shape = tuple[int, ...]
"""Features of one step of one sample, such as (128,) or (16, 8, 8)."""

_LARGEST = 1 << 28
_SILENT = (nn.modules.dropout._DropoutNd, nn.Identity)


def layers(net: nn.Module, within: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a network in order, those of networks within it in their place; dropout is left out."""
    for name, module in row(net):
        inner = f"{within}{name}"
        if isinstance(module, Network | nn.Sequential):
            yield from layers(module, f"{inner}.")
        elif not isinstance(module, _SILENT):
            yield inner, module


def first_shape(net: nn.Module, shape: Sequence[int] | None, *, called: str = "shape") -> Shape:
    """Return the shape of the input: as given, or that of the first layer's weights.

    Args:
        net: layers in a row.
        shape: as given, or None.
        called: how the caller names that argument, for messages.
    Raises:
        InputError: no sizes, or the first layer does not tell them.
    """
    if shape is not None:
        sizes = tuple(shape) if isinstance(shape, Sequence) else ()
        if not sizes or not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise InputError(f"{called} is {shape!r:.80}; sizes are needed, such as {called}=(2, 34, 34)")
        return tuple(map(int, sizes))
    for _, module in layers(net):
        if isinstance(module, nn.Flatten):
            continue
        inner = module.layer if isinstance(module, Recurrent) else module
        if isinstance(inner, nn.Linear):
            return (inner.in_features,)
        if isinstance(inner, DelayLinear):
            return (inner.n_inputs,)
        if isinstance(inner, Spiking):
            widest = max((value.shape for value in inner.values().values()), key=len, default=())
            if len(widest) > 0:
                return tuple(widest)
        break
    raise InputError(f"the first layer does not tell the shape of the input; give it, such as {called}=(2, 34, 34)")


def after(module: nn.Module, shape: Shape, name: str) -> Shape:
    """Return the shape after a layer, without running it on memory.

    Raises:
        InputError: the layer does not take this shape, or the result is larger than what can be run.
    """
    try:
        if isinstance(module, Spiking | Recurrent):
            layer = module.layer if isinstance(module, Recurrent) else module
            for value in layer.values().values():
                value.expand(shape)
            result = shape
        elif isinstance(module, DelayLinear | nn.Linear):
            outputs, inputs = module.weight.shape[:2]
            if shape != (inputs,):
                raise ValueError
            result = (outputs,)
        elif isinstance(module, Delayed):
            raise TypeError
        else:
            with torch.no_grad():
                light = copy.deepcopy(module).to("meta").eval()
                result = tuple(light(torch.empty((1, *shape), device="meta")).shape[1:])
    except (RuntimeError, ValueError, IndexError) as error:
        raise misfit(name, module, shape) from error
    if math.prod(result) > _LARGEST:
        raise InputError(f"layer {name!r} gives {math.prod(result):,} features; at most {_LARGEST:,} are read")
    return result


def misfit(name: str, module: nn.Module, shape: Sequence[int]) -> InputError:
    """Return the error of a layer that does not take inputs of a shape."""
    return InputError(f"layer {name!r} ({type(module).__name__}) does not take inputs of shape {list(shape)}")
