"""A layer that stands in a row more than once counts every time, whatever walks along the row."""

import pytest
import torch
from torch import nn

import snnkit
from snnkit import deploy
from snnkit.baseline import count_parameters, counterpart
from snnkit.train import initialise


@pytest.fixture
def net():
    """Return a network whose neurons, and whose second weights, stand at two places."""
    torch.manual_seed(0)
    neurons, weights = snnkit.LIF(reset="hard"), nn.Linear(6, 6)
    found = snnkit.Network(nn.Linear(6, 6), neurons, weights, neurons, weights)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(4)
    return found


@pytest.fixture
def x():
    """Return spikes [T, B, 6]."""
    return (torch.rand(12, 3, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def unshared(net):
    """Return a network with a copy of its own at every place."""
    copies = []
    for layer in net._modules.values():
        if isinstance(layer, nn.Linear):
            copies.append(nn.Linear(layer.in_features, layer.out_features))
            copies[-1].load_state_dict(layer.state_dict())
        else:
            copies.append(snnkit.LIF(reset="hard"))
    return snnkit.Network(*copies)


def test_energy_and_neurobench_count_it_every_time(net, x):
    apart = unshared(net)
    assert [layer.name for layer in deploy.energy(net, x).layers] == ["0", "1", "2", "3", "4"]
    assert deploy.energy(net, x).joules == deploy.energy(apart, x).joules
    assert deploy.neurobench(net, x).dense == deploy.neurobench(apart, x).dense == 3 * 36 * 12


def test_diagnose_and_streams_see_it_every_time(net, x):
    assert [layer.name for layer in snnkit.diagnose(net, x).layers] == ["0", "1", "2", "3", "4"]
    whole = snnkit.Network(*net, snnkit.Readout())
    stream = snnkit.Stream(whole)
    state = stream.start()
    for x_t, expected in zip(x[:, 0].numpy(), whole(x)[:, 0], strict=True):
        y, state = stream.step(x_t, state)
        torch.testing.assert_close(torch.from_numpy(y), expected.detach())


def test_nir_has_a_node_for_every_time(net, x, tmp_path):
    pytest.importorskip("nir")
    spiking = net[:4]
    deploy.nir.save(spiking, tmp_path / "net.nir")
    assert torch.equal(deploy.nir.load(tmp_path / "net.nir")(x), spiking(x))


def test_norse_has_a_cell_for_every_time(x):
    pytest.importorskip("norse")
    neurons = snnkit.LIF(reset="hard", surrogate=snnkit.surrogate.fast_sigmoid(1.0))
    net = snnkit.Network(nn.Linear(6, 6), neurons, nn.Linear(6, 6), neurons)
    model = snnkit.convert.to_norse(net)
    assert len(model) == 4
    assert len(snnkit.convert.from_norse(model)) == 4


def test_initialise_scales_weights_once_or_refuses(net, x):
    neurons = snnkit.LIF(reset="hard")
    shared = snnkit.Network(nn.Linear(6, 6, bias=False), neurons, nn.Linear(6, 6, bias=False), neurons)
    gains = initialise(shared, x, rate=0.2)
    assert [(gain.weights, gain.neurons) for gain in gains] == [("0", "1"), ("2", "3")]
    twice = snnkit.Network(*net, neurons)
    before = twice[2].weight.detach().clone()
    with pytest.raises(snnkit.errors.InputError, match="layers '2' and '4' are the same, so one gain"):
        initialise(twice, x, rate=0.3)
    assert torch.equal(twice[2].weight, before)


def test_an_ann_counterpart_shares_what_its_network_shares(net):
    ann = counterpart(net)
    assert len(ann) == len(net)
    assert ann[2] is ann[4]
    assert count_parameters(ann) == count_parameters(net[0]) + count_parameters(net[2])


def test_a_slice_is_a_network_of_the_same_layers(net, x):
    first = net[:2]
    assert isinstance(first, snnkit.Network) and first[0] is net[0]
    assert torch.equal(first(x), net.record(x)["1"])
