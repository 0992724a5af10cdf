"""Every kernel, kind and method of delays equals sums written out as loops, in output and in all gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import snnkit
from snnkit.errors import BackendError, InputError
from snnkit.synapse import Delayed, rounded, taps
from snnkit.synapse.delay import KINDS
from snnkit.synapse.delayed import METHODS, Problem, costs

EVERY = list(itertools.product(METHODS, ("gauss", "triangle", "linear", "integer"), KINDS))
METHODS_WITH_GRADIENT = [name for name in METHODS if name != "events"]


def _height(kernel: str, lag: int, delay: float, max_delay: int, sigma: float) -> float:
    """Return the weight of one lag, from the formulas."""
    if kernel == "gauss":
        bells = [math.exp(-0.5 * ((k - delay) / (sigma + 0.27)) ** 2) for k in range(max_delay + 1)]
        return bells[lag] / (sum(bells) + 1e-7)
    if kernel == "triangle":
        return max(0.0, 1 + sigma - abs(lag - delay)) / (1 + sigma) ** 2
    if kernel == "linear":
        return max(0.0, 1 - abs(lag - delay))
    return float(lag == round(delay))


def _slope(kernel: str, lag: int, delay: float, max_delay: int, sigma: float) -> float:
    """Return the derivative of the height by the delay: by differences, or as the kernel defines it."""
    if kernel == "integer":
        low, high = max(0, round(delay) - 1), min(max_delay, round(delay) + 1)
        return 0.0 if high == low else ((lag == high) - (lag == low)) / (high - low)
    step = 1e-6
    above = _height(kernel, lag, delay + step, max_delay, sigma)
    return (above - _height(kernel, lag, delay - step, max_delay, sigma)) / (2 * step)


def _loops(layer: Delayed, x: np.ndarray, grad: np.ndarray, kernel: str) -> tuple[np.ndarray, ...]:
    """Return output and gradients of input, weight and delay of a dense layer, in loops over every synapse and lag."""
    weight, delay = layer.weight.detach().numpy(), layer.delay.detach().numpy()
    sigma, longest, steps = float(layer.sigma), layer.max_delay, len(x)
    y, grad_x = np.zeros_like(grad), np.zeros_like(x)
    grad_weight, grad_delay = np.zeros_like(weight), np.zeros_like(delay)
    for o, i, k in np.ndindex(*weight.shape):
        place = {"synaptic": (o, i, k), "axonal": (i, k), "dendritic": (o, k)}[layer.kind]
        w, d = weight[o, i, k], float(delay[place])
        for lag in range(min(longest, steps - 1) + 1):
            height, slope = (f(kernel, lag, d, longest, sigma) for f in (_height, _slope))
            y[lag:, :, o] += w * height * x[: steps - lag, :, i]
            grad_x[: steps - lag, :, i] += w * height * grad[lag:, :, o]
            correlation = (grad[lag:, :, o] * x[: steps - lag, :, i]).sum()
            grad_weight[o, i, k] += height * correlation
            grad_delay[place] += w * slope * correlation
    return y, grad_x, grad_weight, grad_delay


def _layer(kernel: str, kind: str, method: str, max_delay: int, *, taps: int = 2) -> snnkit.DelayLinear:
    layer = snnkit.DelayLinear(3, 4, max_delay=max_delay, kind=kind, taps=taps, kernel=kernel, backend=method)
    return layer.double()


@pytest.mark.parametrize("max_delay", [0, 1, 6, 15])
@pytest.mark.parametrize(("method", "kernel", "kind"), EVERY)
def test_outputs_and_gradients(method: str, kernel: str, kind: str, max_delay: int) -> None:
    torch.manual_seed(max_delay)
    layer = _layer(kernel, kind, method, max_delay)
    layer.sigma.fill_(2.0 if method == "fir" else 0.6)
    for batch in (1, 5):
        x = (torch.rand(9, batch, 3) < 0.4).double()
        grad = torch.randn(9, batch, 4, dtype=torch.double)
        inputs = x.clone().requires_grad_()
        layer.zero_grad()
        if method == "events":
            if kind != "synaptic":
                continue
            layer = snnkit.DelayLinear(3, 4, max_delay=max_delay, backend="events").double().eval()
            with torch.no_grad():
                y = layer(x)
            expected = _loops(layer, x.numpy(), grad.numpy(), "integer")[0]
            np.testing.assert_allclose(y.numpy(), expected, atol=1e-12)
            continue
        if method == "fir" and (kernel != "gauss" or layer.delay.shape[0] == 0 or max_delay < 6):
            if kernel != "gauss":
                with pytest.raises(BackendError, match="delay backend 'fir' cannot run here: it needs kernel='gauss'"):
                    layer(inputs)
            continue
        y = layer(inputs)
        y.backward(grad)
        assert layer.weight.grad is not None
        assert inputs.grad is not None
        assert layer.delay.grad is not None or max_delay == 0
        slope = torch.zeros_like(layer.delay) if layer.delay.grad is None else layer.delay.grad
        found = y.detach(), inputs.grad, layer.weight.grad, slope
        # The tails of a Gaussian, and the shapes that filters share, are kept to seven digits.
        tolerance = 2e-5 if method == "fir" else 5e-6 if kernel == "gauss" else 1e-7
        for one, other in zip(found, _loops(layer, x.numpy(), grad.numpy(), kernel), strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=tolerance)


def test_gradients_of_gauss_are_the_closed_forms() -> None:
    """dL/dw = sum gn C and dL/ddelay = w sum gn (d - mu) / s^2 C, with C the correlation at every lag."""
    torch.manual_seed(0)
    layer = _layer("gauss", "synaptic", "taps", 24, taps=1)
    layer.sigma.fill_(2.5)
    x = torch.randn(40, 6, 3, dtype=torch.double)
    grad = torch.randn(40, 6, 4, dtype=torch.double)
    layer(x).backward(grad)
    lags = torch.arange(25, dtype=torch.double)
    width = 2.5 + 0.27
    bell = torch.exp(-0.5 * ((lags - layer.delay.detach()) / width) ** 2)
    normal = bell / (bell.sum(-1, keepdim=True) + 1e-7)
    correlation = torch.stack([torch.einsum("tbo,tbi->oi", grad[d:], x[: 40 - d]) for d in range(25)], -1)
    centre = (lags * normal).sum(-1, keepdim=True)
    delay = layer.weight.detach()[..., 0] * (normal * (lags - centre) / width**2 * correlation).sum(-1)
    assert layer.weight.grad is not None
    assert layer.delay.grad is not None
    torch.testing.assert_close(layer.weight.grad[..., 0], (normal * correlation).sum(-1), rtol=1e-6, atol=1e-9)
    # The closed form leaves out the 1e-7 that keeps the quotient finite.
    torch.testing.assert_close(layer.delay.grad[..., 0], delay, rtol=1e-5, atol=1e-7)


def test_gauss_is_the_dcls_convolution() -> None:
    """The formulas of DCLS, by kernel index and position: delay = D // 2 - P, for the odd window of 25."""
    torch.manual_seed(1)
    layer = snnkit.DelayLinear(5, 4, max_delay=24, backend="taps")
    layer.sigma.fill_(4.0)
    position = 12 - layer.delay.detach().squeeze(-1)
    index = torch.arange(25.0)
    bell = torch.exp(-0.5 * ((index - (position.unsqueeze(-1) + 12)) / 4.27) ** 2)
    kernel = layer.weight.detach() * bell / (bell.sum(-1, keepdim=True) + 1e-7)
    x = torch.rand(60, 3, 5)
    expected = functional.conv1d(functional.pad(x.permute(1, 2, 0), (24, 0)), kernel).permute(2, 0, 1)
    torch.testing.assert_close(layer(x).detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS_WITH_GRADIENT)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_over_space(kind: str, axes: int, method: str) -> None:
    """A delayed convolution is the sum over lags of torch's convolution of the shifted input."""
    torch.manual_seed(2)
    make = (snnkit.DelayConv1d, snnkit.DelayConv2d)[axes - 1]
    layer = make(2, 3, 3, stride=2, padding=1, max_delay=7, kind=kind, taps=2, backend=method)
    layer.sigma.fill_(2.0)
    x = torch.rand(8, 2, 2, *(6, 5)[:axes])
    shapes = {"synaptic": (3, 2, *[3] * axes, 2), "axonal": (1, 2, *[1] * axes, 2), "dendritic": (3, 1, *[1] * axes, 2)}
    spread = taps.gauss(layer.delay.detach().reshape(shapes[kind]), 7, 2.0)
    dense = torch.zeros(*spread.lags.shape[:-1], 8).scatter_add(-1, spread.lags, spread.values)
    y = layer(x)
    expected = torch.zeros_like(y)
    convolve = (functional.conv1d, functional.conv2d)[axes - 1]
    for lag in range(8):
        kernel = (layer.weight.detach() * dense[..., lag]).sum(-1)
        shifted = torch.cat([torch.zeros(lag, *x.shape[1:]), x])[:8]
        expected += convolve(shifted.flatten(0, 1), kernel, stride=2, padding=1).unflatten(0, (8, 2))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["conv", "fft", "taps", "auto"])
def test_steps_give_what_the_sequence_gives(method: str, kind: str) -> None:
    torch.manual_seed(3)
    net = snnkit.Network(
        snnkit.DelayLinear(6, 8, max_delay=5, kind=kind, backend=method, bias=True),
        snnkit.LIF(tau=2.0),
        snnkit.DelayLinear(8, 3, max_delay=9, kind=kind, backend=method),
    ).eval()
    x = (torch.rand(12, 2, 6) < 0.5).float() * 2
    whole = net(x)
    assert whole.any()
    state, steps = None, []
    for x_t in x:
        y, state = net.step(x_t, state)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps), whole, rtol=1e-5, atol=1e-5)
    first, state = net.run(x[:4])
    torch.testing.assert_close(torch.cat([first, net.run(x[4:], state)[0]]), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_hide_the_padding(kind: str) -> None:
    torch.manual_seed(4)
    net = snnkit.Network(
        snnkit.DelayLinear(6, 8, max_delay=5, kind=kind), snnkit.LIF(), snnkit.DelayLinear(8, 3, max_delay=4, kind=kind)
    )
    x, lengths = torch.rand(10, 3, 6), torch.tensor([10, 4, 1])
    y, state = net.run(x, lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        alone, after = net.run(x[:length, b : b + 1])
        torch.testing.assert_close(y[:length, b : b + 1], alone, rtol=1e-5, atol=1e-5)
        assert not y[length:, b].any()
        for name in state:
            for what, value in state[name].items():
                torch.testing.assert_close(value[b], after[name][what][0], rtol=1e-5, atol=1e-5)


def test_a_tail_lengthens_the_sequence() -> None:
    layer = snnkit.DelayLinear(3, 2, max_delay=4, tail=4)
    x = torch.rand(6, 2, 3)
    y = layer(x)
    assert y.shape == (10, 2, 2)
    torch.testing.assert_close(y, _without_tail(layer)(functional.pad(x, (0, 0, 0, 0, 0, 4))))
    net = snnkit.Network(layer, snnkit.LIF(), nn.Linear(2, 2))
    lengths = torch.tensor([6, 2])
    y, _ = net.run(x, lengths=lengths)
    alone = net(x[:2, 1:])
    torch.testing.assert_close(y[:6, 1:], alone)
    assert not y[6:, 1].any()
    with pytest.raises(InputError, match="DelayLinear with tail=4 ends its sequences; use tail=0 to carry state"):
        layer.run(x, layer.start(x[0]))


def _without_tail(layer: snnkit.DelayLinear) -> snnkit.DelayLinear:
    other = snnkit.DelayLinear(3, 2, max_delay=4)
    other.load_state_dict(layer.state_dict())
    return other


def test_evaluation_rounds_and_training_does_not() -> None:
    layer = snnkit.DelayLinear(2, 2, max_delay=6, kernel="linear")
    layer.set_delay(torch.tensor([[0.4, 2.5], [3.5, 5.6]]).unsqueeze(-1))
    assert layer.rounded().flatten().tolist() == [0, 2, 4, 6]
    x = torch.zeros(8, 1, 2)
    x[0] = 1.0
    evaluated = layer.eval()(x)
    expected = torch.zeros(8, 1, 2)
    for o, i in np.ndindex(2, 2):
        expected[layer.rounded()[o, i, 0], 0, o] += layer.weight.detach()[o, i, 0]
    torch.testing.assert_close(evaluated, expected)
    assert not torch.equal(layer.train()(x), expected)


def test_recurrent_delays_come_back_after_one_step_and_the_delay() -> None:
    loop = snnkit.DelayLinear(2, 2, max_delay=4, kind="axonal", kernel="triangle").eval()
    with torch.no_grad():
        loop.weight.zero_()
        loop.weight[1, 0] = 5.0
        loop.set_delay(torch.tensor([[3.0], [0.0]]))
    layer = snnkit.Recurrent(snnkit.LIF(tau=2.0), loop)
    x = torch.zeros(8, 1, 2)
    x[1, 0, 0] = 5.0
    y = layer(x)
    assert y.nonzero()[:, [0, 2]].tolist() == [[1, 0], [5, 1]]
    state, steps = None, []
    for x_t in x:
        y_t, state = layer.step(x_t, state)
        steps.append(y_t)
    assert torch.equal(torch.stack(steps), y)
    lengths = torch.tensor([3])
    cut, after = layer.run(x, lengths=lengths)
    assert torch.equal(cut[:3], y[:3])
    assert torch.equal(after["connection"]["history"], layer.run(x[:3])[1]["connection"]["history"])


def test_recurrent_delays_learn() -> None:
    torch.manual_seed(0)
    loop = snnkit.DelayLinear(6, 6, max_delay=5, kind="axonal", kernel="triangle")
    layer = snnkit.Recurrent(snnkit.LIF(tau=2.0), loop)
    layer(torch.rand(12, 4, 6) * 2).sum().backward()
    assert loop.delay.grad is not None
    assert loop.delay.grad.abs().sum() > 0


def test_compiled_networks_have_the_same_gradients() -> None:
    torch.manual_seed(0)
    layer = snnkit.DelayLinear(6, 4, max_delay=5, kernel="linear", backend="taps")
    x = torch.rand(12, 4, 6)
    layer(x).square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    layer.zero_grad()
    compiled: Any = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(x).square().sum().backward()
    for parameter, grad in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


@pytest.mark.parametrize("kernel", ["gauss", "triangle", "linear"])
def test_a_compiler_follows_the_width_and_the_mode(kernel: str) -> None:
    torch._dynamo.reset()
    layer, x = snnkit.DelayLinear(6, 4, max_delay=5, kernel=kernel), torch.rand(12, 4, 6)
    compiled: Any = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for progress in (0.0, 0.5, 1.0):
        layer.anneal(progress, until=1.0)
        torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(compiled.eval()(x), layer(x))


def test_results_do_not_depend_on_threads_or_batch() -> None:
    torch.manual_seed(0)
    layer = snnkit.DelayLinear(70, 90, max_delay=11, kernel="linear", backend="taps")
    x = torch.rand(50, 24, 70)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = layer(x)
        torch.set_num_threads(2)
        two = layer(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)
    assert torch.equal(layer(x[:, :8]), one[:, :8])


def test_the_width_falls_to_its_end_in_a_quarter_of_training() -> None:
    layer = snnkit.DelayLinear(2, 2, max_delay=24)
    seen = []
    for epoch in range(148):
        layer.anneal(epoch / 148)
        seen.append(float(layer.sigma) + taps.OFFSET)
    published = {0: 12.27, 1: 11.05, 5: 7.30, 9: 4.86, 18: 2.02, 27: 0.94, 37: 0.50, 147: 0.50}
    assert {epoch: round(seen[epoch], 2) for epoch in published} == published


def test_delays_out_of_range_are_refused() -> None:
    layer = snnkit.DelayLinear(2, 3, max_delay=4)
    with pytest.raises(InputError, match=r"delays are -1\.\.7 steps; they must lie in 0\.\.4: clamp them"):
        layer.set_delay(torch.tensor([[-1.0], [7.0]]))
    with pytest.raises(InputError, match=r"delays are nan\.\.nan steps"):
        layer.set_delay(math.nan)
    with pytest.raises(InputError, match=r"delays have shape \[5, 1\]; \[3, 2, 1\] is needed"):
        layer.set_delay(torch.zeros(5, 1))
    with torch.no_grad():
        layer.delay.fill_(9.0)
    layer.constrain()
    assert bool((layer.delay == 4.0).all())


def test_a_longest_delay_beyond_the_sequence_is_silence() -> None:
    layer = snnkit.DelayLinear(2, 2, max_delay=40, kernel="linear").eval()
    layer.set_delay(30.0)
    assert not layer(torch.rand(5, 3, 2)).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_delay": -1}, "max_delay is -1; a whole number of at least 0"),
        ({"max_delay": 2.5}, r"max_delay is 2\.5; a whole number"),
        ({"kind": "axonic"}, "kind is 'axonic'; did you mean 'axonal'"),
        ({"kernel": "gaus"}, "kernel is 'gaus'; did you mean 'gauss'"),
        ({"taps": 0}, "taps is 0; a whole number of at least 1"),
        ({"tail": -2}, "tail is -2; a whole number of at least 0"),
        ({"backend": "tabs"}, "no delay backend 'tabs'; did you mean 'taps'"),
    ],
)
def test_wrong_options_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises((InputError, BackendError), match=message):
        snnkit.DelayLinear(3, 4, **arguments)


def test_wrong_inputs_are_refused() -> None:
    layer = snnkit.DelayLinear(3, 4, max_delay=2)
    with pytest.raises(InputError, match=r"DelayLinear got shape \[5, 2, 7\] and needs \[T, B, 3\]"):
        layer(torch.rand(5, 2, 7))
    with pytest.raises(InputError, match=r"the state of DelayLinear is a dict of 'history'"):
        layer.run(torch.rand(5, 2, 3), {"v": torch.zeros(1)})
    with pytest.raises(InputError, match=r"of shape \[1, 2, 3\] and the input needs torch.float32 of \[2, 2, 3\]"):
        layer.run(torch.rand(5, 2, 3), {"history": torch.zeros(1, 2, 3)})
    with pytest.raises(InputError, match=r"DelayConv2d got shape \[5, 2, 3, 8\] and needs \[T, B, 3, height, width\]"):
        snnkit.DelayConv2d(3, 4, 3)(torch.rand(5, 2, 3, 8))
    with pytest.raises(InputError, match=r"kernel_size is \(3, 3, 3\); a whole number of at least 1 is needed"):
        snnkit.DelayConv2d(3, 4, (3, 3, 3))
    with pytest.raises(BackendError, match="delay backend 'events' cannot run here: it needs spikes of 0 and 1"):
        snnkit.DelayLinear(3, 4, backend="events")(torch.rand(5, 2, 3))


def test_the_cost_model_prefers_what_the_case_suits() -> None:
    def cheapest(max_delay: int, kernel: str, sigma: float, *, spikes: float = 0.08, learn: bool = True) -> str:
        delay = torch.rand(1, 256, 256, 1) * max_delay
        x = (torch.rand(112, 64, 256) < spikes).float()
        made = taps.KERNELS[kernel](delay, max_delay, sigma)
        weight = torch.rand(1, 256, 256, 1, requires_grad=learn)
        return next(iter(costs(Problem(x, weight, made, max_delay, sigma=sigma if kernel == "gauss" else None))))

    assert cheapest(24, "gauss", 12.0) == "fir"
    assert cheapest(24, "linear", 0.0) == "taps"
    assert cheapest(24, "integer", 0.0, learn=False) == "taps"
    assert cheapest(24, "integer", 0.0, learn=False, spikes=0.002) == "events"


@pytest.mark.parametrize("past", [0, 3])
def test_a_layer_says_which_sum_it_computes(past: int) -> None:
    layer = snnkit.DelayLinear(5, 4, max_delay=6)
    x = torch.rand(9, 2, 5)
    problem = layer.problem(x, past)
    assert (problem.steps, problem.reach, problem.pairs) == (9 - past, 6, 20)
    assert problem.sigma == layer.sigma
    torch.testing.assert_close(METHODS["conv"].run(problem), layer(x)[past:])
    with torch.no_grad():
        assert layer.eval().problem(x).sigma is None


def test_half_precision_is_widened() -> None:
    layer = snnkit.DelayLinear(8, 4, max_delay=5, backend="taps").eval()
    x = (torch.rand(9, 8, 8) < 0.5).to(torch.bfloat16)
    y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x.float()), rtol=1e-2, atol=1e-2)


def test_evaluated_reloaded_and_integer_networks_spike_alike(tmp_path, run_python) -> None:
    torch.manual_seed(5)
    net = snnkit.Network(
        snnkit.DelayLinear(20, 30, max_delay=12, taps=2),
        nn.BatchNorm1d(30),
        snnkit.LIF(tau=1.5, reset="hard"),
        snnkit.DelayLinear(30, 10, max_delay=12, kind="axonal", kernel="linear"),
        snnkit.LIF(tau=1.5),
    )
    x = (torch.rand(60, 8, 20) < 0.3).float()
    for _ in range(30):
        net(x)
    with torch.no_grad():
        net[3].weight *= 4
    net.eval()
    with torch.no_grad():
        spikes, integer = net(x), rounded(net)(x)
    assert 0.01 < spikes.mean() < 0.9
    assert torch.equal(integer, spikes)
    assert not any(isinstance(layer.delay, nn.Parameter) for layer in (rounded(net)[0], rounded(net)[3]))
    snnkit.save(net, tmp_path / "net.h5")
    torch.save(x, tmp_path / "x.pt")
    script = (
        "import torch, snnkit\nnet = snnkit.load('net.h5')\n"
        "with torch.no_grad(): torch.save(net(torch.load('x.pt')), 'y.pt')"
    )
    done = run_python("-c", script, timeout=100)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "y.pt"), spikes)
    snnkit.save(rounded(net), tmp_path / "integer.h5")
    with torch.no_grad():
        assert torch.equal(snnkit.load(tmp_path / "integer.h5")(x), spikes)


def test_files_keep_delays(tmp_path) -> None:
    net = snnkit.Network(
        snnkit.DelayConv1d(1, 2, 3, padding=1, max_delay=4, kind="axonal"),
        nn.Flatten(),
        snnkit.DelayLinear(16, 5, max_delay=6, taps=2, learn=False, bias=True),
        snnkit.Recurrent(snnkit.LIF(), snnkit.DelayLinear(5, 5, max_delay=3, kind="dendritic", kernel="linear")),
    ).eval()
    x = torch.rand(9, 2, 1, 8)
    snnkit.save(net, tmp_path / "net.h5")
    again = snnkit.load(tmp_path / "net.h5")
    assert torch.equal(again(x), net(x))
    assert isinstance(again[0].delay, nn.Parameter)
    assert not isinstance(again[2].delay, nn.Parameter)
    with torch.no_grad():
        net[0].delay.fill_(9.0)
    with pytest.raises(InputError, match=r"0/delay is out of 0\.\.4 steps"):
        snnkit.save(net, tmp_path / "net.h5")
