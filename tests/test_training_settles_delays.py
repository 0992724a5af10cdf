"""Delays settle: from a share of training on they are whole steps that stay, and weights learn on with them."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import RecipeError
from snnkit.train import TrainSettings, fit
from snnkit.train.history import Epoch


def _network(kernel: str = "gauss", max_delay: int = 6) -> snnkit.Network:
    torch.manual_seed(0)
    delays = snnkit.DelayLinear(5, 8, max_delay=max_delay, kernel=kernel)
    return snnkit.Network(delays, snnkit.LIF(), nn.Linear(8, 3), snnkit.Readout(tau=4.0))


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(24, 12, 5, generator=generator) < 0.3).float(), torch.arange(24) % 3


@pytest.mark.parametrize("kernel", ["gauss", "triangle", "linear", "integer"])
def test_settled_delays_stay_and_weights_learn_on(kernel: str) -> None:
    net, seen = _network(kernel), []
    settings = TrainSettings(epochs=6, batch_size=8, lr=0.01, delay_lr=0.3, delay_anneal=0.3, delay_settle=0.5)

    def keep(_: Epoch) -> None:
        seen.append((layer.delay.detach().clone(), layer.weight.detach().clone()))

    layer = net[0]
    fit(net, _data(), settings=settings, on_epoch=keep)
    delays, weights = zip(*seen, strict=True)
    assert not torch.equal(delays[1], delays[2])
    assert not torch.equal(delays[2], delays[2].round())
    for delay, before, after in zip(delays[3:], weights[2:], weights[3:], strict=False):
        assert torch.equal(delay, delays[2].round())
        assert not torch.equal(before, after)
    assert net[0].settled


def test_a_settled_layer_trains_on_what_it_evaluates() -> None:
    layer = _network()[0]
    x = (torch.rand(12, 4, 5) < 0.3).float()
    assert not torch.equal(layer.train()(x), layer.eval()(x))
    layer.settle()
    assert torch.equal(layer.train()(x), layer.eval()(x))
    layer.train()(x).sum().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.any())
    assert layer.delay.grad is not None and not layer.delay.grad.any()


def test_without_a_window_there_is_nothing_to_settle() -> None:
    layer = _network(max_delay=0)[0]
    x = torch.rand(12, 4, 5)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))
    assert layer.delay.grad is not None and not layer.delay.grad.any()


def test_annealing_ends_where_it_is_told() -> None:
    layer = snnkit.DelayLinear(2, 2, max_delay=24)
    widths = []
    for done in (0.0, 0.3, 0.599, 0.6, 1.0):
        layer.anneal(done, until=0.6)
        widths.append(float(layer.sigma))
    assert widths[0] == 12.0
    assert widths[1] == pytest.approx((12.0 * 0.23) ** 0.5)
    assert widths[2] > widths[3] == pytest.approx(0.23)
    assert widths[4] == widths[3]


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_shares_are_checked(value: float) -> None:
    with pytest.raises(RecipeError, match=rf"\[train\] delay_anneal is {value}; needed is"):
        TrainSettings(delay_anneal=value)
    with pytest.raises(RecipeError, match=rf"\[train\] delay_settle is {value}; needed is"):
        TrainSettings(delay_settle=value)


def test_what_is_settled_stays_so_when_it_is_loaded(tmp_path: Path) -> None:
    net = _network()
    net[0].settle()
    other = _network()
    other.load_state_dict(net.state_dict())
    snnkit.save(net, tmp_path / "net.h5")
    for found in (other, snnkit.load(tmp_path / "net.h5"), copy.deepcopy(net)):
        assert found[0].settled
        found[0].anneal(0.0)
        assert not found[0].settled
