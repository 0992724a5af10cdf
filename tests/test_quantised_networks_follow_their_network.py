"""Quantised networks: exact where numbers are representable, close where they are not, in step with the network."""

import pytest
import torch
from torch import nn

import snnkit
from snnkit.deploy import quantise


def spikes(steps, batch, *features, rate=0.3, seed=0):
    return (torch.rand(steps, batch, *features, generator=torch.Generator().manual_seed(seed)) < rate).float()


def whole(*modules, top=9, divided=16.0, seed=0):
    """Give weights and biases of modules whole multiples of 1 / divided, at most top of them."""
    generator = torch.Generator().manual_seed(seed)
    for module in modules:
        for name, value in module.named_parameters():
            if name in ("weight", "bias"):
                drawn = torch.randint(-top, top + 1, value.shape, generator=generator)
                value.data = (drawn if name == "weight" else drawn.sign()) / divided
    return modules


def check_equal(net, x, **options):
    """Quantise, and compare all spikes and the membrane of the readout."""
    net = net.eval()
    chip = quantise(net, calibration=x, **options)
    with torch.no_grad():
        expected = net(x)
    found = chip(x)
    if chip.read == "v":
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    else:
        assert torch.equal(found, expected)
        assert expected.mean() > 0.01
    return chip


def test_a_neuron_by_hand():
    net = snnkit.Network(nn.Linear(2, 1), snnkit.LIF(tau=4.0, theta=2.0, reset="hard", input_decay=False))
    net[0].weight.data = torch.tensor([[1.0, -0.5]])
    net[0].bias.data = torch.tensor([0.25])
    x = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]]])
    chip = quantise(net, calibration=x)
    population, connection = chip.populations[0], chip.connections[0]
    # Weights are multiples of 1/2: 63 steps of 2 for each half. A weight of 1 is 252, and 252 * 64 membrane units.
    assert connection.synapses.weight.tolist() == [[252, -126]]
    assert (connection.exponent, connection.bits, connection.sign) == (0, 8, "mixed")
    assert (int(population.du), int(population.dv)) == (4095, 1024)
    assert int(population.vth) == 2 * 252
    assert int(population.bias) << population.bias_exponent == 252 * 64 // 4
    # The bias counts once before input arrives: three quarters of the start and the bias together are 0.
    v = int(population.v_start)
    assert int(v * 3 / 4) + 4032 == 0
    # v = 1.25; 0.9375 + 0.75; 1.265625 + 1.25 fires; 1.25
    assert chip(x).flatten().tolist() == [0, 0, 1, 0] == net(x).flatten().tolist()
    traces = chip.record(torch.cat([x, x[:1]]), ["1.v"])["1.v"].flatten() / (252 * 64)
    torch.testing.assert_close(traces[1:3].double(), torch.tensor([1.25, 1.6875]).double(), atol=1e-4, rtol=0)


NEURONS = {
    "IF": lambda: snnkit.IF(reset="hard"),
    "IF, lower reset": lambda: snnkit.IF(reset="hard", v_reset=-0.5),
    "LIF": lambda: snnkit.LIF(tau=2.0, reset="hard", theta=1.03, input_decay=False),
    "LIF, rest and reset": lambda: snnkit.LIF(tau=2.0, reset="hard", theta=0.57, v_rest=0.25, v_reset=-0.25),
    "LIF, a tau for each": lambda: snnkit.LIF(tau=torch.tensor([2.0, 4.0] * 4), reset="hard", theta=0.53),
    "PLIF": lambda: snnkit.PLIF(reset="hard", theta=1.03, input_decay=False),
    "CubaLIF": lambda: snnkit.CubaLIF(reset="hard", theta=1.03, tau_syn=2.0, tau_mem=4.0),
    "CubaLIF, divided": lambda: snnkit.CubaLIF(reset="hard", tau_syn=2.0, tau_mem=4.0, input_decay=True, theta=0.57),
}


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("name", NEURONS)
def test_representable_networks_keep_every_spike(name, with_bias):
    first, last = nn.Linear(12, 8, bias=with_bias), nn.Linear(8, 4, bias=with_bias)
    net = snnkit.Network(first, NEURONS[name](), last, NEURONS["IF"]())
    whole(first, last)
    check_equal(net, spikes(10, 6, 12, rate=0.5))
