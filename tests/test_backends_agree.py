"""Every neuron x surrogate x reset x backend x type gives what the reference gives, which is what calculus gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from conformance import SHAPES, Case, cases, check_backend, check_finite_differences, mixed

from snnkit.codegen import cpu_source
from snnkit.codegen.kernel import Kernel
from snnkit.neuron import surrogate

CASES = cases()
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


pytestmark = pytest.mark.usefixtures("nan_in_fresh_memory")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@pytest.mark.parametrize("backend", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_backend_equals_the_reference(case: Case, backend: str) -> None:
    offset = CASES.index(case)
    for k, dtype in enumerate((torch.float32, torch.float32, torch.bfloat16, torch.float16)):
        T, B, N = SHAPES[(offset + 2 * k) % len(SHAPES)]
        # A single neuron takes the kernel of mixed parameters, which the other half of the cases compiles anyway.
        check_backend(case, backend, dtype, (T, B if mixed(case) else max(B, 2), N), seed=offset + k)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_reference_equals_finite_differences_of_its_smooth_twin(case: Case) -> None:
    check_finite_differences(case, seed=CASES.index(case))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_size_in_every_type(shape: tuple[int, int, int], dtype: torch.dtype, backend: str) -> None:
    if backend == "cuda" and dtype == torch.float64:
        pytest.skip("the CUDA backend computes in float32")
    for case in (CASES[0], next(case for case in CASES if case.label.startswith("CubaLIF"))):
        check_backend(case, backend, dtype, shape)


USER_FILE = """
from snnkit.neuron import Neuron, Param

mine = Neuron(
    name="mine",
    states={"lambda_": 0.0, "E": 0.5, "τ": 0.25},
    params={"i": Param(2.0, low=1.0), "exp": Param(1.0), "int": Param(0.3), "w": Param(0.1), "real": Param(0.5)},
    update=[
        "t0 = tanh(E) - min(lambda_, exp) + where(x > int, x, real * x)",
        "lambda_ = lambda_ + (t0 - lambda_) / i",
        "τ = τ * sigmoid(w) + abs(lambda_) * w",
        "E = E + (x - E) / (i + exp(w)) - sqrt(1 + τ**2) * w",
    ],
    spike="lambda_ - exp + 0.1 * τ",
    reset=["lambda_ = lambda_ - s * exp", "E = E - w * s * max(E, 0)"],
    reference="a file outside the package",
)
"""


def test_a_neuron_of_a_user_joins_the_suite(tmp_path: Path) -> None:
    file = tmp_path / "outside.py"
    file.write_text(USER_FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("outside", file)
    assert spec is not None and spec.loader is not None
    outside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(outside)
    for make in (surrogate.atan, surrogate.triangle):
        for detach in (True, False):
            case = Case(outside.mine, make(), detach, "mine")
            check_finite_differences(case)
            for dtype in DTYPES:
                check_backend(case, "cpu", dtype, (7, 2, 63))


@pytest.mark.parametrize("label", ["LIF(soft,input_decay)", "ALIF(hard)", "ILIF(soft)"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "rows"])
def test_neither_blocks_nor_scratch_memory_before_its_first_write_matter(label: str, shared: bool) -> None:
    case = next(case for case in CASES if case.label.startswith(label))
    kernel = Kernel(case.neuron, case.surrogate, case.detach_reset)
    wanted = (True,) * len(case.neuron.params)
    results = []
    for fill, block in (("np.empty(", cpu_source.BLOCK), ("np.nan + np.zeros(", 32)):
        run = []
        for flags in (None, wanted):
            text = cpu_source.source(kernel, wanted=flags, shared=shared)
            text = text.replace("np.empty(", fill).replace("cache=True, ", "")
            text = text.replace("np.nan + ", "real(np.nan) + ")
            text = text.replace(f"BLOCK = {cpu_source.BLOCK}", f"BLOCK = {block}")
            scope: dict = {"__name__": "generated"}
            exec(compile(text, "generated", "exec"), scope)
            run.append(scope["forward" if flags is None else "backward"])
        results.append(_raw(kernel, *run))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


def _raw(kernel: Kernel, forward, backward) -> list[torch.Tensor]:
    """Run compiled functions without the launcher: 11 steps, 70 neurons, a checkpoint every 4."""
    torch.manual_seed(0)
    T, M, S, P = 11, 70, len(kernel.neuron.states), len(kernel.neuron.params)
    x, state = torch.rand(T, M), torch.zeros(S, M)
    params = tuple(torch.tensor([p.default]).float().numpy() for p in kernel.neuron.params.values())
    y, after, checkpoints = torch.zeros(T, M), torch.zeros(S, M), torch.zeros(3, S, M)
    forward(x.numpy(), state.numpy(), params, y.numpy(), after.numpy(), checkpoints.numpy(), 4, 0, M)
    slope = torch.tensor(list(kernel.surrogate.params.values())).numpy()
    grad_x, grad_start, totals = torch.zeros(T, M), torch.zeros(S, M), torch.zeros(P, M)
    seeds = torch.rand(T, M), torch.rand(S, M)
    arrays = [a.numpy() for a in (*seeds, grad_x, grad_start, totals)]
    backward(x.numpy(), checkpoints.numpy(), params, slope, *arrays, 4, 0, M)
    return [y, after, checkpoints, grad_x, grad_start, totals]
