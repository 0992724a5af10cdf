"""What a GPU runs is what the reference means: the same bodies, compiled by the host's C++ compiler."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from conformance import SHAPES, Case, cases, catalogue, check_backend, check_finite_differences
from host_target import GARBAGE, HostLibrary, as_c, attached, programs, unit

from snnkit.codegen import c_source
from snnkit.codegen.c_source import Program
from snnkit.codegen.kernel import Kernel
from snnkit.neuron import Neuron, Param, surrogate

CASES = cases()
CATALOGUE = dict(catalogue())
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

pytestmark = pytest.mark.usefixtures("nan_in_fresh_memory")


@pytest.mark.parametrize("label", CATALOGUE)
def test_every_surrogate_reset_and_type_equals_the_reference(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [case for case in CASES if case.label.startswith(f"{label}-")]
    kernels = [Kernel(case.neuron, case.surrogate, case.detach_reset) for case in chosen]
    HostLibrary(tmp_path, unit(programs(kernels), "host"), "-O0", GARBAGE).replace_gpu(monkeypatch)
    offset = list(CATALOGUE).index(label)
    for k, case in enumerate(chosen):
        for j, dtype in enumerate(DTYPES):
            first = offset + len(DTYPES) * k + j
            for shape in SHAPES if len(chosen) == 1 else [SHAPES[first % len(SHAPES)]]:
                check_backend(case, "cpu", dtype, shape, seed=offset + k)


AWKWARD = Neuron(
    name="awkward",
    states={"M": 0.0, "inputs": 0.5, "τ": 0.25},
    params={"float": Param(2.0, low=1.0), "T": Param(1.0), "every": Param(0.3), "h0": Param(0.1), "trace": Param(0.5)},
    update=[
        "sign = -1",
        "k = tanh(inputs) - min(M, T) + where(x > every, x, trace * x) - -sign * 1e-7",
        "M = M + (k - M) / float",
        "τ = τ * sigmoid(h0) + abs(M) * h0",
        "inputs = inputs + (x - inputs) / (float + exp(h0)) - sqrt(1 + τ**2) * h0",
    ],
    spike="M - T + 0.1 * τ",
    reset=["M = M - s * T", "inputs = inputs + sign * h0 * s * max(inputs, 0)"],
)


def test_a_symbol_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        Case(AWKWARD, make(), detach, "awkward")
        for make in (surrogate.atan, surrogate.rectangle)
        for detach in (True, False)
    ]
    kernels = [Kernel(case.neuron, case.surrogate, case.detach_reset) for case in made]
    HostLibrary(tmp_path, unit(programs(kernels), "host"), "-O1", GARBAGE).replace_gpu(monkeypatch)
    check_finite_differences(made[0])
    for case in made:
        for dtype in DTYPES:
            check_backend(case, "cpu", dtype, (7, 2, 63))


CONVERSIONS = """
extern "C" void widen_bfloat16(const snnkit_bfloat16* from, float* to, long long n) {
    for (long long k = 0; k < n; ++k) to[k] = snnkit_wide(from[k]);
}
extern "C" void widen_float16(const snnkit_float16* from, float* to, long long n) {
    for (long long k = 0; k < n; ++k) to[k] = snnkit_wide(from[k]);
}
extern "C" void narrow_bfloat16(const float* from, snnkit_bfloat16* to, long long n) {
    for (long long k = 0; k < n; ++k) snnkit_store(to + k, from[k]);
}
extern "C" void narrow_float16(const float* from, snnkit_float16* to, long long n) {
    for (long long k = 0; k < n; ++k) snnkit_store(to + k, from[k]);
}
"""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types_convert_as_torch_does(dtype: torch.dtype, tmp_path: Path) -> None:
    library = HostLibrary(tmp_path, c_source.prelude("host") + CONVERSIONS, "-O1", GARBAGE).library
    name = str(dtype).removeprefix("torch.")
    every_half = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype)
    wide = torch.empty(1 << 16)
    getattr(library, f"widen_{name}")(as_c(every_half), as_c(wide), ctypes.c_longlong(len(wide)))
    assert torch.equal(wide.isnan(), every_half.isnan()) and int(wide.isnan().sum()) > 100
    bits = wide.view(torch.int32), every_half.float().view(torch.int32)
    assert torch.equal(*(b[~wide.isnan()] for b in bits))

    # Every half, the middle between it and the next, and the floats just beside these; then floats of every exponent.
    middles = wide.view(torch.int32) + (1 << (15 if dtype == torch.bfloat16 else 12))
    subnormal = (torch.arange(5000, dtype=torch.float64) * 2.0**-26).float().view(torch.int32)
    near = torch.cat([middles + step for step in (-1, 0, 1)] + [subnormal + step for step in (-1, 0, 1)])
    floats = torch.cat(
        [wide, near.view(torch.float32), torch.randint(-(2**31), 2**31, (1 << 18,)).to(torch.int32).view(torch.float32)]
    )
    narrow = torch.empty(len(floats), dtype=dtype)
    getattr(library, f"narrow_{name}")(as_c(floats), as_c(narrow), ctypes.c_longlong(len(floats)))
    expected = floats.to(dtype)
    assert torch.equal(narrow.isnan(), expected.isnan())
    known = ~expected.isnan()
    assert torch.equal(narrow[known].view(torch.int16), expected[known].view(torch.int16))


def test_both_targets_have_the_same_body() -> None:
    for label, neuron in CATALOGUE.items():
        for program in programs([attached(neuron)], deep=True):
            texts = [program.source(target).removeprefix(c_source.prelude(target)) for target in ("cuda", "host")]
            assert texts[0] == texts[1] == program.body, label
    macros = [c_source.prelude(target).split("enum", 1) for target in ("cuda", "host")]
    assert macros[0][1] == macros[1][1], "the preludes differ by more than macros"
    for line in (line for head, _ in macros for line in head.splitlines()):
        assert not line or line.startswith(("// generated", "#define SNNKIT_", "#include <math.h>")), line


def test_source_is_what_runs() -> None:
    kernel, wanted = attached(CATALOGUE["LIF(soft)"]), (True, False, True)
    assert c_source.source(kernel, "float16") == Program(kernel, "float16").source("cuda")
    for every in (1, c_source.STRETCH, c_source.STRETCH + 1):
        text = c_source.source(kernel, wanted=wanted, every=every, target="host")
        assert text == Program(kernel, "float32", wanted, every > c_source.STRETCH).source("host")
