"""The optimiser and the learning rates that settings ask for."""

from __future__ import annotations

import math

import torch
from torch import nn

from snnkit.errors import InputError
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed
from snnkit.train.recipe import TrainSettings


def optimiser(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimiser, in groups: weights, what is not decayed, and delays with their own learning rate.

    Neuron parameters and those with fewer than two axes are not decayed, nor are delays.
    """
    neurons = {id(p) for module in net.modules() if isinstance(module, Spiking) for p in module.parameters()}
    delays = {id(module.delay) for module in net.modules() if isinstance(module, Delayed)}
    parameters = [p for p in net.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(
            f"this {type(net).__name__} has nothing to learn; it needs a layer with weights, "
            "or type snnkit.LIF(learn=('tau',))"
        )
    others = [p for p in parameters if id(p) not in delays]
    decayed = [p for p in others if p.ndim >= 2 and id(p) not in neurons]
    kept = [p for p in others if p.ndim < 2 or id(p) in neurons]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": kept, "weight_decay": 0.0},
        {"params": [p for p in parameters if id(p) in delays], "weight_decay": 0.0, "delays": True},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr)


def set_learning_rates(optimizer: torch.optim.Optimizer, settings: TrainSettings, progress: float) -> None:
    """Set every group's learning rate after a share of all steps, 0..1; that of delays falls until they settle."""
    lr = learning_rate(settings, progress)
    delay_lr = settings.delay_lr * _cosine(min(1.0, progress / settings.delay_settle))
    for group in optimizer.param_groups:
        group["lr"] = delay_lr if group.get("delays") else lr


def learning_rate(settings: TrainSettings, progress: float) -> float:
    """Return the learning rate of weights after a share of all steps, 0..1.

    Example:
        >>> learning_rate(TrainSettings(lr=0.2, schedule="cosine"), 0.5)
        0.1
    """
    if settings.schedule == "onecycle":
        return settings.lr * _one_cycle(progress)
    return settings.lr * (_cosine(progress) if settings.schedule == "cosine" else 1.0)


def _cosine(progress: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * progress)


def _one_cycle(progress: float) -> float:
    """Return the share of the highest rate: up from 1/25 for 30 % of the steps, then down to 1/250,000.

    Source: Smith & Topin, Super-convergence, 2019, with the cosine form and the constants of PyTorch's OneCycleLR.
    """
    first, last = 1 / 25, 1 / 250_000
    if progress < 0.3:
        return 1 - (1 - first) * _cosine(progress / 0.3)
    return last + (1 - last) * _cosine((progress - 0.3) / 0.7)
