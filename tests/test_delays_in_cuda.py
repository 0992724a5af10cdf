"""The CUDA kernels of delays: run by the host's C++ compiler, and on a GPU where there is one."""

from __future__ import annotations

import pytest
import torch
from host_target import GARBAGE, HostLibrary

import snnkit
from snnkit.codegen import cuda as launcher
from snnkit.synapse.delay import KINDS
from snnkit.synapse.delayed import cuda, taps

SIZES = [(1, 1, 1, 1, 0), (7, 3, 5, 4, 3), (20, 33, 6, 9, 12), (64, 2, 3, 2, 100)]
"""Steps, batch, inputs, outputs and longest delay."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> HostLibrary:
    """Return the kernels compiled for the host."""
    return HostLibrary(tmp_path_factory.mktemp("delayed"), cuda.SUM.source("host"), "-O1", GARBAGE)


@pytest.fixture
def on_the_host(library: HostLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run layers on CPU tensors through the GPU's kernels, compiled for the host."""
    monkeypatch.setattr(launcher, "launch", library.launch)
    monkeypatch.setattr(taps, "_kernels", lambda x: cuda)


def _outcome(layer: snnkit.DelayLinear, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    inputs = x.clone().requires_grad_()
    layer.zero_grad()
    state = {"history": torch.ones(x.shape[1], layer.max_delay, x.shape[2]).to(x).requires_grad_()}
    y, _ = layer.run(inputs, state)
    y.backward(grad)
    found = y.detach(), inputs.grad, state["history"].grad, layer.weight.grad, layer.delay.grad
    return tuple(part.clone() for part in found if part is not None)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["gauss", "linear", "integer"])
@pytest.mark.usefixtures("on_the_host", "nan_in_fresh_memory")
def test_the_body_on_the_host_equals_the_convolution(kernel: str, kind: str, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    T, B, I, O, longest = sizes
    layer = snnkit.DelayLinear(I, O, max_delay=longest, kind=kind, taps=2, kernel=kernel)
    layer.sigma.fill_(0.7)
    x, grad = torch.rand(T, B, I), torch.randn(T, B, O)
    layer.backend = "taps"
    found = _outcome(layer, x, grad)
    layer.backend = "conv"
    for one, other in zip(found, _outcome(layer, x, grad), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["gauss", "linear", "integer"])
@pytest.mark.parametrize("method", ["conv", "fft", "taps"])
def test_a_gpu_equals_the_cpu(method: str, kernel: str, kind: str, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    T, B, I, O, longest = sizes
    layer = snnkit.DelayLinear(I, O, max_delay=longest, kind=kind, taps=2, kernel=kernel, backend="conv")
    layer.sigma.fill_(0.7)
    x, grad = torch.rand(T, B, I), torch.randn(T, B, O)
    expected = _outcome(layer.double(), x.double(), grad.double())
    layer.float().cuda().backend = method
    found = _outcome(layer, x.cuda(), grad.cuda())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu().double(), other, rtol=1e-3, atol=1e-3)
