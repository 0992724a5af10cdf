"""Which backend runs a layer, and running it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from snnkit.codegen.kernel import Kernel
from snnkit.errors import BackendError, nearest

BACKENDS = ("auto", "reference", "cpu", "cuda")
"""What a layer's `backend=` may be."""

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@lru_cache
def cupy_found() -> bool:
    """Return whether CuPy is installed."""
    return importlib.util.find_spec("cupy") is not None


def check(name: str) -> str:
    """Return a backend's name, or raise BackendError where there is none of that name."""
    if name not in BACKENDS:
        raise BackendError(f"no backend {name!r}{nearest(name, BACKENDS)}; known: {', '.join(BACKENDS)}")
    return name


def resolve(name: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Return the backend that runs, and why.

    Args:
        name: one of `BACKENDS`; `auto` picks by device and type.
        device, dtype: those of the input.
    Raises:
        BackendError: where a backend asked for by name cannot run there; nothing falls back silently.
    """
    if name == "reference":
        return name, "asked for"
    if name == "auto":
        return _pick(device, dtype)
    if name != device.type:
        raise BackendError(
            f"backend {name!r} cannot run on {device.type} tensors; "
            f"move the input with .to({name!r}) or build the layer with backend='auto'"
        )
    if name == "cuda":
        if not cupy_found():
            raise BackendError("backend 'cuda' needs CuPy; install it with: pip install 'snnkit[cuda]'")
        if dtype == torch.float64:
            raise BackendError("backend 'cuda' computes in float32; use .float(), or backend='reference' for float64")
    return name, "asked for"


def _pick(device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    if device.type == "cpu":
        return "cpu", "fused numba kernels for CPU tensors"
    if device.type == "cuda" and dtype in _FLOATS:
        if cupy_found():
            return "cuda", "fused CUDA kernels through CuPy"
        return "reference", "CuPy is not installed; pip install 'snnkit[cuda]' for the fused kernels"
    return "reference", f"no fused kernels for {device.type} tensors of {str(dtype).removeprefix('torch.')}"


def run(
    kernel: Kernel, x: Tensor, state: Tensor | None, params: Sequence[Tensor], *, backend: str, every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a kernel on a resolved backend, with gradients; otherwise as `cpu.forward`."""
    if backend == "reference":
        from snnkit.codegen import reference

        y, after, trace = reference.forward(kernel, x.flatten(1), kernel.fresh(x) if state is None else state, params)
        return y.view(x.shape), after, trace[::every]
    from snnkit.codegen.operators import neuron

    return neuron(x, state, params, kernel.key, backend, every)
