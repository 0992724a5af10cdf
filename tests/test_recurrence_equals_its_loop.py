"""A layer that hears itself runs all steps in one operation, bit for bit as the loop over steps does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snnkit
from snnkit.errors import InputError

NEURONS = {
    "alif": lambda: snnkit.ALIF(tau=4.0, learn=("tau", "beta")),
    "hard": lambda: snnkit.LIF(reset="hard", detach_reset=False),
    "cuba": lambda: snnkit.CubaLIF(theta=torch.linspace(0.5, 2.0, 20), learn=("theta",)),
    "plif": lambda: snnkit.PLIF(),
}


def _outcome(layer: snnkit.Recurrent, x: Tensor, **options: Any) -> list[Tensor]:
    layer.zero_grad()
    inputs = x.clone().requires_grad_()
    y, state = layer.run(inputs, **options)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    loss = (y * upstream).sum() + 0.3 * state["output"].sum()
    (loss + 0.1 * sum(value.sum() for value in state["layer"].values())).backward()
    grads = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    assert len(grads) == len(list(layer.parameters())) and inputs.grad is not None
    return [y.detach(), *(value.detach() for value in state["layer"].values()), inputs.grad, *grads]


def _loop(layer: snnkit.Recurrent) -> snnkit.Recurrent:
    """Return the same layer with a connection that only the loop takes."""
    other = snnkit.Recurrent(layer.layer, nn.Sequential(layer.connection))
    assert not other._fused(torch.zeros(4, 2, 20), other._start(torch.zeros(4, 2, 20)))
    return other


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neuron", NEURONS)
def test_outputs_states_and_gradients(neuron: str, dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    layer = snnkit.Recurrent(NEURONS[neuron](), nn.Linear(20, 20, bias=bias)).to(dtype)
    for steps in (2, 17):
        x = 6 * torch.rand(steps, 5, 20, dtype=dtype)
        _, start = layer.run(x.detach()[:2])
        start = {"output": start["output"].detach(), "layer": {k: v.detach() for k, v in start["layer"].items()}}
        lengths = torch.tensor([1, steps, 2, 2, 1])
        for options in ({}, {"lengths": lengths}, {"state": start}):
            assert layer._fused(x, layer._start(x))
            found, expected = _outcome(layer, x, **options), _outcome(_loop(layer), x, **options)
            assert found[0].any()
            assert torch.equal(found[0], expected[0])
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_first_state() -> None:
    torch.manual_seed(0)
    layer = snnkit.Recurrent(snnkit.LIF(), nn.Linear(20, 20))
    x = 2 * torch.rand(9, 3, 20)
    grads = []
    for one in (layer, _loop(layer)):
        start = {"output": torch.full((3, 20), 0.5), "layer": {"v": torch.full((3, 20), 0.2)}}
        leaves = [start["output"].requires_grad_(), start["layer"]["v"].requires_grad_()]
        grads.append(torch.autograd.grad(one.run(x, start)[0].sum(), leaves))
    for one, other in zip(*grads, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("change", ["half", "reference", "space", "hook"])
def test_what_it_cannot_do_is_left_to_the_loop(change: str) -> None:
    layer = snnkit.Recurrent(snnkit.LIF(backend="reference" if change == "reference" else "auto"), nn.Linear(4, 4))
    x = torch.rand(5, 2, 3, 4) if change == "space" else torch.rand(5, 2, 4)
    seen = []
    if change == "half":
        layer, x = layer.to(torch.bfloat16), x.to(torch.bfloat16)
    if change == "hook":
        layer.connection.register_forward_hook(lambda *_: seen.append(1))
    assert not layer._fused(x, layer._start(x))
    assert layer(x).shape == x.shape
    assert len(seen) == (5 if change == "hook" else 0)
