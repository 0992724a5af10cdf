"""Layers behave as torch's own: outputs change in place, the default type and device hold, files keep to the bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import snnkit


@pytest.fixture
def default_type() -> Iterator[None]:
    """Put torch's default type back."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("size", [3, 60_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_outputs_may_be_changed_in_place(size: int, dtype: torch.dtype) -> None:
    layer = snnkit.LIF(tau=2.0)
    x, twin = (torch.rand(5, 2, size, generator=torch.Generator().manual_seed(0)).to(dtype) for _ in range(2))
    y = layer(x.requires_grad_())
    assert not y._is_view()
    y += x
    y.sum().backward()
    plain = layer(twin.requires_grad_()) + twin
    plain.sum().backward()
    assert x.grad is not None and twin.grad is not None
    assert torch.equal(y, plain) and torch.equal(x.grad, twin.grad)
    nn.Sequential(layer, nn.ReLU(inplace=True))(x).sum().backward()


@pytest.mark.usefixtures("default_type")
@pytest.mark.parametrize("default", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("given", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_results_do_not_depend_on_the_default_type(default: torch.dtype, given: torch.dtype) -> None:
    layer = snnkit.LIF(tau=3.3)
    x = (torch.rand(7, 2, 5) * 2).to(given)

    def gradients() -> list[torch.Tensor]:
        leaf = x.clone().requires_grad_()
        y, state = layer.run(leaf)
        (y.sum() + state["v"].sum()).backward()
        assert leaf.grad is not None
        return [y.detach(), state["v"].detach(), leaf.grad]

    expected = gradients()
    torch.set_default_dtype(default)
    for found, value in zip(gradients(), expected, strict=True):
        assert found.dtype == value.dtype and torch.equal(found, value)


@pytest.mark.usefixtures("default_type")
def test_parameters_take_the_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    layer = snnkit.LIF(tau=3.3, learn=("tau",))
    assert layer.param_tau.dtype == torch.float64 and float(layer.param_tau.detach()) == 3.3
    torch.set_default_dtype(torch.bfloat16)
    assert float(snnkit.LIF(tau=3.3).double().param_tau) == 3.3


def test_a_network_is_made_without_memory_and_filled_from_a_file() -> None:
    def make() -> snnkit.Network:
        norm = torch.rand(6, generator=torch.Generator().manual_seed(1), device="cpu") + 1.5
        return snnkit.Network(nn.Linear(4, 6), snnkit.LIF(tau=norm, learn=("tau",)), nn.Linear(6, 2), snnkit.Readout())

    net = make()
    with torch.device("meta"):
        empty = make()
    assert empty[1].param_theta.is_meta and empty[0].weight.is_meta
    empty.to_empty(device="cpu")
    empty.load_state_dict(net.state_dict())
    x = torch.rand(9, 3, 4)
    assert torch.equal(empty(x), net(x))


def test_a_state_dict_keeps_to_the_bounds() -> None:
    layer = snnkit.LIF()
    before = layer.state_dict()
    with pytest.raises(RuntimeError, match=r"param_tau: lif: tau=0\.1 is out of its bounds \[1, inf\]"):
        layer.load_state_dict({**before, "param_tau": torch.tensor(0.1)})
    learnt = snnkit.LIF(learn=("tau",))
    learnt.load_state_dict({**before, "param_tau": torch.tensor(0.1)})
    assert float(learnt.values()["tau"].detach()) == 1.0, "what is learnt comes back to its bounds by itself"


def test_a_compiled_network_takes_sequences_of_any_length() -> None:
    torch.compiler.reset()
    net = snnkit.Network(nn.Linear(4, 6), snnkit.LIF(tau=3.0), nn.Linear(6, 2), snnkit.Readout())
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for steps in (12, 7, 30, 1):
        x = torch.rand(steps, 3, 4)
        gradients = []
        for run in (compiled, net):
            net.zero_grad()
            run(x).square().sum().backward()
            gradients.append(net[0].weight.grad.clone())
        torch.testing.assert_close(*gradients)


def test_neurons_of_the_same_equations_start_each_where_it_was_told() -> None:
    plain = snnkit.neuron.lif()
    raised = snnkit.neuron.Neuron.from_dict({**plain.to_dict(), "states": {"v": 0.5}})
    assert raised.digest == plain.digest
    x = torch.zeros(1, 2, 3)
    for neuron, start in ((plain, 0.0), (raised, 0.5), (plain, 0.0)):
        _, state = snnkit.Spiking(neuron, tau=2.0).run(x)
        assert torch.equal(state["v"], torch.full((2, 3), start / 2))
