"""The bodies of the CUDA kernels, compiled by the host's C++ compiler and launched over a loop instead of threads."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from conformance import drive
from torch import Tensor

from snnkit.codegen import c_source, cuda, operators
from snnkit.codegen.c_source import Program
from snnkit.codegen.kernel import Kernel
from snnkit.neuron import Neuron, surrogate

FLAGS = ["-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror"]
FLAGS += ["-Wno-unknown-pragmas", "-Wno-unused-variable", "-Wno-unused-but-set-variable"]

Argument = Tensor | int | float

GARBAGE = "-ftrivial-auto-var-init=pattern"
"""Fills local arrays with large numbers, so that what is read before it is written shows."""


def compiler() -> str:
    """Return the host's C++ compiler, or skip the test."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not found:
        pytest.skip("no C++ compiler on PATH")
    return found


def programs(
    kernels: Iterable[Kernel], *, io: Sequence[str] = tuple(c_source.TYPES), deep: bool = False
) -> list[Program]:
    """Return both directions of these kernels in these types, each program once; `deep` adds the deep backward."""
    found: dict[str, Program] = {}
    for kernel in kernels:
        wanted = (True,) * len(kernel.neuron.params)
        for name in io:
            choices = [Program(kernel, name), Program(kernel, name, wanted)]
            choices += [Program(kernel, name, wanted, True)] if deep else []
            found |= {program.name: program for program in choices}
    return list(found.values())


def unit(chosen: Iterable[Program], target: str) -> str:
    """Return one translation unit of many programs."""
    return c_source.prelude(target) + "".join(program.body for program in chosen)


class HostLibrary:
    """Programs compiled into one shared library."""

    def __init__(self, folder: Path, text: str, *flags: str) -> None:
        self.library = ctypes.CDLL(str(self.build(folder, text, *flags)))

    @staticmethod
    def build(folder: Path, text: str, *flags: str) -> Path:
        """Compile a translation unit into a shared library, warnings being errors."""
        source, library = folder / "bodies.cpp", folder / "bodies.so"
        source.write_text(text, encoding="utf-8")
        command = [compiler(), *FLAGS, *flags, str(source), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"
        return library

    def launch(self, program: Program, device: torch.device, columns: int, arguments: Sequence[Argument]) -> None:
        """Run a program, as `cuda.launch` would on a GPU."""
        assert device.type == "cpu"
        getattr(self.library, program.name)(*(as_c(argument) for argument in arguments))

    def replace_gpu(self, patch: pytest.MonkeyPatch) -> None:
        """Make layers on CPU tensors run the CUDA backend, with this library in place of the GPU."""
        patch.setattr(cuda, "launch", self.launch)
        patch.setattr(operators, "_backend", lambda name: cuda)


def as_c(argument: Argument) -> ctypes.c_void_p | ctypes.c_longlong | ctypes.c_float:
    """Return an argument as C takes it."""
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_longlong(argument)


def attached(neuron: Neuron) -> Kernel:
    """Return the kernel whose reverse step is the longest: nothing is held constant."""
    return Kernel(neuron, surrogate.atan(2.0), False)


def data(kernel: Kernel, T: int, M: int) -> tuple[Tensor, Tensor, list[Tensor], tuple[Tensor, Tensor]]:
    """Return input, start state, parameters (vectors and scalars by turns) and upstream gradients."""
    states, params = kernel.neuron.states, kernel.neuron.params
    state = torch.tensor([*states.values()]).unsqueeze(1) + 0.1 * torch.rand(len(states), M)
    vectors = [torch.full((M if k % 2 else 1,), p.default) for k, p in enumerate(params.values())]
    return drive(kernel.neuron, (T, M), seed=T), state, vectors, (torch.randn(T, M), torch.randn(len(states), M))


def gradients(kernel: Kernel, every: int, inputs: tuple) -> tuple[Tensor, ...]:
    """Return everything that a forward and a backward run make, but the checkpoints."""
    x, state, params, grads = inputs
    y, after, checkpoints = cuda.forward(kernel, x, state, params, every)
    assert checkpoints.shape == (-(-len(x) // every), *state.shape) and not checkpoints.isnan().any()
    return y, after, *cuda.backward(kernel, x, checkpoints, params, grads, every, (True,) * len(params))
