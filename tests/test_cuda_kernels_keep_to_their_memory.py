"""The CUDA kernels read and write what they should, however checkpoints and rows lie in memory."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conformance import catalogue
from host_target import GARBAGE, HostLibrary, attached, compiler, data, gradients, programs, unit
from torch import Tensor

from snnkit.codegen import c_source, cache, cuda
from snnkit.codegen.c_source import Program

CATALOGUE = dict(catalogue())

pytestmark = pytest.mark.usefixtures("nan_in_fresh_memory")


@pytest.fixture(scope="module")
def optimised(tmp_path_factory: pytest.TempPathFactory) -> HostLibrary:
    """Return every variant of every neuron in float32, with the deep backward kernels, optimised."""
    chosen = programs(map(attached, CATALOGUE.values()), io=("float32",), deep=True)
    return HostLibrary(tmp_path_factory.mktemp("optimised"), unit(chosen, "host"), "-O1", GARBAGE)


@pytest.mark.parametrize("label", CATALOGUE)
def test_results_do_not_depend_on_where_checkpoints_lie(
    label: str, optimised: HostLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimised.replace_gpu(monkeypatch)
    kernel = attached(CATALOGUE[label])
    inputs = data(kernel, 100, 5)
    expected = gradients(kernel, 7, inputs)
    for every in (1, c_source.STRETCH, c_source.STRETCH + 1, 64, 100, 250):
        for found, value in zip(gradients(kernel, every, inputs), expected, strict=True):
            assert torch.equal(found, value), f"a checkpoint every {every} steps"


def test_checkpoints_may_lie_any_distance_apart(optimised: HostLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    optimised.replace_gpu(monkeypatch)
    window = c_source.STRETCH * c_source.MARKS
    kernel = attached(CATALOGUE["ALIF(soft)"])
    inputs = data(kernel, 2 * window + 77, 2)
    expected = gradients(kernel, 16, inputs)
    for every in (window - 1, window, window + 1, 2 * window + 40, 3 * window):
        for found, value in zip(gradients(kernel, every, inputs), expected, strict=True):
            assert torch.equal(found, value), f"a checkpoint every {every} steps"


@pytest.mark.parametrize("label", ["LIF(hard)", "Izhikevich()", "Readout()"])
def test_repeated_and_strided_rows_are_read_in_place(
    label: str, optimised: HostLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    T, M = 9, 63
    optimised.replace_gpu(monkeypatch)
    kernel = attached(CATALOGUE[label])
    x, state, params, (grad_y, grad_after) = data(kernel, T, M)
    one, scalar = torch.randn(1, M), torch.tensor(0.5)
    views = [
        (one.expand(T, M), grad_y),
        (x, scalar.expand(T, M)),
        (one.expand(T, M), one.expand(T, M)),
        (torch.cat([x, x], 1)[:, M:], torch.cat([grad_y, grad_y], 0)[::2]),
        (x.t().contiguous().t(), grad_y.t().contiguous().t()),
    ]
    for x_view, grad_view in views:
        found = gradients(kernel, 3, (x_view, state, params, (grad_view, grad_after)))
        plain = (
            x_view.clone(memory_format=torch.contiguous_format),
            grad_view.clone(memory_format=torch.contiguous_format),
        )
        assert all(tensor.is_contiguous() for tensor in plain)
        expected = gradients(kernel, 3, (plain[0], state, params, (plain[1], grad_after)))
        for first, second in zip(found, expected, strict=True):
            assert first.is_contiguous() and torch.equal(first, second)
    step = cuda._rows(views[3][0])
    assert step[1] == 2 * M and step[0].data_ptr() == views[3][0].data_ptr(), "a strided input was copied"


def test_only_wanted_parameters_get_a_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = attached(CATALOGUE["ALIF(hard)"])
    x, state, params, grads = data(kernel, 12, 63)
    choices = [tuple(bool(bits >> k & 1) for k in range(len(params))) for bits in (0, 1, 9, 22, 31)]
    chosen = [Program(kernel), *(Program(kernel, "float32", wanted) for wanted in choices)]
    HostLibrary(tmp_path, unit(chosen, "host"), "-O1", GARBAGE).replace_gpu(monkeypatch)
    checkpoints = cuda.forward(kernel, x, state, params, 3)[2]
    results = [cuda.backward(kernel, x, checkpoints, params, grads, 3, wanted) for wanted in choices]
    *_, totals = results[-1]
    for wanted, (grad_x, grad_state, some) in zip(choices, results, strict=True):
        assert some.shape == (sum(wanted), 63)
        torch.testing.assert_close(some, totals[torch.tensor(wanted)])
        torch.testing.assert_close(grad_x, results[-1][0])
        torch.testing.assert_close(grad_state, results[-1][1])


class FakeRawModule:
    """CuPy's class of this name, with the host for a GPU: threads of a block run one after the other."""

    launches: ClassVar[list[tuple[int, int]]] = []
    library: ClassVar[HostLibrary]

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        assert code.startswith("// generated by snnkit for cuda") and "--fmad=false" in options

    def get_function(self, name: str) -> Callable[..., None]:
        def run(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            self.launches.append((*grid, *block))
            types = {np.int64: ctypes.c_longlong, np.float32: ctypes.c_float}
            getattr(self.library.library, name)(*(types[type(a)](a.item()) for a in arguments))

        return run


def test_a_launch_takes_pointers_and_a_thread_for_each_column(
    optimised: HostLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[object] = []
    stream = SimpleNamespace(from_external=lambda s: streams.append(s) or nullcontext())
    fake = SimpleNamespace(RawModule=FakeRawModule, cuda=SimpleNamespace(Stream=stream))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "torch's stream")
    FakeRawModule.library = optimised
    kernel = attached(CATALOGUE["LIF(soft)"])
    for columns in (1, 33, 5000, 300_000):
        cuda._function.cache_clear()
        FakeRawModule.launches.clear()
        inputs = data(kernel, 3, columns)
        found = gradients(kernel, 2, inputs)
        for blocks, threads in FakeRawModule.launches:
            assert columns <= blocks * threads < columns + threads and threads in (32, 64, 128, 256)
        assert not any(tensor.isnan().any() for tensor in found)
    cuda._function.cache_clear()
    assert set(streams) == {"torch's stream"} and len(streams) == 8
    for program in programs([kernel], io=("float32",)):
        assert (cache.folder() / f"{program.name}.cu").read_text() == program.source("cuda")


CHILD = """
import ctypes, json, sys

library = ctypes.CDLL(sys.argv[1])
for name, arguments in json.load(open(sys.argv[2])):
    memory = [ctypes.create_string_buffer(n) if kind == "bytes" else None for kind, n in arguments]
    scalars = {"int": ctypes.c_longlong, "float": ctypes.c_float}
    values = [scalars[kind](n) if block is None else block for block, (kind, n) in zip(memory, arguments)]
    getattr(library, name)(*values)
print("clean")
"""
"""Runs recorded calls on blocks of exactly the size that each tensor has."""


def test_kernels_stay_within_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("the compiler has no address sanitizer")
    kernels = [attached(CATALOGUE[label]) for label in ("ALIF(hard)", "Readout()")]
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    library = HostLibrary.build(tmp_path, unit(programs(kernels, deep=True), "host"), *flags)
    calls: list[tuple[str, list]] = []

    def record(program: Program, device: torch.device, columns: int, arguments: list) -> None:
        sizes = [("bytes", a.nbytes) if isinstance(a, Tensor) else (type(a).__name__, a) for a in arguments]
        calls.append((program.name, sizes))

    monkeypatch.setattr(cuda, "launch", record)
    for kernel in kernels:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for T, every in ((1, 1), (7, 2), (70, 8), (70, 40), (2100, 1030)):
                x, state, params, (grad_y, grad_after) = data(kernel, T, 3)
                views = (x.to(dtype), state, params, (grad_y.to(dtype)[:1].expand(T, 3), grad_after))
                x, state, params, grads = views
                checkpoints = cuda.forward(kernel, x, state, params, every)[2]
                cuda.backward(kernel, x, checkpoints, params, grads, every, (True,) * len(params))
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    environment = os.environ | {
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(library), str(tmp_path / "calls.json")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "clean\n", done.stderr[:3000]
