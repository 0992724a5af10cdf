"""The CUDA backend: generated CUDA C through CuPy, on torch's memory, device and stream.

A launch neither copies, synchronises nor allocates outside torch, so it can be captured in a CUDA graph once the
kernel has run before: the first run on a device compiles it and loads it there. Compiled kernels and their sources are
kept beside snnkit's other kernels.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from snnkit.codegen import nvrtc
from snnkit.codegen.c_source import STRETCH, Program
from snnkit.codegen.kernel import Kernel

OPTIONS = ("-std=c++17", "--fmad=false")
"""How sources are compiled; products and sums stay apart, as in the reference."""


class Source(Protocol):
    """A kernel by name, hashable, with the source that holds it."""

    @property
    def name(self) -> Any: ...

    def source(self, target: str) -> str: ...


_WARP = 32
_BLOCKS = 1024
"""Blocks that keep a large GPU busy; fewer columns take smaller blocks."""


def forward(
    kernel: Kernel, x: Tensor, state: Tensor | None, params: Sequence[Tensor], every: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron over time; arguments and results as in `cpu.forward`, on a GPU, x in fp32, bf16 or fp16."""
    state = kernel.fresh(x) if state is None else state.contiguous()
    T, M = len(x), state.shape[1]
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    after = torch.empty_like(state)
    checkpoints = state.new_empty((-(-T // every), len(state), M))
    x, x_step = _rows(x)
    vectors = [p.contiguous() for p in params]
    arguments = [x, x_step, state, y, after, checkpoints, *_with_lengths(vectors), every, T, M]
    launch(Program(kernel, _io(x)), x.device, M, arguments)
    return y, after, checkpoints


def backward(
    kernel: Kernel,
    x: Tensor,
    checkpoints: Tensor,
    params: Sequence[Tensor],
    grads: tuple[Tensor, Tensor | None],
    every: int,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a neuron backward over time; arguments and results as in `cpu.backward`."""
    T, M = len(x), checkpoints.shape[2]
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grad_after = checkpoints.new_zeros(checkpoints.shape[1:]) if grads[1] is None else grads[1].contiguous()
    grad_state = torch.empty_like(grad_after)
    totals = checkpoints.new_empty((sum(wanted), M))
    (x, x_step), (grad_y, g_step) = _rows(x), _rows(grads[0])
    checkpoints = checkpoints.contiguous()
    vectors = [p.contiguous() for p in params]
    arguments = [x, x_step, checkpoints, grad_y, g_step, grad_after, grad_x, grad_state, totals]
    arguments += [*_with_lengths(vectors), *kernel.surrogate.params.values(), every, T, M]
    launch(Program(kernel, _io(x), wanted, every > STRETCH), x.device, M, arguments)
    return grad_x, grad_state, totals


def launch(program: Source, device: torch.device, columns: int, arguments: Sequence[Tensor | int | float]) -> None:
    """Put a kernel on torch's current stream of a device, a thread for each column."""
    cupy = importlib.import_module("cupy")

    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    values = [np.float32(a) if isinstance(a, float) else np.int64(a) for a in plain]
    threads = _threads(columns)
    # CuPy takes the device and the stream that are current.
    with torch.cuda.device(device), cupy.cuda.Stream.from_external(torch.cuda.current_stream(device)):
        _function(program, device.index)((-(-columns // threads),), (threads,), tuple(values))


@functools.cache
def _function(program: Source, device: int | None) -> Any:
    """Return a kernel, loaded once on each device; the device is the current one."""
    return nvrtc.load(program.name, program.source("cuda"), OPTIONS)


def _threads(columns: int) -> int:
    """Return the threads of a block: 256 at most, fewer where that leaves multiprocessors idle."""
    threads = 256
    while threads > _WARP and columns < threads * _BLOCKS:
        threads //= 2
    return threads


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """Return rows [T, …] whose columns lie side by side, and the step between rows; 0 repeats one row."""
    if x.stride(0) == 0:
        return x[:1].contiguous(), 0
    if not x.is_contiguous() and not x[0].is_contiguous():
        x = x.contiguous()
    return x, x.stride(0)


def _with_lengths(vectors: Sequence[Tensor]) -> list[Tensor | int]:
    return [item for vector in vectors for item in (vector, vector.numel())]


def _io(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
