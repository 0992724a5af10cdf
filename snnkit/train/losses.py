"""Losses and predictions on output sequences [T, B, C], with padded time steps masked out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snnkit.errors import InputError, nearest

Loss = Callable[..., Tensor]


def rate_cross_entropy(y: Tensor, target: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Cross-entropy of the outputs averaged over time, taken as logits.

    Args:
        y: outputs or spikes [T, B, C].
        target: class of each sample [B], whole numbers in 0..C-1; or shares of the classes [B, C], each row summing
            to 1, as `snnkit.data.augment.blend` gives them.
        lengths: valid time steps of each sample [B], 1..T; None where every step counts.
    Returns:
        The mean over the batch, a scalar.
    Raises:
        InputError: shapes that do not fit, labels, shares or lengths out of range.

    Example:
        >>> rate_cross_entropy(torch.zeros(5, 1, 4), torch.tensor([2])).exp().round().item()
        4.0
    """
    return _cross_entropy(_mean_over_time, y, target, lengths)


def last_membrane(y: Tensor, target: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Cross-entropy of the outputs at the last valid step, taken as logits.

    Args, returns and errors are those of `rate_cross_entropy`.

    Example:
        >>> y = torch.tensor([[[0.0, 0.0]], [[50.0, 0.0]]])
        >>> last_membrane(y, torch.tensor([0])).item()
        0.0
    """
    return _cross_entropy(_last, y, target, lengths)


def max_membrane(y: Tensor, target: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Cross-entropy of the largest output over the valid steps, taken as logits.

    Args, returns and errors are those of `rate_cross_entropy`.
    Source: Cramer et al. 2020 (max-over-time loss).

    Example:
        >>> y = torch.tensor([[[50.0, 0.0]], [[0.0, 0.0]]])
        >>> max_membrane(y, torch.tensor([0])).item()
        0.0
    """
    return _cross_entropy(_max_over_time, y, target, lengths)


def time_to_first_spike(spikes: Tensor, target: Tensor, *, lengths: Tensor | None = None, tau: float = 1.0) -> Tensor:
    """Cross-entropy of softmax(-t_c / tau), where t_c counts the steps before output c first spikes.

    t_c is the sum over t of the product over u <= t of (1 - s_u): it counts the steps that are still silent,
    equals the number of valid steps where the output never spikes, and has a gradient at every step up to and
    including the first spike, which the surrogate of the output layer carries further.

    Args:
        spikes: output spikes [T, B, C]; values above 1 count as one spike.
        target: class of each sample [B], or shares of the classes [B, C], as for `rate_cross_entropy`.
        lengths: valid time steps of each sample [B], 1..T; None where every step counts.
        tau: softness of the comparison, in steps, above 0.
    Returns:
        The mean over the batch, a scalar.
    Raises:
        InputError: shapes that do not fit, labels or lengths out of range, tau not above 0.
    Source: Mostafa 2017 (softmax over negative spike times), here in discrete time.

    Example:
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])  # t = 0 and 2
        >>> round(time_to_first_spike(spikes, torch.tensor([0])).item(), 4)  # log(1 + exp(-2))
        0.1269
    """
    if not tau > 0:
        raise InputError(f"tau is {tau}; time_to_first_spike needs tau above 0, in steps, e.g. tau=1.0")
    return _cross_entropy(lambda y, valid, ends: -first_spike_times(y, valid) / tau, spikes, target, lengths)


def first_spike_times(spikes: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the silent steps before each output's first spike [B, C], differentiably.

    Args:
        spikes: [T, B, C].
        valid: [T, B, 1], True where a step counts; None where all do.

    Example:
        >>> first_spike_times(torch.tensor([[[0.0]], [[1.0]], [[0.0]]])).item()
        1.0
    """
    if valid is not None:
        spikes = spikes.masked_fill(~valid, 1.0)
    return (1.0 - spikes.clamp(max=1.0)).cumprod(0).sum(0)


def firing_rate_regulariser(
    spikes: Tensor, *, low: float = 0.0, high: float = 1.0, lengths: Tensor | None = None
) -> Tensor:
    """Penalise neurons whose mean rate leaves [low, high]: the mean over neurons of the squared excess.

    Args:
        spikes: spikes of one layer [T, B, …].
        low, high: bounds of the rate, in spikes per step and neuron, averaged over batch and valid time.
        lengths: valid time steps of each sample [B], 1..T; None where every step counts.
    Returns:
        A scalar, 0 where every neuron keeps the bounds.
    Raises:
        InputError: low above high or below 0, spikes without time and batch, lengths out of range.

    Example:
        >>> firing_rate_regulariser(torch.ones(10, 2, 3), high=0.5).item()
        0.25
    """
    if not 0 <= low <= high:
        raise InputError(f"low is {low} and high is {high}; needed is 0 <= low <= high, in spikes per step")
    if spikes.ndim < 2 or spikes.numel() == 0:
        raise InputError(f"spikes has shape {list(spikes.shape)}; needed is [T, B, …] with nothing empty")
    steps, batch = spikes.shape[:2]
    valid = _valid(lengths, steps, batch, spikes)
    spikes = _full(spikes)
    if valid is None:
        rates = spikes.mean((0, 1))
    else:
        mask = valid.reshape(steps, batch, *[1] * (spikes.ndim - 2))
        rates = spikes.masked_fill(~mask, 0.0).sum((0, 1)) / valid.sum()
    return ((low - rates).clamp(min=0) ** 2 + (rates - high).clamp(min=0) ** 2).mean()


def predictions(y: Tensor, mode: str = "rate", lengths: Tensor | None = None) -> Tensor:
    """Return the class that each sample's outputs name [B], read as the loss of the same name reads them.

    Args:
        y: outputs or spikes [T, B, C].
        mode: "rate", "last", "max" or "first_spike".
        lengths: valid time steps of each sample [B], 1..T; None where every step counts.
    Raises:
        InputError: an unknown mode, y not [T, B, C], lengths out of range.

    Example:
        >>> predictions(torch.tensor([[[0.0, 1.0]], [[3.0, 1.0]]]), "rate").tolist()
        [0]
    """
    return predictions_over_time(y, mode, lengths)[-1]


def predictions_over_time(y: Tensor, mode: str = "rate", lengths: Tensor | None = None) -> Tensor:
    """Return the class named by the outputs up to and including each step [T, B].

    Past the end of a padded sample its last prediction stays. Args and errors are those of `predictions`.

    Example:
        >>> y = torch.tensor([[[0.0, 1.0]], [[3.0, 1.0]]])
        >>> predictions_over_time(y, "rate").flatten().tolist()
        [1, 0]
    """
    if mode not in _RUNNING:
        raise InputError(_choice("mode", mode))
    _check_outputs(y)
    steps, batch = y.shape[:2]
    valid = _valid(lengths, steps, batch, y)
    named = _RUNNING[mode](_full(y)).argmax(-1)
    if valid is None:
        return named
    step = torch.arange(steps, device=y.device)[:, None]
    return named.gather(0, torch.minimum(step, valid.sum(0).mT - 1))


def loss_function(loss: str | Loss) -> Loss:
    """Return the loss of a name ("rate", "last", "max", "first_spike"), or the function that is given.

    Raises:
        InputError: an unknown name.

    Example:
        >>> loss_function("rate") is rate_cross_entropy
        True
    """
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise InputError(_choice("loss", loss))
    return LOSSES[loss]


def _choice(what: str, name: object) -> str:
    return f"{what} is {name!r}; needed is one of {', '.join(LOSSES)}{nearest(str(name), LOSSES)}"


def _cross_entropy(logits: Callable, y: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
    _check_outputs(y)
    steps, batch, classes = y.shape
    check_target(target, batch, classes)
    valid = _valid(lengths, steps, batch, y)
    ends = None if valid is None else valid.sum(0) - 1
    found = logits(_full(y), valid, ends)
    return functional.cross_entropy(found, target.to(found.dtype) if target.ndim == 2 else target.long())


def _full(y: Tensor) -> Tensor:
    """Return y in single precision or better: sums over time in half precision would lose whole spikes."""
    return y if y.dtype == torch.float64 else y.float()


def _mean_over_time(y: Tensor, valid: Tensor | None, ends: Tensor | None) -> Tensor:
    return y.mean(0) if valid is None else y.masked_fill(~valid, 0.0).sum(0) / valid.sum(0)


def _last(y: Tensor, valid: Tensor | None, ends: Tensor | None) -> Tensor:
    return y[-1] if ends is None else y[ends[:, 0], torch.arange(y.shape[1], device=y.device)]


def _max_over_time(y: Tensor, valid: Tensor | None, ends: Tensor | None) -> Tensor:
    return y.amax(0) if valid is None else y.masked_fill(~valid, -torch.inf).amax(0)


def _check_outputs(y: Tensor) -> None:
    if y.ndim != 3 or y.numel() == 0:
        raise InputError(
            f"the outputs have shape {list(y.shape)}; needed is [T, B, C] with nothing empty "
            "(time, batch, classes); for a network type net(x), whose output is that"
        )


def labels_of(target: Tensor) -> Tensor:
    """Return the class of each sample [B] of a target: its label, or the class that has the largest share.

    Example:
        >>> labels_of(torch.tensor([[0.2, 0.8], [1.0, 0.0]])).tolist()
        [1, 0]
    """
    return target.argmax(1) if target.ndim == 2 else target


def check_target(target: Tensor, batch: int, classes: int) -> None:
    """Raise InputError unless the target is a label per sample [B], below the number of classes, or shares [B, C]."""
    if target.ndim == 2 and target.is_floating_point():
        _check_shares(target, batch, classes)
        return
    if target.shape != (batch,) or target.is_floating_point() or target.is_complex():
        raise InputError(
            f"target has shape {list(target.shape)} and type {target.dtype}; "
            f"needed is one whole number per sample, shape [{batch}], or shares of the classes, "
            f"floating, shape [{batch}, {classes}]"
        )
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"labels run from {low} to {high}; {classes} outputs need labels in 0..{classes - 1}: "
            f"type nn.Linear(…, {high + 1}) for more outputs, or check the labels"
        )


def _check_shares(target: Tensor, batch: int, classes: int) -> None:
    if target.shape != (batch, classes):
        raise InputError(
            f"target has shape {list(target.shape)}; shares of {classes} classes have shape [{batch}, {classes}]"
        )
    sums = target.detach().double().sum(1)
    if not bool((target >= 0).all()) or not bool(((sums - 1).abs() < 1e-2).all()):
        raise InputError(
            f"the target's rows sum to {float(sums.min()):g}..{float(sums.max()):g}, its least value is "
            f"{float(target.min()):g}; shares of classes are at least 0 and sum to 1: type target.softmax(1) for logits"
        )


def _valid(lengths: Tensor | None, steps: int, batch: int, like: Tensor) -> Tensor | None:
    """Return [T, B, 1], True where a step counts, or None where all do."""
    if lengths is None:
        return None
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise InputError(
            f"lengths has shape {list(lengths.shape)} and type {lengths.dtype}; "
            f"needed is one whole number per sample, shape [{batch}]"
        )
    low, high = int(lengths.min()), int(lengths.max())
    if low < 1 or high > steps:
        raise InputError(f"lengths run from {low} to {high}; needed is 1..{steps}, the steps of the outputs")
    step = torch.arange(steps, device=like.device)
    return (step[:, None] < lengths.to(like.device)[None, :])[..., None]


def _running_first_spike(y: Tensor) -> Tensor:
    """Score -t_c as known at each step: an output that has not spiked yet counts every step so far."""
    return -(1.0 - y.clamp(max=1.0)).cumprod(0).cumsum(0)


LOSSES: dict[str, Loss] = {
    "rate": rate_cross_entropy,
    "last": last_membrane,
    "max": max_membrane,
    "first_spike": time_to_first_spike,
}

_RUNNING: dict[str, Callable[[Tensor], Tensor]] = {
    "rate": lambda y: y.cumsum(0),
    "last": lambda y: y,
    "max": lambda y: y.cummax(0).values,
    "first_spike": _running_first_spike,
}
