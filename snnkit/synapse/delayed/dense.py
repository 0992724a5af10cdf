"""Delayed sums through the dense kernel of the whole window, in torch's own operations."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnkit.synapse.delayed.problem import Problem
from snnkit.synapse.taps import gauss

_DENSE = {"cpu": 9e10, "cuda": 4e13}
"""Floating-point operations a second of matrix products and convolutions in float32, on one thread or one GPU."""

_TENSOR_CORES = {"tf32": 2e14, "half": 4e14}
"""The same on a GPU, where torch may use TF32, or half precision by autocast."""

_DEPTHWISE = {"cpu": 3e9, "cuda": 1e12}
"""The same of convolutions that treat every channel by itself: memory rules them."""

_FOURIER = {"cpu": 8e9, "cuda": 2e12}
"""Operations a second of fast Fourier transforms and complex products."""

_PRECISE = 1e-7
"""Part of the largest singular value below which a shape of the Gaussian family is dropped."""


def conv(problem: Problem) -> Tensor:
    """Return the sum as a convolution; this defines what every other method computes."""
    kernel = problem.window().flatten(0, 1).flip(-1)
    x = functional.pad(problem.x.permute(1, 2, 0), (problem.reach - problem.past, 0))
    y = functional.conv1d(x, kernel.to(x.dtype), groups=problem.weight.shape[0])
    return y.permute(2, 0, 1)


def conv_cost(problem: Problem) -> float:
    return 2 * problem.products * (problem.reach + 1) / _dense_rate(problem)


def fft(problem: Problem) -> Tensor:
    """Return the sum as a product over frequencies."""
    G, _, I, _ = problem.weight.shape
    length = len(problem.x) + problem.reach
    wide = torch.promote_types(problem.x.dtype, torch.float32)
    x = torch.fft.rfft(problem.x.to(wide), length, dim=0).unflatten(2, (G, I))
    kernel = torch.fft.rfft(problem.window().to(wide), length, dim=3)
    y = torch.einsum("fbgi,goif->fbgo", x, kernel).flatten(2)
    return torch.fft.irfft(y, length, dim=0)[problem.past : len(problem.x)].to(problem.x.dtype)


def fft_cost(problem: Problem) -> float:
    length = len(problem.x) + problem.reach
    rows = problem.x[0].numel() + problem.x.shape[1] * problem.weight.shape[:2].numel() + problem.pairs
    return length * (5 * math.log2(length) * rows + 4 * problem.x.shape[1] * problem.pairs) / _rate(_FOURIER, problem)


def fir(problem: Problem) -> Tensor:
    """Return the sum as a mixture of every input filtered by the few shapes that all kernels are made of."""
    assert problem.sigma is not None
    shapes = torch.from_numpy(basis(problem.reach, problem.sigma)).to(problem.x)
    G, _, I, _ = problem.weight.shape
    mixture = (problem.window().to(problem.x.dtype) @ shapes.t()).flatten(2)
    T, B, C = problem.x.shape
    x = functional.pad(problem.x.permute(1, 2, 0).reshape(B * C, 1, T), (problem.reach - problem.past, 0))
    filtered = functional.conv1d(x, shapes.flip(1).unsqueeze(1)).reshape(B, G, I * len(shapes), problem.steps)
    return (mixture @ filtered).flatten(1, 2).permute(2, 0, 1)


def fir_cost(problem: Problem) -> float | None:
    if problem.sigma is None or problem.reach == 0 or problem.taps.lags.shape[-1] <= problem.reach:
        return None
    rank = len(basis(problem.reach, problem.sigma))
    filters = 2 * rank * (problem.reach + 1) * problem.steps * problem.x[0].numel()
    return (2 * problem.products * rank + 6 * filters) / _dense_rate(problem)


@functools.lru_cache(maxsize=256)
def basis(reach: int, sigma: float) -> np.ndarray:
    """Return orthonormal shapes [rank, 1 + reach] that span the Gaussians of all delays, and their slopes.

    Truncation and normalisation at the window are part of the shapes, so nothing is lost at its ends.
    """
    grid = torch.linspace(0, reach, 16 * reach + 1, dtype=torch.float64)
    family = gauss(grid, reach, sigma)
    values = torch.zeros(len(grid), reach + 1, dtype=torch.float64).scatter_(1, family.lags, family.values)
    slopes = torch.gradient(values, dim=0)[0] * 16
    _, sizes, shapes = torch.linalg.svd(torch.cat([values, slopes]), full_matrices=False)
    return shapes[sizes > _PRECISE * sizes[0]].float().numpy()


def _dense_rate(problem: Problem) -> float:
    if problem.weight.shape[0] > 1:
        return _rate(_DEPTHWISE, problem)
    if problem.x.is_cuda and (torch.is_autocast_enabled("cuda") or problem.x.itemsize == 2):
        return _TENSOR_CORES["half"]
    if problem.x.is_cuda and problem.x.dtype == torch.float32 and torch.backends.cudnn.allow_tf32:
        return _TENSOR_CORES["tf32"]
    return _rate(_DENSE, problem)


def _rate(rates: dict[str, float], problem: Problem) -> float:
    return rates.get(problem.x.device.type, rates["cpu"])
