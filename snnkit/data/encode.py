"""Encoders: still images and signals in, spikes or currents over time `[T, B, features…]` out."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import Tensor

from snnkit.errors import InputError


def constant(images: Tensor, *, steps: int) -> Tensor:
    """Present the same analogue current at every step (direct encoding).

    Args:
        images: `[B, features…]`, floating, finite; any range, so normalised images may be used.
        steps: T, at least 1.
    Returns:
        Currents `[T, B, features…]`: a view that takes no memory of its own, so do not write into it.
    Raises:
        InputError: for a wrong type, rank or dtype, an empty batch, NaN or infinite values, or `steps < 1`.

    Example:
        >>> constant(torch.tensor([[0.25, 1.0]]), steps=2)
        tensor([[[0.2500, 1.0000]],
        <BLANKLINE>
                [[0.2500, 1.0000]]])

    Source: Rueckauer et al., Conversion of continuous-valued deep networks, 2017.
    """
    _check(images, "images", -math.inf, math.inf)
    return images.unsqueeze(0).expand(_steps(steps), *images.shape)


def rate(images: Tensor, *, steps: int, generator: torch.Generator) -> Tensor:
    """Draw one spike per step with the pixel's value as its probability (Bernoulli form of a Poisson code).

    Draws are made on the generator's device, sample after sample, and step after step within a sample. With a
    generator on the CPU, encoding a batch in pieces, one after the other, therefore gives the spikes of
    encoding it at once; CUDA generators do not promise that.

    Args:
        images: `[B, features…]`, floating, 0..1.
        steps: T, at least 1.
        generator: source of the draws; its state moves on by one draw per sample, step and feature.
    Returns:
        Spikes `[T, B, features…]`, 0/1, of the images' dtype and device.
    Raises:
        InputError: for a wrong type, rank, dtype or range, an empty batch, NaN, or `steps < 1`.

    Example:
        >>> rate(torch.tensor([[0.0, 1.0]]), steps=2, generator=torch.Generator().manual_seed(0))
        tensor([[[0., 1.]],
        <BLANKLINE>
                [[0., 1.]]])

    Source: Heeger, Poisson model of spike generation, 2000.
    """
    _check(images, "images", 0.0, 1.0)
    if not isinstance(generator, torch.Generator):
        raise InputError(
            f"generator is {type(generator).__name__}; a torch.Generator is needed: "
            "type generator=torch.Generator().manual_seed(0)"
        )
    shape = (images.shape[0], _steps(steps), *images.shape[1:])
    draws = torch.rand(shape, generator=generator, device=generator.device).to(images.device)
    return (draws < images.unsqueeze(1)).transpose(0, 1).to(images.dtype).contiguous()


def latency(
    images: Tensor, *, steps: int, threshold: float = 0.01, tau: float | None = None, normalise: bool = False
) -> Tensor:
    """Emit one spike per active pixel, the brighter the earlier.

    A pixel `p` below the threshold never fires. Another fires at step

        round((steps - 1) * (1 - p))               linear code, `tau=None`
        round(tau * ln(p / (p - threshold)))       RC code: a leaky membrane driven by p crosses the threshold

    and at the last step where the RC code would be later still. Halves round to the even step.

    Args:
        images: `[B, features…]`, floating, 0..1.
        steps: T, at least 1.
        threshold: smallest value that fires, at least 0 and below 1; above 0 for the RC code.
        tau: None for the linear code, or the membrane time constant of the RC code, in steps.
        normalise: divide every image by its own maximum first, so that its brightest pixel counts as 1.
    Returns:
        Spikes `[T, B, features…]`, 0/1, of the images' dtype and device.
    Raises:
        InputError: for a wrong type, rank, dtype or range, an empty batch, NaN, or `steps < 1`.

    Example:
        >>> latency(torch.tensor([[1.0, 0.5, 0.0]]), steps=3)[:, 0]
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])

    Source: Thorpe, Delorme & Van Rullen, Spike-based strategies for rapid processing, 2001.
    """
    _check(images, "images", 0.0, 1.0)
    steps = _steps(steps)
    if not (0.0 <= threshold < 1.0 and (tau is None or threshold > 0.0)):
        raise InputError(
            f"threshold is {threshold}; {'0 <= threshold' if tau is None else '0 < threshold'} < 1 is needed"
        )
    if tau is not None and not 0.0 < tau < math.inf:
        raise InputError(f"tau is {tau}; a positive number of steps is needed, or None for the linear code")
    values = images.to(torch.promote_types(images.dtype, torch.float32))
    if normalise:
        brightest = values.flatten(1).amax(1).view(-1, *[1] * (values.ndim - 1))
        values = values / torch.where(brightest > 0, brightest, 1.0)
    linear = (steps - 1) * (1 - values)
    times = linear if tau is None else tau * torch.log(values / (values - threshold).clamp(min=0.0))
    active = values >= threshold
    when = torch.where(active, times.round().clamp(max=steps - 1), 0.0).long()
    spikes = images.new_zeros((steps, *images.shape))
    return spikes.scatter_(0, when.unsqueeze(0), active.unsqueeze(0).to(images.dtype))


def delta(signal: Tensor, *, threshold: float, off_spikes: bool = True) -> Tensor:
    """Emit +1 or -1 when a signal has moved by a threshold since its last spike (send-on-delta).

    `signal[0] + threshold * spikes.cumsum(0)` follows the signal to within one threshold for as long as the
    signal moves by at most one threshold per step; one spike per step is all that is sent, so after a larger
    jump the reconstruction catches up at that pace.

    Args:
        signal: `[T, B, features…]`, floating, finite.
        threshold: the change that makes a spike, in the signal's unit, above 0.
        off_spikes: whether falls are emitted as -1; if not, they move the reference silently.
    Returns:
        Spikes `[T, B, features…]`, -1/0/1, of the signal's dtype and device; the first step is silent.
    Raises:
        InputError: for a wrong type, rank or dtype, no values, NaN or infinite ones, or `threshold <= 0`.

    Example:
        >>> delta(torch.tensor([0.0, 0.6, 1.1, 0.2]).view(4, 1, 1), threshold=0.5).flatten()
        tensor([ 0.,  1.,  1., -1.])

    Source: Miskowicz, Send-on-delta concept, Sensors, 2006.
    """
    _check(signal, "signal", -math.inf, math.inf, axes="T, B, features…")
    if not 0.0 < threshold < math.inf:
        raise InputError(f"threshold is {threshold}; a positive number in the signal's unit is needed")
    moved = (signal - signal[0]) / threshold
    sent = torch.zeros_like(moved[0])
    spikes = torch.zeros_like(moved)
    for change, spike in zip(moved.unbind(0), spikes.unbind(0), strict=True):
        spike.copy_((change - sent).trunc().clamp(-1, 1))
        sent += spike
    return spikes if off_spikes else spikes.clamp(min=0)


def population(
    values: Tensor, *, neurons: int, steps: int, low: float = 0.0, high: float = 1.0, width: float = 2 / 3
) -> Tensor:
    """Present each value as the constant responses of a population of Gaussian receptive fields.

    Args:
        values: `[B, features…]`, floating, within `low`..`high`.
        neurons: size of the population of every value, at least 2.
        steps: T, at least 1.
        low: where the first field is centred.
        high: where the last field is centred; the others lie between at equal distances.
        width: standard deviation of a field, in distances between neighbouring centres.
    Returns:
        Currents `[T, B, features…, neurons]`, 0..1: a view along time, so do not write into it.
        For spikes, give `receptive_fields(...)` to `rate` or `latency`.
    Raises:
        InputError: for a wrong type, rank, dtype or range, an empty batch, NaN, or an impossible population.

    Example:
        >>> population(torch.tensor([[0.5]]), neurons=3, steps=1, width=1.0).flatten()
        tensor([0.6065, 1.0000, 0.6065])

    Source: Bohte, Kok & La Poutré, Error-backpropagation in temporally encoded networks, 2002.
    """
    return constant(receptive_fields(values, neurons=neurons, low=low, high=high, width=width), steps=steps)


def receptive_fields(
    values: Tensor, *, neurons: int, low: float = 0.0, high: float = 1.0, width: float = 2 / 3
) -> Tensor:
    """Return the responses `[B, features…, neurons]`, 0..1, of Gaussian receptive fields to each value.

    Arguments, errors and source are those of `population`.

    Example:
        >>> latency(receptive_fields(torch.tensor([[0.0]]), neurons=2, width=1.0), steps=4).squeeze()
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.],
                [0., 0.]])
    """
    if not (isinstance(neurons, Integral) and neurons >= 2):
        raise InputError(f"neurons is {neurons!r}; a whole number of at least 2 is needed")
    if not -math.inf < low < high < math.inf:
        raise InputError(f"low is {low} and high is {high}; finite numbers with low < high are needed")
    if not 0.0 < width < math.inf:
        raise InputError(f"width is {width}; a positive number of centre distances is needed")
    _check(values, "values", low, high)
    centres = torch.linspace(low, high, neurons, dtype=values.dtype, device=values.device)
    deviation = width * (high - low) / (neurons - 1)
    return torch.exp(-0.5 * ((values.unsqueeze(-1) - centres) / deviation) ** 2)


def _steps(steps: int) -> int:
    """Return `steps`, or raise where it is not a whole number of at least 1."""
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise InputError(f"steps is {steps!r}; a whole number of at least 1 is needed")
    return int(steps)


def _check(tensor: Tensor, name: str, low: float, high: float, axes: str = "B, features…") -> None:
    """Raise where a tensor is not a floating one of the right rank with all values in `low`..`high`."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} is {type(tensor).__name__}; a torch.Tensor [{axes}] is needed")
    if not tensor.is_floating_point():
        raise InputError(f"{name} is {tensor.dtype}; a floating dtype is needed: type {name}.float(), and scale it")
    rank = axes.count(",") + 1
    if tensor.ndim < rank:
        raise InputError(f"{name} has shape {list(tensor.shape)}; [{axes}] needs at least {rank} axes")
    if tensor.numel() == 0:
        raise InputError(f"{name} is empty, of shape {list(tensor.shape)}; at least one value is needed")
    smallest, largest = (float(bound) for bound in tensor.detach().aminmax())
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise InputError(f"{name} holds NaN or infinite values; finite ones are needed")
    if smallest < low or largest > high:
        raise InputError(f"{name} spans {smallest:g}..{largest:g}; values within {low:g}..{high:g} are needed")
