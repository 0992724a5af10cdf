"""The generated CUDA C of every neuron compiles without a warning, and keeps its states in registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from conformance import catalogue
from host_target import attached, programs, unit

from snnkit.codegen import c_source, cuda, schedule
from snnkit.codegen.c_source import Program

KERNELS = [attached(neuron) for _, neuron in catalogue()]

USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers",
    re.DOTALL,
)
"""What ptxas says of a kernel."""


def compile_with_nvcc(folder: Path, chosen: Sequence[Program], *flags: str) -> str:
    """Compile programs in one translation unit, warnings being errors, and return what the compiler said."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH")
    source = folder / "kernels.cu"
    source.write_text(unit(chosen, "cuda"), encoding="utf-8")
    command = [nvcc, *cuda.OPTIONS, "-arch=sm_90", "-Werror", "all-warnings", *flags]
    done = subprocess.run(
        [*command, "-o", str(folder / "kernels.out"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"
    return done.stderr


def test_every_neuron_compiles_for_a_gpu_and_spills_nothing(tmp_path: Path) -> None:
    chosen = {program.name: program for program in programs(KERNELS, io=("float32",), deep=True)}
    said = compile_with_nvcc(tmp_path, list(chosen.values()), "-cubin", "-Xptxas", "-v")
    usage = {name: tuple(map(int, numbers)) for name, *numbers in USAGE.findall(said)}
    assert usage.keys() == chosen.keys()
    for name, (stack, spilled, registers) in usage.items():
        program = chosen[name]
        kernel = program.kernel
        kept = len(schedule.backward(kernel.step, kernel.adjoint(program.wanted)).kept) if program.wanted else 0
        arrays = 4 * (c_source.STRETCH * kept + c_source.MARKS * len(kernel.neuron.states) * program.deep)
        assert spilled == 0 and registers <= 128, f"{name} uses {registers} registers and spills {spilled} bytes"
        # Some functions of the mathematical library need a few words of their own.
        assert stack <= arrays + 64, f"{name} keeps {stack} bytes in local memory, {arrays} of them on purpose"


@pytest.mark.parametrize("io", ["bfloat16", "float16"])
def test_every_neuron_compiles_in_half_precision(io: str, tmp_path: Path) -> None:
    compile_with_nvcc(tmp_path, programs(KERNELS, io=(io,)), "-ptx")


def test_products_and_sums_stay_apart(tmp_path: Path) -> None:
    exact = [kernel for kernel in KERNELS if kernel.neuron.name in ("lif", "alif", "izhikevich")]
    compile_with_nvcc(tmp_path, programs(exact, io=("float32",)), "-ptx")
    text = (tmp_path / "kernels.out").read_text()
    assert "mul.rn.f32" in text and "add.rn.f32" in text and "div.rn.f32" in text
    contracted = re.findall(r"(?:fma\.rn|mul|add|sub|div\.approx|div\.full)\.f32", text)
    assert not contracted, f"the compiler may contract or approximate: {set(contracted)}"


@pytest.mark.gpu
def test_cupy_compiles_what_nvcc_does() -> None:
    import cupy

    for io in c_source.TYPES:
        chosen = programs(KERNELS[:8], io=(io,), deep=True)
        module = cupy.RawModule(code=unit(chosen, "cuda"), options=cuda.OPTIONS)
        for program in chosen:
            assert 0 < module.get_function(program.name).num_regs <= 128
