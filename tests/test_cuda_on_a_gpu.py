"""On a GPU: host and GPU give the same bits; streams, devices and graphs are torch's; nothing waits for the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from conformance import catalogue
from host_target import GARBAGE, HostLibrary, attached, data, gradients, programs, unit
from torch import Tensor

import snnkit
from snnkit.codegen import c_source, cache, cuda
from snnkit.codegen.c_source import Program
from snnkit.errors import BackendError

CATALOGUE = dict(catalogue())
EXACT = ["LIF(soft,input_decay)", "LIF(hard)", "CubaLIF(soft)", "ALIF(hard)", "Izhikevich()", "ILIF(soft)", "Readout()"]
"""Neurons of sums, products and quotients alone."""

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("nan_in_fresh_memory")]


def moved(inputs: tuple, device: str, dtype: torch.dtype = torch.float32) -> tuple:
    """Return the inputs of `gradients` on a device, with sequences of this type."""
    x, state, params, (grad_y, grad_after) = inputs
    grads = grad_y.to(device, dtype), grad_after.to(device)
    return x.to(device, dtype), state.to(device), [p.to(device) for p in params], grads


def same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    """Return whether two runs gave the same bits."""
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostLibrary:
    """Return the bodies of the exact neurons, compiled for the host."""
    chosen = programs([attached(CATALOGUE[label]) for label in EXACT], deep=True)
    return HostLibrary(tmp_path_factory.mktemp("host"), unit(chosen, "host"), "-O1", GARBAGE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("label", EXACT)
def test_a_gpu_gives_the_bits_that_the_host_gives(label: str, dtype: torch.dtype, host: HostLibrary) -> None:
    kernel = attached(CATALOGUE[label])
    for T, M, every in ((1, 1, 1), (7, 63, 2), (100, 500, 10), (100, 500, 40), (1100, 3, 1050)):
        inputs = data(kernel, T, M)
        found = gradients(kernel, every, moved(inputs, "cuda", dtype))
        with pytest.MonkeyPatch.context() as patch:
            host.replace_gpu(patch)
            expected = gradients(kernel, every, moved(inputs, "cpu", dtype))
        assert not any(tensor.isnan().any() for tensor in expected)
        assert same(found, expected), f"T={T}, M={M}, a checkpoint every {every} steps"


@pytest.mark.parametrize("label", CATALOGUE)
def test_runs_repeat_bit_for_bit_wherever_checkpoints_lie(label: str) -> None:
    kernel = attached(CATALOGUE[label])
    inputs = moved(data(kernel, 100, 500), "cuda")
    expected = gradients(kernel, 10, inputs)
    for every in (10, 1, c_source.STRETCH, 50, 100):
        for found, value in zip(gradients(kernel, every, inputs), expected, strict=True):
            assert torch.equal(found, value), f"a checkpoint every {every} steps"


def test_repeated_and_strided_rows_are_read_in_place() -> None:
    kernel = attached(CATALOGUE["LIF(hard)"])
    x, state, params, (grad_y, grad_after) = moved(data(kernel, 9, 63), "cuda")
    scalar = torch.tensor(0.5, device="cuda")
    for x_view, grad_view in ((x[:1].expand(9, 63), scalar.expand(9, 63)), (torch.cat([x, x], 1)[:, 63:], grad_y)):
        plain = x_view.clone(memory_format=torch.contiguous_format), grad_view.contiguous()
        found = gradients(kernel, 3, (x_view, state, params, (grad_view, grad_after)))
        assert same(found, gradients(kernel, 3, (plain[0], state, params, (plain[1], grad_after))))


@pytest.mark.parametrize("columns", [1, 31, 33, 40_000, 300_000, 3_000_001])
def test_any_number_of_columns(columns: int) -> None:
    kernel = attached(CATALOGUE["LIF(soft)"])
    inputs = data(kernel, 3, columns)
    y, after, grad_x, grad_state, totals = gradients(kernel, 2, moved(inputs, "cuda"))
    few = slice(max(0, columns - 5), columns)
    x, state, params, (grad_y, grad_after) = inputs
    cut = [p if len(p) == 1 else p[few] for p in params]
    part = x[:, few].contiguous(), state[:, few].contiguous(), cut, (grad_y[:, few], grad_after[:, few])
    expected = gradients(kernel, 2, moved(part, "cuda"))
    assert same((y[:, few], after[:, few], grad_x[:, few], grad_state[:, few], totals[:, few]), expected)
    assert not any(tensor.isnan().any() for tensor in (y, after, grad_x, grad_state, totals))


def layer(**arguments) -> snnkit.Spiking:
    """Return a layer on the GPU backend that learns its time constants, one for each neuron."""
    return snnkit.LIF(tau=torch.linspace(1.5, 4.0, 64), learn=("tau",), backend="cuda", **arguments).cuda()


def sequence(device: str = "cuda") -> Tensor:
    """Return an input that makes the layer fire often."""
    return 4 * torch.rand(30, 4, 64, device=device)


def test_the_current_stream_is_used() -> None:
    net, values = layer(), sequence()
    expected = net(values).detach()
    assert expected.mean() > 0.1
    expected_grad = torch.autograd.grad(net(values).sum(), net.param_tau)[0]
    x = torch.full_like(values, float("nan"))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # What does not wait for this stream reads NaN.
        torch.cuda._sleep(200_000_000)
        x.copy_(values)
        y = net(x)
        grad = torch.autograd.grad(y.sum(), net.param_tau)[0]
    side.synchronize()
    assert torch.equal(y, expected) and torch.equal(grad, expected_grad)


def test_the_device_of_the_input_is_used() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    x, results = sequence("cuda:0"), []
    for device in ("cuda:0", "cuda:1"):
        net = layer().to(device)
        y = net(x.to(device))
        results.append((y.detach(), torch.autograd.grad(y.sum(), net.param_tau)[0]))
        assert all(tensor.device == torch.device(device) for tensor in results[-1])
        assert torch.cuda.current_device() == 0
    assert same(*results)


@pytest.fixture
def no_waiting() -> Iterator[Callable[[], None]]:
    """Return a switch that makes torch raise where it would wait for the GPU."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def test_a_run_does_not_wait_for_the_gpu(no_waiting: Callable[[], None]) -> None:
    net, x = layer(), sequence().requires_grad_()
    net(x).sum().backward()
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    no_waiting()
    torch.cuda._sleep(2_000_000_000)
    net(x).sum().backward()
    done.record()
    assert not done.query(), "the GPU had finished before the run returned"
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


def test_a_graph_captures_forward_and_backward() -> None:
    net, x = layer(detach_reset=False), sequence()
    weights = torch.rand_like(x)

    def loss() -> Tensor:
        return (net(x) * weights).sum()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            net.zero_grad(set_to_none=True)
            loss().backward()
    torch.cuda.current_stream().wait_stream(side)
    net.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = loss()
        captured.backward()
        captured = captured.detach()
    for seed in range(3):
        x.copy_(4 * torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)))
        graph.replay()
        torch.cuda.synchronize()
        expected = loss()
        assert torch.equal(captured, expected.detach())
        assert torch.equal(net.param_tau.grad, torch.autograd.grad(expected, net.param_tau)[0])


def test_all_memory_is_torchs() -> None:
    import cupy

    net, x = layer(), sequence().requires_grad_()
    net(x).sum().backward()
    assert cupy.get_default_memory_pool().used_bytes() == 0


def test_memory_between_forward_and_backward_is_input_output_and_checkpoints() -> None:
    T, B, N = 400, 8, 4096
    net = snnkit.LIF(backend="cuda").cuda()
    x = torch.rand(T, B, N, device="cuda", requires_grad=True)
    net(x)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    y = net(x)
    held = torch.cuda.memory_allocated() - before
    sequence = y.nbytes
    assert sequence <= held <= 1.1 * sequence, f"{held / sequence:.2f} times the output"


def test_the_source_can_be_read() -> None:
    kernel = attached(CATALOGUE["PLIF(hard)"])
    cuda._function.cache_clear()
    gradients(kernel, 2, moved(data(kernel, 5, 7), "cuda"))
    for program in (Program(kernel), Program(kernel, "float32", (True,) * len(kernel.neuron.params))):
        assert (cache.folder() / f"{program.name}.cu").read_text() == program.source("cuda")


def test_float64_is_refused() -> None:
    x = torch.rand(5, 2, 64, device="cuda", dtype=torch.float64)
    with pytest.raises(BackendError, match=r"computes in float32; use \.float\(\)"):
        layer()(x)
