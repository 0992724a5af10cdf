"""The optimiser and the learning rate that settings ask for."""

from __future__ import annotations

import math

import torch
from torch import nn

from snnkit.errors import InputError
from snnkit.spiking import Spiking
from snnkit.train.recipe import TrainSettings


def optimiser(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimiser; neuron parameters and those with fewer than two axes are not decayed."""
    neurons = {id(p) for module in net.modules() if isinstance(module, Spiking) for p in module.parameters()}
    parameters = [p for p in net.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(
            f"this {type(net).__name__} has nothing to learn; it needs a layer with weights, "
            "or type snnkit.LIF(learn=('tau',))"
        )
    kept = [p for p in parameters if p.ndim < 2 or id(p) in neurons]
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in neurons]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr)


def learning_rate(settings: TrainSettings, progress: float) -> float:
    """Return the learning rate after a share of all steps, 0..1.

    Example:
        >>> learning_rate(TrainSettings(lr=0.2, schedule="cosine"), 0.5)
        0.1
    """
    factor = 0.5 + 0.5 * math.cos(math.pi * progress) if settings.schedule == "cosine" else 1.0
    return settings.lr * factor
