"""Modules that users write around layers take part in a network: their state, their hooks, their record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import snnkit
from snnkit.errors import InputError


class Residual(nn.Module):
    """What a user writes: a block that adds its input, and passes on the state of what is in it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = snnkit.Network(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor, state: dict | None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, dict]:
        y, state = self.body.run(x, state, lengths=lengths)
        return x + y, state


def network() -> snnkit.Network:
    torch.manual_seed(0)
    block = Residual(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), snnkit.ALIF(theta=0.3))
    return snnkit.Network(nn.Conv2d(1, 4, 3), block, snnkit.LIF(tau=3.0), nn.Flatten(), nn.Linear(64, 3))


def images() -> Tensor:
    return torch.rand(7, 3, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 4


def test_a_block_carries_the_state_of_its_layers() -> None:
    net, x = network().eval(), images()
    whole, end = net.run(x)
    assert set(end) == {"1", "2"} and set(end["1"]["2"]) == {"v", "a"}
    first, state = net.run(x[:3])
    second, state = net.run(x[3:], snnkit.detached(state))
    assert torch.equal(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, end)


def test_a_block_is_recorded_by_what_it_returns() -> None:
    net, x = network().eval(), images()
    _, end = net.run(x)
    traces = net.record(x, ["1", "1.2.a", "2.v"])
    assert traces["1.2.a"].shape == (7, 3, 4, 4, 4)
    torch.testing.assert_close(traces["1.2.a"][-1], end["1"]["2"]["a"])
    torch.testing.assert_close(traces["2.v"][-1], end["2"]["v"])
    torch.testing.assert_close(traces["1"], net[:2](x))


def test_a_state_that_is_no_dict_is_named() -> None:
    class Counting(nn.Module):
        def run(self, x: Tensor, state: tuple | None = None, *, lengths: Tensor | None = None) -> tuple:
            return x, (len(x),)

    net = snnkit.Network(Counting())
    with pytest.raises(InputError, match=r"a state is a dict of tensors, or of such dicts, not \(1,\)"):
        net.record(images())
    with pytest.raises(InputError, match=r"a state is a dict of tensors, or of such dicts, not \(7,\)"):
        snnkit.detached(net.run(images())[1])


def test_a_block_that_would_lose_its_state_is_refused() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 3), snnkit.LIF())

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    x = torch.rand(5, 2, 3)
    with pytest.raises(InputError, match=r"Sequential does not pass on the state of the Spiking in it; use snnkit.N"):
        snnkit.Network(nn.Sequential(nn.Linear(3, 3), snnkit.LIF()))(x)
    for method in (snnkit.Network(Block()), snnkit.Network(Block()).record):
        with pytest.raises(
            InputError, match=r"Block holds a layer with a state \(Sequential\).*give it a method run\("
        ):
            method(x)
    with pytest.raises(InputError, match=r"has a state of its own and cannot connect a layer to itself"):
        snnkit.Recurrent(snnkit.LIF(), nn.Sequential(nn.Linear(3, 3), snnkit.LIF()))


def test_a_nested_network_runs_once_where_it_is_recorded() -> None:
    net, x = snnkit.Network(snnkit.Network(nn.BatchNorm1d(3), nn.Dropout()), snnkit.LIF()), torch.rand(5, 2, 3)
    traces = net.record(x)
    assert torch.equal(traces["0"], traces["0.1"])
    assert int(net[0][0].num_batches_tracked) == 1


def test_networks_add_up_to_networks() -> None:
    head, tail = snnkit.Network(nn.Conv2d(1, 4, 3), snnkit.LIF()), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    both, x = head + tail, images()
    assert type(both) is snnkit.Network and both[0] is head[0] and both[3] is tail[1]
    assert both(x).shape == (7, 3, 3)
    pair: Any = snnkit.Network(nn.Linear(3, 3), snnkit.LIF())
    for many in (pair * 2, 2 * pair):
        assert type(many) is snnkit.Network and len(many) == 4
    with pytest.raises(ValueError, match="add operator supports only objects of Sequential class"):
        pair.__add__(nn.Linear(2, 2))


def layers() -> list[nn.Module]:
    return [
        snnkit.LIF(),
        snnkit.Recurrent(snnkit.LIF(), nn.Linear(3, 3)),
        snnkit.DelayLinear(3, 3, max_delay=2),
        snnkit.Network(nn.Linear(3, 3), snnkit.LIF()),
        nn.Linear(3, 3),
    ]


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_hooks_see_what_a_call_shows_them(layer: nn.Module) -> None:
    x, seen = torch.rand(5, 2, 3) * 3, []
    net = snnkit.Network(nn.Linear(3, 3), layer)
    layer.register_forward_pre_hook(lambda module, args: seen.append(("before", module, args[0].shape)))
    layer.register_forward_hook(lambda module, args, y: seen.append(("after", module, y.shape)))
    layer.register_full_backward_pre_hook(lambda module, grads: seen.append(("grad", module, grads[0].shape)))
    layer.register_full_backward_hook(lambda module, into, out: seen.append(("back", module, into[0].shape)))
    net(x).sum().backward()
    shape = (10, 3) if isinstance(layer, nn.Linear) else (5, 2, 3)
    assert seen == [(when, layer, torch.Size(shape)) for when in ("before", "after", "grad", "back")]
    net.record(x)
    assert [when for when, *_ in seen[4:]] == ["before", "after"]


def test_hooks_change_inputs_and_outputs() -> None:
    layer, x = snnkit.LIF(tau=1.0), torch.full((4, 1, 2), 0.6)
    net = snnkit.Network(layer)
    assert not net(x).any()
    first = layer.register_forward_pre_hook(lambda _, args: args[0] * 2)
    second = layer.register_forward_pre_hook(lambda _, args, kwargs: ((args[0] * 1,), kwargs), with_kwargs=True)
    third = layer.register_forward_hook(lambda _, args, kwargs, y: y * 3, with_kwargs=True)
    assert torch.equal(net(x), torch.full_like(x, 3.0)) and torch.equal(layer(x), net(x))
    for handle in (first, second, third):
        handle.remove()
    assert not net(x).any()


def test_hooks_on_all_modules_see_the_layers_too() -> None:
    seen: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, y: seen.append(type(module).__name__))
    try:
        snnkit.Network(nn.Linear(3, 3), snnkit.LIF())(torch.rand(5, 2, 3))
    finally:
        handle.remove()
    assert seen == ["Linear", "Spiking", "Network"]


def test_pruned_weights_stay_pruned_while_they_train() -> None:
    layer = snnkit.DelayLinear(3, 4, max_delay=2)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    net = snnkit.Network(layer, snnkit.LIF())
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        net(torch.rand(5, 2, 3) * 4).sum().backward()
        optimiser.step()
    assert int((layer.weight == 0).sum()) == 6


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_block_compiles_with_its_hooks() -> None:
    net, x = network().eval(), images()
    expected = net(x)
    torch.testing.assert_close(torch.compile(net, fullgraph=True)(x), expected)
    # What was compiled before a hook was put on does not see it, as torch documents.
    torch.compiler.reset()
    net[2].register_forward_hook(lambda _, args, y: y * 0)
    assert torch.equal(torch.compile(net, fullgraph=True)(x), net(x)) and not torch.equal(net(x), expected)


class Direct(nn.Module):
    """A block that carries the state of its layers by hand, and calls one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = snnkit.LIF(tau=2.0), snnkit.Recurrent(snnkit.LIF(tau=3.0), nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor, state: dict | None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, dict]:
        y, first = self.first.run(x, state and state["first"], lengths=lengths)
        z, again = self.again.run(y + self.first(x), state and state["again"], lengths=lengths)
        return y + z, {"first": first, "again": again}


def test_training_sees_the_neurons_in_a_block() -> None:
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(4, 6), Direct(), snnkit.LIF(tau=2.0), nn.Linear(6, 3), snnkit.Readout())
    x = torch.rand(9, 5, 4) * 8
    patched = net[1].again.run
    net[1].again.run = patched
    found = snnkit.train.evaluate(net, (x.transpose(0, 1), torch.zeros(5, dtype=torch.int64)), encode=None)
    block, y = net[1], net[0](x).detach()
    with torch.no_grad():
        first, (out, _) = block.first(y), block.run(y)
    expected = {"1.first": 2 * first.sum() / 5, "1.again": (out - first).sum() / 5, "2": net[2](out).sum() / 5}
    assert found.spikes == pytest.approx({name: float(count) for name, count in expected.items()})
    assert torch.equal(net(x), net(x)) and "run" not in vars(block.first) and vars(block.again)["run"] is patched
    seen = {layer.name: layer.kind for layer in snnkit.diagnose(net, x, torch.zeros(5, dtype=torch.int64)).layers}
    assert seen["1.first"] == "lif" and seen["1.again"] == "lif" and seen["1"] == "Direct"


def test_training_calls_the_hooks_of_layers() -> None:
    net, calls = snnkit.Network(nn.Linear(4, 6), snnkit.LIF()), []
    net[1].register_forward_hook(lambda module, args, y: calls.append(y.shape))
    snnkit.diagnose(net, torch.rand(3, 2, 4))
    assert calls == [(3, 2, 6)]
