"""A layer that hears itself, at once or after delays, runs all steps in one operation as the loop over steps does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snnkit
from snnkit.errors import InputError
from snnkit.synapse.delay import KINDS

NEURONS = {
    "alif": lambda: snnkit.ALIF(tau=4.0, learn=("tau", "beta")),
    "hard": lambda: snnkit.LIF(reset="hard", detach_reset=False),
    "cuba": lambda: snnkit.CubaLIF(theta=torch.linspace(0.5, 2.0, 20), learn=("theta",)),
    "plif": lambda: snnkit.PLIF(),
}


KERNELS = {"integer": 0.0, "linear": 0.0, "triangle": 2.0, "gauss": 1.5, "settled": 0.0}


def _outcome(layer: snnkit.Recurrent, x: Tensor, state: Any = None, lengths: Tensor | None = None) -> list[Any]:
    """Return output, last states and every gradient, those of a first state included."""
    layer.zero_grad()
    inputs = x.clone().requires_grad_()
    start = None if state is None else {key: _leaves(part) for key, part in state.items()}
    y, after = layer.run(inputs, start, lengths=lengths)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    states = _tensors(after)
    loss = (y * upstream).sum() + sum(0.1 * (k + 1) * value.square().sum() for k, value in enumerate(states))
    loss.backward()
    leaves = [inputs, *layer.parameters(), *_tensors(start or {})]
    return [y.detach(), *(value.detach() for value in states), *(leaf.grad for leaf in leaves)]


def _leaves(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _leaves(value) for key, value in part.items()}
    return part.detach().clone().requires_grad_()


def _tensors(part: Any) -> list[Tensor]:
    return [t for key in sorted(part) for t in _tensors(part[key])] if isinstance(part, dict) else [part]


def _loop(layer: snnkit.Recurrent) -> snnkit.Recurrent:
    """Return the same layer, run step by step."""
    other: Any = snnkit.Recurrent(layer.layer, layer.connection).train(layer.training)
    other._fused = lambda *_: False
    return other


def _agree(layer: snnkit.Recurrent, x: Tensor) -> None:
    """Check outputs, last states and gradients: fresh, from a state, and with samples that end early."""
    steps, batch = x.shape[:2]
    _, start = layer.run(x.flip(0)[:3])
    lengths = (torch.arange(batch) * 7 + 1) % steps + 1
    every: list[dict[str, Any]] = [{}, {"lengths": lengths}, {"state": start}, {"state": start, "lengths": lengths}]
    for options in every:
        assert layer._fused(x, layer._start(x))
        found, expected = _outcome(layer, x, **options), _outcome(_loop(layer), x, **options)
        assert found[0].any()
        assert torch.equal(found[0], expected[0])
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neuron", NEURONS)
def test_outputs_states_and_gradients(neuron: str, dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    layer = snnkit.Recurrent(NEURONS[neuron](), nn.Linear(20, 20, bias=bias)).to(dtype)
    for steps in (2, 17):
        _agree(layer, 6 * torch.rand(steps, 5, 20, dtype=dtype))


def _delayed(kernel: str, **options: Any) -> snnkit.DelayLinear:
    """Return a connection of 20 neurons; `settled` is `triangle` with whole delays."""
    options = {"max_delay": 6, "kernel": "triangle" if kernel == "settled" else kernel, **options}
    connection = snnkit.DelayLinear(20, 20, **options)
    with torch.no_grad():
        connection.sigma.fill_(KERNELS[kernel])
        connection.delay.clamp_(0.2, connection.max_delay - 0.2)
    if kernel == "settled":
        connection.settle()
    return connection


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_delays_of_every_kind_and_kernel(kind: str, kernel: str) -> None:
    torch.manual_seed(0)
    x = 6 * torch.rand(13, 5, 20)
    for taps in (1, 3):
        _agree(snnkit.Recurrent(snnkit.LIF(), _delayed(kernel, kind=kind, taps=taps)), x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neuron", NEURONS)
def test_delays_between_neurons_of_many_kinds(neuron: str, kind: str) -> None:
    torch.manual_seed(0)
    connection = _delayed("linear", kind=kind, bias=True)
    assert connection.bias is not None
    torch.nn.init.uniform_(connection.bias, -1, 1)
    layer = snnkit.Recurrent(NEURONS[neuron](), connection).double()
    _agree(layer, 6 * torch.rand(13, 5, 20, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["evaluating", "fixed", "instant", "longer than the sequence", "one sample"])
def test_delays_at_their_borders(kind: str, change: str) -> None:
    torch.manual_seed(0)
    options: dict[str, dict[str, Any]]
    options = {"fixed": {"learn": False}, "instant": {"max_delay": 0}, "longer than the sequence": {"max_delay": 30}}
    layer = snnkit.Recurrent(snnkit.LIF(), _delayed("linear", kind=kind, **options.get(change, {})))
    layer.train(change != "evaluating")
    _agree(layer, 6 * torch.rand(8, 1 if change == "one sample" else 9, 20))


@pytest.mark.parametrize("connection", [lambda: nn.Linear(20, 20), lambda: _delayed("linear", kind="axonal")])
def test_what_is_learnt_before_the_backward_pass_does_not_change_it(connection: Any) -> None:
    torch.manual_seed(0)
    layer: Any = snnkit.Recurrent(snnkit.LIF(), connection())
    x = (2 * torch.rand(9, 3, 20)).requires_grad_()
    expected = torch.autograd.grad(layer(x).sum(), x)[0]
    y = layer(x)
    with torch.no_grad():
        layer.connection.weight.mul_(2)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], expected)


def test_threads_change_nothing() -> None:
    torch.manual_seed(0)
    layer = snnkit.Recurrent(snnkit.LIF(), nn.Linear(200, 200))
    x = torch.rand(6, 300, 200)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(layer(x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_steps_give_what_the_whole_gives() -> None:
    torch.manual_seed(0)
    layer = snnkit.Recurrent(snnkit.LIF(), nn.Linear(20, 20))
    x = 2 * torch.rand(8, 3, 20)
    state, outputs = None, []
    with torch.no_grad():
        for x_t in x:
            y_t, state = layer.step(x_t, state)
            outputs.append(y_t)
        assert torch.equal(torch.stack(outputs), layer(x))


def test_what_is_not_finite_is_named() -> None:
    layer = snnkit.Recurrent(snnkit.LIF(), nn.Linear(3, 3))
    x = torch.zeros(5, 2, 3)
    x[3, 0, 1] = torch.nan
    with pytest.raises(InputError, match=r"the input of lif holds NaN or infinity, first at step 3"):
        layer(x)


def test_a_state_that_does_not_fit_is_refused() -> None:
    layer = snnkit.Recurrent(snnkit.LIF(), _delayed("linear"))
    x = torch.rand(5, 2, 20)
    start = layer._start(x)
    with pytest.raises(InputError, match=r"the history is torch.float32 of shape \[2, 5, 20\] and the input needs"):
        layer.run(x, {**start, "connection": {"history": torch.zeros(2, 5, 20)}})
    with pytest.raises(InputError, match=r"state 'v' has shape \[3, 20\] and the input needs \[2, 20\]"):
        layer.run(x, {**start, "layer": {"v": torch.zeros(3, 20)}})


@pytest.mark.parametrize("options", [{"tail": 2}, {"backend": "conv"}])
def test_delays_that_it_cannot_do_are_left_to_the_loop(options: dict[str, Any]) -> None:
    layer, x = snnkit.Recurrent(snnkit.LIF(), _delayed("linear", **options)), torch.rand(5, 2, 20)
    assert not layer._fused(x, layer._start(x))


@pytest.mark.parametrize("change", ["half", "reference", "space", "hook", "hook before"])
def test_what_it_cannot_do_is_left_to_the_loop(change: str) -> None:
    layer = snnkit.Recurrent(snnkit.LIF(backend="reference" if change == "reference" else "auto"), nn.Linear(4, 4))
    x = torch.rand(5, 2, 3, 4) if change == "space" else torch.rand(5, 2, 4)
    seen = []
    if change == "half":
        layer, x = layer.to(torch.bfloat16), x.to(torch.bfloat16)
    if change == "hook":
        layer.connection.register_forward_hook(lambda *_: seen.append(1))
    if change == "hook before":
        layer.connection.register_forward_pre_hook(lambda *_: seen.append(1))
    assert not layer._fused(x, layer._start(x))
    assert layer(x).shape == x.shape
    assert len(seen) == (5 if change.startswith("hook") else 0)
