"""Torch's own layers over a sequence: time is folded into the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InputError

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OWN_TIME = (nn.RNNBase, nn.RNNCellBase, nn.Transformer, nn.MultiheadAttention)


def fold(module: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Apply a module to every step at once.

    Args:
        module: a torch layer that takes [batch, features…].
        x: sequence [T, B, features…].
        lengths: valid steps of each sample [B]; normalisation statistics then leave the padding out.
    Returns:
        The sequence of outputs [T, B, features…]; one step of it, expanded, where nn.Linear or a convolution gets an
        input that is expanded over time.
    Raises:
        InputError: where the module keeps time itself, such as nn.LSTM, or holds layers with a state.
    """
    if keeps_time(module):
        raise InputError(f"{type(module).__name__} runs over time by itself; use it outside snnkit.Network")
    inner = next((part for part in module.children() if holds_state(part)), None)
    if inner is not None:
        raise InputError(_without_run(module, inner))
    if _still(module, x):
        y = module(x[0])
        return y.expand(len(x), *y.shape)
    flat = x.flatten(0, 1)
    if lengths is not None and isinstance(module, nn.modules.batchnorm._BatchNorm):
        valid = (torch.arange(x.shape[0], device=x.device)[:, None] < lengths.to(x.device)).flatten()
        y = torch.zeros_like(flat)
        y[valid] = module(flat[valid])
    else:
        y = module(flat)
    if not isinstance(y, Tensor) or y.shape[0] != flat.shape[0]:
        raise InputError(f"{type(module).__name__} does not keep the batch axis, so it cannot be folded over time")
    return y.unflatten(0, (x.shape[0], x.shape[1]))


def keeps_time(module: Any) -> bool:
    """Return whether a layer of torch's runs over time by itself."""
    return isinstance(module, _OWN_TIME)


def stateful(module: Any) -> bool:
    """Return whether a module takes and returns state by `run`."""
    return callable(getattr(module, "run", None))


def _still(module: nn.Module, x: Tensor) -> bool:
    """Return whether one step tells all: the input is one image at every step, as of `snnkit.encode.constant`."""
    if torch.compiler.is_compiling() or type(module) not in _LINEAR:
        return False
    return x.shape[0] > 1 and x.stride(0) == 0


def holds_state(module: nn.Module) -> bool:
    """Return whether a module, or one within it, takes and returns state."""
    return stateful(module) or any(holds_state(part) for part in module.children())


def _without_run(module: nn.Module, inner: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.Sequential):
        return f"{kind} does not pass on the state of the {type(inner).__name__} in it; use snnkit.Network in its place"
    return (
        f"{kind} holds a layer with a state ({type(inner).__name__}) and cannot be applied to every step alone; give "
        "it a method run(self, x, state=None, *, lengths=None) that returns the output and the state"
    )
