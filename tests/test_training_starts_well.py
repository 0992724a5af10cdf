"""Initialisation reaches the wanted rates or says why not; diagnosis names sick layers and no sound ones."""

import io

import pytest
import torch
from rich.console import Console
from torch import nn

import snnkit
from snnkit.errors import InputError


def inputs(scale=1.0):
    """Return random spikes [T, B, N]."""
    return (torch.rand(30, 16, 20, generator=torch.Generator().manual_seed(1)) < 0.3).float() * scale


def network(gain=1.0):
    """Return a network of two spiking layers and a readout."""
    torch.manual_seed(0)
    net = snnkit.Network(
        nn.Linear(20, 64), snnkit.LIF(tau=2.0), nn.Linear(64, 32), snnkit.ALIF(), nn.Linear(32, 4), snnkit.Readout()
    )
    with torch.no_grad():
        net[0].weight.mul_(gain)
    return net


def rate(net, name):
    """Return the mean rate of a layer on the inputs."""
    return net.record(inputs(), [name])[name].mean().item()


@pytest.mark.parametrize("wanted", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e3])
def test_wanted_rates_are_reached_from_any_start(wanted, gain):
    net = network(gain)
    biases = {name: value.clone() for name, value in net.named_parameters() if "bias" in name}
    readout = net[4].weight.clone()
    gains = snnkit.initialise(net, inputs(), rate=wanted)
    assert [(found.weights, found.neurons) for found in gains] == [("0", "1"), ("2", "3")]
    for found in gains:
        assert found.rate == pytest.approx(wanted, rel=0.05)
        assert rate(net, found.neurons) == pytest.approx(found.rate, abs=1e-6)
    assert torch.equal(net[4].weight, readout), "no spiking layer follows it"
    for name, value in biases.items():
        assert torch.equal(dict(net.named_parameters())[name], value)


def test_padding_counts_for_nothing():
    x, lengths = inputs(), torch.full((16,), 30)
    longer = torch.cat([x, torch.zeros_like(x)])
    plain, padded = network(), network()
    assert snnkit.initialise(padded, longer, lengths=lengths) == snnkit.initialise(plain, x)
    labels = torch.arange(16) % 4
    expected, found = snnkit.diagnose(plain, x, labels), snnkit.diagnose(plain, longer, labels, lengths=lengths)
    for mine, theirs in zip(found.layers, expected.layers, strict=True):
        assert (mine.rate, mine.silent, mine.saturated) == (theirs.rate, theirs.silent, theirs.saturated)
        assert (mine.gradient or 0.0) == pytest.approx(theirs.gradient or 0.0, rel=1e-4)


def test_weights_are_multiplied_by_the_gain_that_is_told():
    net = network()
    before = net[0].weight.clone()
    gains = snnkit.initialise(net, inputs())
    torch.testing.assert_close(net[0].weight, before * gains[0].factor)


def test_convolutions_norms_nested_and_recurrent_layers_are_reached():
    torch.manual_seed(0)
    net = snnkit.Network(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        snnkit.LIF(tau=2.0),
        nn.AvgPool2d(2),
        nn.Flatten(),
        snnkit.Network(nn.Linear(36, 16), nn.Dropout(0.5)),
        snnkit.Recurrent(snnkit.LIF(tau=2.0), nn.Linear(16, 16)),
    )
    statistics = net[1].running_mean.clone()
    gains = snnkit.initialise(net, torch.rand(12, 4, 1, 8, 8), rate=0.15)
    assert [(found.weights, found.neurons) for found in gains] == [("1", "2"), ("5.0", "6")]
    assert all(found.rate == pytest.approx(0.15, rel=0.1) for found in gains)
    assert torch.equal(net[1].running_mean, statistics)
    assert net[5][1].training


def test_what_cannot_be_reached_is_named_and_changes_nothing():
    def loud(net):
        with torch.no_grad():
            net[2].bias.fill_(5.0)

    cases = [
        (lambda net: None, torch.zeros(5, 2, 20), 0.1, r"input of layer '0' is silent: all 200 values are 0; give"),
        (loud, inputs(), 0.1, r"layer '3' fires at .* with all weights of layer '2' at 0.*type bias=False"),
        (lambda net: None, inputs(), 0.9, r"layer '1' fires at .* at most, whatever the gain, and 0.9 is asked for"),
        (lambda net: None, inputs(), 0.0, r"rate is 0.0; needed is a number above 0.*e.g. rate=0.1"),
    ]
    for change, x, wanted, message in cases:
        net = network()
        change(net)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with pytest.raises(InputError, match=message):
            snnkit.initialise(net, x, rate=wanted)
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    with pytest.raises(InputError, match=r"this Linear has no layers in order; type snnkit.Network"):
        snnkit.initialise(nn.Linear(2, 2), torch.rand(3, 1, 2))


def test_a_sound_network_is_sound():
    net = network()
    snnkit.initialise(net, inputs(), rate=0.15)
    found = snnkit.diagnose(net, inputs(), torch.arange(16) % 4)
    assert found.healthy
    assert "nothing wrong found" in str(found)
    assert [health.name for health in found.layers] == ["0", "1", "2", "3", "4", "5"]
    assert found.layers[1].rate == pytest.approx(rate(net, "1"))


@pytest.mark.parametrize(
    ("change", "layer", "problem", "fix"),
    [
        (lambda net: net[0].weight.mul_(0.0), "1", "dead", "snnkit.initialise"),
        (lambda net: net[2].bias.fill_(50.0), "3", "saturated", "rate_regulariser"),
        (lambda net: net[2].weight.fill_(1e6), "3", "exploding", "smaller tau"),
        (lambda net: net[4].weight.zero_(), "0", "no gradient", "surrogate=snnkit.surrogate.atan"),
        (lambda net: net[4].weight.mul_(1e9), "2", "exploding gradient", "gradient_clip=1.0"),
    ],
)
def test_sick_layers_are_named_with_a_fix(change, layer, problem, fix):
    net = network()
    snnkit.initialise(net, inputs(), rate=0.15)
    with torch.no_grad():
        change(net)
    found = snnkit.diagnose(net, inputs())
    match = [finding for finding in found.findings if (finding.layer, finding.problem) == (layer, problem)]
    assert len(match) == 1, str(found)
    assert fix in match[0].fix
    assert not found.healthy
    assert f"layer {layer}: {problem} ({match[0].detail})" in " ".join(str(found).split())


def test_vanishing_gradients_are_found():
    net = snnkit.Network(nn.Linear(20, 32), *(snnkit.LIF(tau=2.0, surrogate=snnkit.surrogate.fast_sigmoid(1e4)),))
    net.append(nn.Linear(32, 4))
    snnkit.initialise(net, inputs())
    problems = {(finding.layer, finding.problem) for finding in snnkit.diagnose(net, inputs()).findings}
    assert ("0", "vanishing gradient") in problems


def test_shares_count_neurons():
    net = snnkit.Network(nn.Linear(1, 4, bias=False), snnkit.IF())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.0], [1.0], [1.0], [0.25]]))
    health = snnkit.diagnose(net, torch.ones(20, 2, 1)).layers[1]
    assert (health.silent, health.saturated, health.rate) == pytest.approx((0.25, 0.5, 0.5625))


def test_the_gradient_norm_is_that_of_autograd():
    net = network()
    target = torch.arange(16) % 4
    found = {health.name: health.gradient for health in snnkit.diagnose(net, inputs(), target, loss="last").layers}
    assert all(parameter.grad is None for parameter in net.parameters())
    snnkit.train.losses.last_membrane(net(inputs()), target).backward()
    expected = torch.cat([net[2].weight.grad.flatten(), net[2].bias.grad]).norm().item()
    assert found["2"] == pytest.approx(expected, rel=1e-4)


def test_the_network_stays_as_it_was():
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), snnkit.LIF(tau=2.0, learn=("tau",)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, second = str(snnkit.diagnose(net, inputs())), str(snnkit.diagnose(net, inputs()))
    assert first == second
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_a_diagnosis_prints_as_a_rich_table():
    console = Console(width=120, file=io.StringIO())
    console.print(snnkit.diagnose(network(), inputs()))
    assert "largest state" in console.file.getvalue()


def test_other_modules_and_wrong_labels_are_named():
    with pytest.raises(InputError, match=r"this Linear cannot be seen layer by layer; type snnkit.Network"):
        snnkit.diagnose(nn.Linear(2, 2), torch.rand(3, 1, 2))
    with pytest.raises(InputError, match=r"labels run from 9 to 9; 4 outputs need labels in 0..3"):
        snnkit.diagnose(network(), inputs(), torch.full((16,), 9))
