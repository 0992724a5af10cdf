"""The CUDA kernels read and write what they should, however checkpoints and rows lie in memory."""

from __future__ import annotations

import ctypes
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


class StandIn:
    """CuPy's functions and classes, with the host for a GPU: threads of a block run one after the other."""

    def __init__(self, library: HostLibrary) -> None:
        self.library = library
        self.launches: list[tuple[int, ...]] = []
        self.streams: list[object] = []
        self.compiled: list[str] = []
        self.cuda = SimpleNamespace(
            Device=lambda: SimpleNamespace(compute_capability="90"),
            Stream=SimpleNamespace(from_external=self.from_external),
            compiler=SimpleNamespace(compile_using_nvrtc=self.compile_using_nvrtc),
            function=SimpleNamespace(Module=lambda: SimpleNamespace(load=self.load, get_function=self.get_function)),
            nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        )

    def from_external(self, obj: object) -> AbstractContextManager[None]:
        self.streams.append(obj)
        return nullcontext()

    def compile_using_nvrtc(self, source: str, options: tuple[str, ...] = ()) -> tuple[bytes, None]:
        assert source.startswith("// generated by snnkit for cuda") and "--fmad=false" in options
        self.compiled.append(source)
        return b"a binary of " + source.encode(), None

    def load(self, cubin: bytes) -> None:
        assert cubin.startswith(b"a binary of // generated")

    def get_function(self, name: str) -> Callable[..., None]:
        def run(grid: tuple[int], block: tuple[int], args: tuple[Any, ...]) -> None:
            self.launches.append((*grid, *block))
            types = {np.int64: ctypes.c_longlong, np.float32: ctypes.c_float}
            getattr(self.library.library, name)(*(types[type(a)](a.item()) for a in args))

        return run


@pytest.fixture
def stand_in(optimised: HostLibrary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """Put the stand-in for CuPy in its place, with a cache of its own."""
    found = StandIn(optimised)
    monkeypatch.setitem(sys.modules, "cupy", found)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "torch's stream")
    cuda._function.cache_clear()
    yield found
    cuda._function.cache_clear()


def test_a_launch_takes_pointers_and_a_thread_for_each_column(stand_in: StandIn) -> None:
    kernel = attached(CATALOGUE["LIF(soft)"])
    for columns in (1, 33, 5000, 300_000):
        stand_in.launches.clear()
        found = gradients(kernel, 2, data(kernel, 3, columns))
        for blocks, threads in stand_in.launches:
            assert columns <= blocks * threads < columns + threads and threads in (32, 64, 128, 256)
        assert len(stand_in.launches) == 2 and not any(tensor.isnan().any() for tensor in found)
    assert stand_in.streams == ["torch's stream"] * 8


def test_a_kernel_is_compiled_once_and_read_from_disk_after_that(stand_in: StandIn) -> None:
    kernel = attached(CATALOGUE["LIF(soft)"])
    chosen = programs([kernel], io=("float32",))
    for _ in range(2):
        gradients(kernel, 2, data(kernel, 3, 33))
        assert stand_in.compiled == [program.source("cuda") for program in chosen]
        cuda._function.cache_clear()
    for program in chosen:
        assert (cache.folder() / f"{program.name}.cu").read_text() == program.source("cuda")
    assert len(list(cache.folder().glob("*.cubin"))) == 2
    stand_in.cuda.Device = lambda: SimpleNamespace(compute_capability="120")
    gradients(kernel, 2, data(kernel, 3, 33))
    assert len(stand_in.compiled) == 4, "another architecture took a binary that is not for it"


def test_the_stand_in_is_called_as_cupy_is(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cupy")
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    theirs = inspect.signature(cupy.cuda.compiler.compile_using_nvrtc).parameters
    ours = inspect.signature(stand_in.compile_using_nvrtc).parameters
    assert list(theirs)[:2] == list(ours) and theirs["options"].default == ()
    assert [*inspect.signature(cupy.cuda.Stream.from_external).parameters] == ["obj"]
    assert hasattr(cupy.cuda.Stream, "__enter__") and hasattr(torch.cuda.Stream, "__cuda_stream__")
    assert hasattr(cupy.cuda.Device, "compute_capability") and callable(cupy.cuda.nvrtc.getVersion)
    # What is compiled to C has its signature in its text alone.
    module = cupy.cuda.function.Module
    assert "load(self, bytes" in module.load.__doc__ and "get_function(self, name)" in module.get_function.__doc__
    with pytest.raises(TypeError, match=r"__call__.* at least 3 positional arguments"):
        cupy.cuda.Function.__new__(cupy.cuda.Function)()
    assert "__call__(self, grid, block, args" in cupy.RawKernel.__call__.__doc__


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
