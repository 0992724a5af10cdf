"""The CUDA C of every neuron, of delays and of the emulator compiles as CuPy compiles it, without a word of warning."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conformance import catalogue
from host_target import attached, programs, unit

from snnkit.codegen import c_source, cuda, schedule
from snnkit.deploy.emulator import cuda as chip
from snnkit.synapse.delayed import cuda as delays

KERNELS = [attached(neuron) for _, neuron in catalogue()]

ADDED = "--device-as-default-execution-space"
"""What `cupy.cuda.compiler.compile_using_nvrtc` adds to options, beside the architecture."""

USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers",
    re.DOTALL,
)
"""What the assembler says of a kernel."""


@functools.cache
def nvrtc() -> ctypes.CDLL:
    """Return the compiler of the package nvidia-cuda-nvrtc, or skip the test."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(folder, "cu13", "lib") for folder in spec.submodule_search_locations or ()]
    for folder in folders:
        if (folder / "libnvrtc.so.13").exists():
            # It looks for its built-in functions among what is loaded, not beside itself.
            for builtins in folder.glob("libnvrtc-builtins.so.13.*"):
                ctypes.CDLL(str(builtins))
            return ctypes.CDLL(str(folder / "libnvrtc.so.13"))
    pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc (Linux on x86-64)")


def compile_with_nvrtc(source: str, architecture: str, *flags: str) -> tuple[str, str]:
    """Compile a source as CuPy does, and return what the compiler said and the assembly."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    options = [*cuda.OPTIONS, f"-arch={architecture}", ADDED, *flags]
    failed = library.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options))
    )
    texts = []
    for part in ("ProgramLog", "PTX"):
        getattr(library, f"nvrtcGet{part}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{part}")(program, text)
        texts.append(text.value.decode())
        assert not failed, f"{' '.join(options)}\n{texts[0][:4000]}"
    assert library.nvrtcDestroyProgram(ctypes.byref(program)) == 0
    assert "warning" not in texts[0], texts[0][:4000]
    return texts[0], texts[1]


def usage(source: str) -> dict[str, tuple[int, ...]]:
    """Return the bytes of local memory, the bytes spilled and the registers of each kernel of a source."""
    said, _ = compile_with_nvrtc(source, "sm_90", "--ptxas-options=-v")
    return {name: tuple(map(int, numbers)) for name, *numbers in USAGE.findall(said)}


def test_every_neuron_compiles_for_a_gpu_and_spills_nothing() -> None:
    chosen = {program.name: program for program in programs(KERNELS, io=("float32",), deep=True)}
    used = usage(unit(list(chosen.values()), "cuda"))
    assert used.keys() == chosen.keys()
    for name, (stack, spilled, registers) in used.items():
        program = chosen[name]
        kernel = program.kernel
        kept = len(schedule.backward(kernel.step, kernel.adjoint(program.wanted)).kept) if program.wanted else 0
        arrays = 4 * (c_source.STRETCH * kept + c_source.MARKS * len(kernel.neuron.states) * program.deep)
        assert spilled == 0 and registers <= 128, f"{name} uses {registers} registers and spills {spilled} bytes"
        # Some functions of the mathematical library need a few words of their own.
        assert stack <= arrays + 64, f"{name} keeps {stack} bytes in local memory, {arrays} of them on purpose"


@pytest.mark.parametrize("io", ["bfloat16", "float16"])
def test_every_neuron_compiles_in_half_precision(io: str) -> None:
    chosen = programs(KERNELS, io=(io,), deep=True)
    _, assembly = compile_with_nvrtc(unit(chosen, "cuda"), "compute_90")
    assert all(f".entry {program.name}(" in assembly for program in chosen)


@pytest.mark.parametrize(
    ("source", "kernels", "stack"),
    [
        (delays.SUM.source("cuda"), {"sum", "correlation"}, 0),
        (chip.SUM.source("cuda"), {"sum", "convolve", "fire"}, 64),
    ],
    ids=["delays", "emulator"],
)
def test_every_other_kernel_compiles_for_a_gpu_and_spills_nothing(source: str, kernels: set[str], stack: int) -> None:
    used = usage(source)
    assert {name.rpartition("_")[2] for name in used} == kernels
    assert all(words <= stack and spilled == 0 for words, spilled, _ in used.values()), used


def test_products_and_sums_stay_apart_and_small_numbers_stay() -> None:
    exact = [kernel for kernel in KERNELS if kernel.neuron.name in ("lif", "alif", "izhikevich")]
    _, assembly = compile_with_nvrtc(unit(programs(exact, io=("float32",)), "cuda"), "compute_90")
    assert "mul.rn.f32" in assembly and "add.rn.f32" in assembly and "div.rn.f32" in assembly
    contracted = re.findall(r"(?:fma\.rn|mul|add|sub|div\.approx|div\.full)\.f32", assembly)
    assert not contracted, f"the compiler may contract or approximate: {set(contracted)}"
    assert ".ftz" not in assembly, "subnormal numbers would count as zero"


SOURCES = {
    "neurons": lambda: unit(programs(KERNELS, io=("float32",), deep=True), "cuda"),
    "delays": lambda: delays.SUM.source("cuda"),
    "emulator": lambda: chip.SUM.source("cuda"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_nvcc_takes_every_kernel_too(source: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on PATH")
    written, binary = tmp_path / f"{source}.cu", tmp_path / f"{source}.cubin"
    written.write_text(SOURCES[source](), encoding="utf-8")
    command = [nvcc, *cuda.OPTIONS, "-arch=sm_90", "-Werror", "all-warnings", "-cubin", "-o", str(binary), str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    assert binary.stat().st_size > 0


def test_a_warning_is_found() -> None:
    with pytest.raises(AssertionError, match="never referenced"):
        compile_with_nvrtc('extern "C" __global__ void f() { int unused; }', "compute_90")
    with pytest.raises(AssertionError, match='identifier "nothing" is undefined'):
        compile_with_nvrtc('extern "C" __global__ void f(float* y) { *y = nothing; }', "compute_90")


@pytest.mark.gpu
def test_cupy_compiles_what_nvrtc_does() -> None:
    import cupy

    for io in c_source.TYPES:
        chosen = programs(KERNELS[:8], io=(io,), deep=True)
        binary, _ = cupy.cuda.compiler.compile_using_nvrtc(unit(chosen, "cuda"), cuda.OPTIONS)
        module = cupy.cuda.function.Module()
        module.load(binary)
        assert all(module.get_function(program.name) for program in chosen)
