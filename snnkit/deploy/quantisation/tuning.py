"""Fine-tune a network while its weights are rounded as the chip rounds them."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnkit.convert.fold import absorb
from snnkit.deploy.quantisation.affine import LINEAR, NORMS, NOTHING
from snnkit.deploy.quantisation.grid import Format
from snnkit.deploy.quantisation.lowering import approximated, check_parts
from snnkit.deploy.quantisation.quantise import check_request
from snnkit.deploy.quantisation.search import LIMITS
from snnkit.network import Network, row
from snnkit.synapse import Delayed, rounded
from snnkit.train.batches import Split
from snnkit.train.trainer import fit


class Rounding(nn.Module):
    """Rounds a weight to the steps that the chip has, as far as values go; gradients pass as if it did not.

    Args:
        weight: to choose the largest value by: beyond it weights are clipped.
        bits: of a weight.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.levels = Format(bits, "mixed").levels
        weight = weight.detach()
        errors = [float((self._rounded(weight, limit) - weight).square().sum()) for limit in LIMITS]
        self.limit = LIMITS[errors.index(min(errors))]

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight rounded."""
        return weight + (self._rounded(weight.detach(), self.limit) - weight.detach())

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return a weight that rounds to the given one."""
        return weight

    def _rounded(self, weight: Tensor, limit: float) -> Tensor:
        step = (weight.abs().max() * limit / self.levels).clamp(min=torch.finfo(weight.dtype).tiny)
        return (weight / step).round().clamp(-self.levels, self.levels) * step


def fine_tune(
    net: Network, train: Split, *, bits: int = 8, approximate: Collection[str] = (), **options: Any
) -> Network:
    """Return a copy of a network, trained further with what the chip does to it; `quantise` then loses little.

    Batch normalisation is folded into the weights before it, delays become whole steps and stay, a soft reset becomes
    a hard one if that is asked for, and weights are rounded in every step of training; the copy has them rounded.

    Args:
        net: trained; it is not changed.
        train: (inputs, targets), as for `snnkit.train.fit`.
        bits: of a weight, as for `quantise`.
        approximate: as for `quantise`: `hard_reset`, `clamp_delays`.
        options: of `snnkit.train.fit`: `settings` (few epochs and a small learning rate), `validation`, `encode`, ….
    Raises:
        InputError: a layer that the chip cannot have, before any training; what `snnkit.train.fit` raises.

    Example:
        >>> net = snnkit.Network(nn.Linear(8, 4), snnkit.LIF(reset="soft"), nn.Linear(4, 2), snnkit.Readout())
        >>> x, labels = (torch.rand(16, 10, 8) < 0.3).float(), torch.arange(16) % 2
        >>> few = snnkit.train.TrainSettings(epochs=1)
        >>> tuned = fine_tune(net, (x, labels), bits=6, approximate=("hard_reset",), settings=few)
        >>> tuned[0].weight.unique().numel() <= 2 * 31 + 1
        True

    Source: Bengio, Léonard & Courville, Estimating or propagating gradients through stochastic neurons, 2013
        (the straight-through estimator).
    """
    names = check_request(net, "loihi2", bits, approximate)
    changed = approximated(net, names)
    check_parts(changed)
    tuned = rounded(folded(changed))
    held = [module for module in tuned.modules() if isinstance(module, (*LINEAR, Delayed))]
    for module in held:
        parametrize.register_parametrization(module, "weight", Rounding(_weight(module), bits))
    fit(tuned, train, **options)
    for module in held:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return tuned


def folded(net: Network) -> Network:
    """Return a network with batch normalisation in the weights right before it, evaluated with running statistics."""
    _fold(net)
    return net


def _fold(parent: nn.Module) -> None:
    before = ""
    for name, child in row(parent):
        if isinstance(child, nn.Sequential):
            _fold(child)
        if isinstance(child, NORMS) and before:
            # A copy: the layer may stand elsewhere, too.
            merged = copy.deepcopy(parent.get_submodule(before))
            absorb(merged, child)
            setattr(parent, before, merged)
            setattr(parent, name, nn.Identity())
        elif not isinstance(child, NOTHING):
            before = name if isinstance(child, (*LINEAR, Delayed)) else ""


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight
