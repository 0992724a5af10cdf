"""Torch's own machinery works on the layers: compile, autocast, func, checkpointing, copies; or refuses clearly."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import BackendError


def network() -> snnkit.Network:
    torch.manual_seed(0)
    hidden = snnkit.LIF(tau=3.0, learn=("tau",))
    return snnkit.Network(nn.Linear(20, 32), hidden, nn.Linear(32, 5), snnkit.Readout(tau=2.0))


def losses(net: nn.Module, run) -> list[float]:
    x, target = torch.rand(12, 8, 20, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 5
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    found = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(run(x).mean(0), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_trains_to_the_same_losses() -> None:
    eager, compiled = network(), network()
    expected = losses(eager, eager)
    found = losses(compiled, torch.compile(compiled, fullgraph=True))
    assert expected[-1] < expected[0]
    assert found == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(compiled[1].values()["tau"], eager[1].values()["tau"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_exports_as_one_graph() -> None:
    net, x = network(), torch.rand(6, 2, 20)
    program = torch.export.export(net, (x,))
    assert torch.equal(program.module()(x), net(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_states_and_parameters_wide(dtype: torch.dtype) -> None:
    net, x = network(), torch.rand(6, 2, 20)
    with torch.autocast("cpu", dtype):
        y, state = net.run(x)
    assert y.dtype == dtype
    assert state["1"]["v"].dtype == torch.float32
    y.float().sum().backward()
    assert net[1].param_tau.grad.dtype == torch.float32 and net[0].weight.grad.abs().sum() > 0


def test_function_transforms_give_what_loops_give() -> None:
    layer = snnkit.LIF(tau=3.0, learn=("tau",))
    many = torch.rand(5, 6, 3, 4) * 3
    assert torch.equal(torch.func.vmap(layer)(many), torch.stack([layer(x) for x in many]))
    assert torch.equal(torch.func.vmap(layer, in_dims=2, out_dims=2)(many.movedim(0, 2)).movedim(2, 0), layer_of(many))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (layer(x) * x).sum()

    single = torch.stack([torch.func.grad(loss)(x) for x in many])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(many), single)
    leaf = many[0].clone().requires_grad_()
    loss(leaf).backward()
    torch.testing.assert_close(single[0], leaf.grad)


def layer_of(many: torch.Tensor) -> torch.Tensor:
    layer = snnkit.LIF(tau=3.0)
    return torch.stack([layer(x) for x in many])


@pytest.mark.parametrize("detach_reset", [True, False])
def test_the_reference_takes_every_transform(detach_reset: bool) -> None:
    layer = snnkit.LIF(learn=("theta",), backend="reference", detach_reset=detach_reset).double()
    x, theta = torch.rand(5, 2, 3, dtype=torch.float64) * 3, torch.tensor(0.8, dtype=torch.float64)

    def loss(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"param_theta": theta}, (x,)).square().sum()

    backward = torch.func.grad(loss, argnums=(0, 1))(theta, x)
    torch.testing.assert_close(torch.func.jacfwd(loss, argnums=(0, 1))(theta, x), backward)
    along = torch.rand_like(theta), torch.rand_like(x)
    _, found = torch.func.jvp(loss, (theta, x), along)
    torch.testing.assert_close(found, sum((a * b).sum() for a, b in zip(along, backward, strict=True)))
    thetas = torch.tensor([0.7, 1.2], dtype=torch.float64)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(thetas, x)
    torch.testing.assert_close(each, torch.stack([torch.func.grad(loss)(one, x) for one in thetas]))


def test_what_the_kernels_cannot_differentiate_is_refused() -> None:
    layer, x = snnkit.LIF(learn=("tau",)), torch.rand(6, 3, 4)
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad((layer(leaf) * leaf).sum(), leaf, create_graph=True)
    with pytest.raises(BackendError, match="no second derivative; build the layer with backend='reference'"):
        grad.sum().backward()

    def with_tau(tau: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"param_tau": tau}, (x,))

    with pytest.raises(BackendError, match="vmap over a neuron's parameters is not possible"):
        torch.func.vmap(with_tau)(torch.rand(4) + 2)
    with pytest.raises(BackendError, match="no forward-mode derivative; build the layer with backend='reference'"):
        torch.func.jvp(layer, (x,), (x,))


def test_the_reference_backend_has_a_second_derivative() -> None:
    layer = snnkit.LIF(backend="reference", detach_reset=False)
    leaf = torch.rand(6, 3, 4).mul(2).requires_grad_()
    (grad,) = torch.autograd.grad(layer(leaf).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), leaf)
    assert second.abs().sum() > 0


def test_copies_and_checkpointing_keep_results() -> None:
    net, x = network(), torch.rand(6, 2, 20)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
        assert twin[1].neuron == net[1].neuron
    torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False).sum().backward()
    first = net[0].weight.grad.clone()
    net.zero_grad()
    net(x).sum().backward()
    torch.testing.assert_close(net[0].weight.grad, first)


def test_a_state_dict_carries_every_parameter() -> None:
    net, other = network(), network()
    other[1] = snnkit.LIF(tau=9.0, theta=2.0, learn=("tau",))
    other.load_state_dict(net.state_dict())
    x = torch.rand(6, 2, 20)
    assert torch.equal(other(x), net(x))


def test_learning_keeps_bounds_and_leaves_them_again() -> None:
    layer = snnkit.LIF(tau=1.2, learn=("tau",))
    optimiser = torch.optim.SGD(layer.parameters(), 1.0)
    for direction in (1.0, 1.0, 1.0, -1.0):
        optimiser.zero_grad()
        (direction * layer.values()["tau"]).backward()
        optimiser.step()
        assert layer.values()["tau"] >= 1.0
    assert layer.values()["tau"] > 1.0
