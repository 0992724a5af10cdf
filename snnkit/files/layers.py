"""The layers of torch, and with delays, that files store, each with the arguments that make it again.

A new one is a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from snnkit.files.schema import Check, NeedError, UnfitError, choice, either, exactly, flag, named, real, rows, whole
from snnkit.synapse import DelayConv1d, DelayConv2d, DelayLinear
from snnkit.synapse.delay import KINDS
from snnkit.synapse.delayed import METHODS
from snnkit.synapse.taps import KERNELS

_LARGEST_WINDOW = 1 << 16


def _nothing(value: Any) -> None:
    if value is not None:
        raise NeedError("null")


def _sizes(count: int, low: int = 1, *, free: bool = False) -> Check:
    """Return the check for a size, one number or one for each axis; a free axis may be None."""
    size = either(whole(low, _LARGEST_WINDOW), _nothing) if free else whole(low, _LARGEST_WINDOW)
    return either(size, rows(size, least=count, most=count))


def _conv(axes: int) -> dict[str, Check]:
    return {
        "in_channels": whole(),
        "out_channels": whole(),
        "kernel_size": _sizes(axes),
        "stride": _sizes(axes),
        "padding": either(choice("valid", "same"), _sizes(axes, 0)),
        "dilation": _sizes(axes),
        "groups": whole(),
        "bias": flag,
        "padding_mode": choice("zeros", "reflect", "replicate", "circular"),
    }


def _transposed(axes: int) -> dict[str, Check]:
    found = _conv(axes)
    return found | {"padding": _sizes(axes, 0), "output_padding": _sizes(axes, 0), "padding_mode": choice("zeros")}


def _average(axes: int) -> dict[str, Check]:
    return {
        "kernel_size": _sizes(axes),
        "stride": _sizes(axes),
        "padding": _sizes(axes, 0),
        "ceil_mode": flag,
        "count_include_pad": flag,
        **({"divisor_override": either(whole(), _nothing)} if axes > 1 else {}),
    }


def _maximum(axes: int) -> dict[str, Check]:
    return {
        "kernel_size": _sizes(axes),
        "stride": _sizes(axes),
        "padding": _sizes(axes, 0),
        "dilation": _sizes(axes),
        "return_indices": choice(False),
        "ceil_mode": flag,
    }


_NORM = {
    "num_features": whole(),
    "eps": real(0.0, 1.0),
    "momentum": either(real(0.0, 1.0), _nothing),
    "affine": flag,
    "track_running_stats": flag,
}


_DROPOUT = {"p": real(0.0, 1.0), "inplace": flag}


@dataclass(frozen=True)
class Layer:
    """A kind of layer: its class, and a check for each argument that makes it."""

    make: type[nn.Module]
    arguments: Mapping[str, Check]

    def describe(self, module: nn.Module) -> dict[str, Any]:
        """Return a layer's arguments as plain data; raises UnfitError where one is out of what files store."""
        found = {name: _argument(module, name) for name in self.arguments}
        self.check(found)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def build(self, arguments: Any) -> nn.Module:
        """Return the layer without memory for its parameters; raises UnfitError where the arguments do not fit."""
        checked = named("arguments", arguments, self.check)
        try:
            with torch.device("meta"):
                return self.make(**checked)
        except (ValueError, RuntimeError, TypeError, OverflowError, ArithmeticError) as error:
            raise UnfitError(f"{self.make.__name__} cannot be made: {str(error)[:120]}") from None

    def check(self, arguments: Any) -> dict[str, Any]:
        """Return the arguments as the class takes them."""
        exactly(arguments, self.arguments)
        return {name: named(name, arguments[name], check) for name, check in self.arguments.items()}


def _argument(module: nn.Module, name: str) -> Any:
    value = getattr(module, name)
    return value is not None if name == "bias" else value


_DELAYED = {
    "max_delay": whole(0, 1 << 20),
    "kind": choice(*KINDS),
    "taps": whole(1, 64),
    "kernel": choice(*KERNELS),
    "learn": flag,
    "bias": flag,
    "backend": choice("auto", *METHODS),
    "tail": whole(0, 1 << 20),
}


def _delay_conv(axes: int) -> dict[str, Check]:
    window = {"kernel_size": _sizes(axes), "stride": _sizes(axes), "padding": _sizes(axes, 0)}
    return {"n_inputs": whole(), "n_outputs": whole(), **window, **_DELAYED}


LAYERS: Mapping[str, Layer] = {
    kind.__name__: Layer(kind, arguments)
    for kind, arguments in (
        (nn.Linear, {"in_features": whole(), "out_features": whole(), "bias": flag}),
        (nn.Conv1d, _conv(1)),
        (nn.Conv2d, _conv(2)),
        (nn.Conv3d, _conv(3)),
        (nn.ConvTranspose1d, _transposed(1)),
        (nn.ConvTranspose2d, _transposed(2)),
        (nn.BatchNorm1d, _NORM),
        (nn.BatchNorm2d, _NORM),
        (nn.BatchNorm3d, _NORM),
        (
            nn.LayerNorm,
            {
                "normalized_shape": rows(whole(), least=1, most=8),
                "eps": real(0.0, 1.0),
                "elementwise_affine": flag,
                "bias": flag,
            },
        ),
        (
            nn.GroupNorm,
            {"num_groups": whole(), "num_channels": whole(), "eps": real(0.0, 1.0), "affine": flag},
        ),
        (nn.AvgPool1d, _average(1)),
        (nn.AvgPool2d, _average(2)),
        (nn.AvgPool3d, _average(3)),
        (nn.MaxPool1d, _maximum(1)),
        (nn.MaxPool2d, _maximum(2)),
        (nn.MaxPool3d, _maximum(3)),
        (nn.AdaptiveAvgPool1d, {"output_size": _sizes(1)}),
        (nn.AdaptiveAvgPool2d, {"output_size": _sizes(2, free=True)}),
        (nn.AdaptiveAvgPool3d, {"output_size": _sizes(3, free=True)}),
        (nn.AdaptiveMaxPool1d, {"output_size": _sizes(1), "return_indices": choice(False)}),
        (nn.AdaptiveMaxPool2d, {"output_size": _sizes(2, free=True), "return_indices": choice(False)}),
        (nn.Dropout, _DROPOUT),
        (nn.Dropout1d, _DROPOUT),
        (nn.Dropout2d, _DROPOUT),
        (nn.Flatten, {"start_dim": whole(-8, 8), "end_dim": whole(-8, 8)}),
        (nn.Unflatten, {"dim": whole(-8, 8), "unflattened_size": rows(whole(), least=1, most=8)}),
        (DelayLinear, {"n_inputs": whole(), "n_outputs": whole(), **_DELAYED}),
        (DelayConv1d, _delay_conv(1)),
        (DelayConv2d, _delay_conv(2)),
        (nn.ReLU, {"inplace": flag}),
        (nn.Identity, {}),
    )
}
"""Every layer that files store beside neurons, by name."""
