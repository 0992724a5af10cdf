"""Quantised networks: exact where numbers are representable, close where they are not, in step with the network."""

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.deploy import quantise, quantise_report


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


def delayed(*layers, seed=0):
    """Draw whole delays for layers."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        layer.set_delay(torch.randint(0, layer.max_delay + 1, layer.delay.shape, generator=generator))
    return layers


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("kind", ["synaptic", "axonal", "dendritic"])
def test_delays_arrive_when_they_do_in_the_network(kind, taps):
    first = snnkit.DelayLinear(12, 16, max_delay=7, kind=kind, taps=taps, bias=True)
    last = snnkit.DelayLinear(16, 5, max_delay=4, kind=kind, taps=taps)
    whole(first, last)
    delayed(first, last)
    chip = check_equal(snnkit.Network(first, snnkit.IF(reset="hard"), last, snnkit.IF(reset="hard")), spikes(20, 8, 12))
    assert chip.max_delay == 7
    assert (len(chip.into("1")) == 1) == (taps == 1)


def test_delays_in_training_mode_are_those_of_evaluation():
    net = snnkit.Network(snnkit.DelayLinear(12, 16, max_delay=7), snnkit.IF(reset="hard"))
    x = spikes(20, 8, 12)
    trained, evaluated = (quantise(net.train(mode), calibration=x) for mode in (True, False))
    assert torch.equal(trained(x), evaluated(x))
    assert net.eval()(x).sum() > 0


def test_taps_of_equal_delay_are_one_synapse():
    layer = snnkit.DelayLinear(2, 1, max_delay=3, taps=2)
    layer.weight.data = torch.tensor([[[0.5, 0.25], [0.5, 0.25]]])
    layer.set_delay(torch.tensor([[[2, 2], [1, 3]]]))
    chip = quantise(snnkit.Network(layer, snnkit.IF(reset="hard")), calibration=spikes(9, 4, 2))
    first, second = (part.synapses for part in chip.connections)
    assert [part.name for part in chip.connections] == ["0", "0.more1"]
    # The taps of input 0 arrive together: 0.5 + 0.25 is the largest weight, 255 of all-positive ones.
    assert (first.weight.tolist(), first.delay.tolist()) == ([[255, 170]], [[2, 1]])
    assert (second.weight.tolist(), second.delay.tolist()) == ([[0, 85]], [[0, 3]])


CONNECTIONS = {
    "linear": lambda: nn.Linear(16, 16),
    "delays": lambda: snnkit.DelayLinear(16, 16, max_delay=5),
    "axonal delays": lambda: snnkit.DelayLinear(16, 16, max_delay=5, kind="axonal", bias=True),
    "several": lambda: nn.Sequential(nn.Linear(16, 16, bias=False), nn.Dropout(0.5)),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_recurrence_comes_back_in_step(name):
    first, back, last = nn.Linear(12, 16), CONNECTIONS[name](), nn.Linear(16, 5)
    whole(first, back[0] if name == "several" else back, last)
    if isinstance(back, snnkit.DelayLinear):
        delayed(back)
    net = snnkit.Network(first, snnkit.Recurrent(snnkit.IF(reset="hard"), back), last, snnkit.IF(reset="hard"))
    chip = check_equal(net, spikes(20, 8, 12))
    (again,) = [part for part in chip.connections if part.source == part.target == "1"]
    assert again.max_delay == (5 if isinstance(back, snnkit.DelayLinear) else 0)


def normalised(norm, seed=0):
    """Give a normalisation statistics and factors that no other has."""
    generator = torch.Generator().manual_seed(seed)
    norm.running_mean = 0.3 * torch.randn(norm.num_features, generator=generator)
    norm.running_var = 0.1 + torch.rand(norm.num_features, generator=generator)
    norm.weight.data = 0.5 + torch.rand(norm.num_features, generator=generator)
    norm.bias.data = 0.1 * torch.randn(norm.num_features, generator=generator)
    return norm


def hard(theta=1.0):
    return snnkit.LIF(tau=2.0, theta=theta, reset="hard", input_decay=False)


CHAINS = {
    "normalised conv": (lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)], "Conv"),
    "normalised before": (lambda: [nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1)], "Conv"),
    "grouped, strided, dilated": (lambda: [nn.Conv2d(2, 4, 3, (2, 1), (2, 1), (2, 1), groups=2)], "Conv"),
    "pool, then conv": (lambda: [nn.AvgPool2d(2), nn.Conv2d(2, 4, 3, padding=1, stride=(1, 2))], "Conv"),
    "pool, then grouped conv": (
        lambda: [nn.AvgPool2d((2, 1)), nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, groups=2)],
        "Conv",
    ),
    "pool alone": (lambda: [nn.AvgPool2d(2)], "Conv"),
    "conv, then pool": (lambda: [nn.Conv2d(2, 4, 3), nn.AvgPool2d(2)], "Sparse"),
    "overlapping pool, then conv": (lambda: [nn.AvgPool2d(3, 2), nn.Conv2d(2, 4, 3, padding=1)], "Dense"),
    "pool, then linear": (
        lambda: [nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.Linear(50, 8), nn.BatchNorm1d(8)],
        "Dense",
    ),
    "same padding": (lambda: [nn.Conv2d(2, 4, (3, 5), padding="same", dilation=(2, 1))], "Conv"),
    "same padding, more below": (lambda: [nn.Conv2d(2, 4, (2, 3), padding="same")], "Sparse"),
    "no padding by its name": (lambda: [nn.Conv2d(2, 4, 3, padding="valid")], "Conv"),
    "two linear": (lambda: [nn.Flatten(), nn.Linear(128, 9), nn.Dropout(0.9), nn.Linear(9, 8)], "Dense"),
    "delays over space": (lambda: [snnkit.DelayConv2d(2, 3, 3, max_delay=4, padding=1, bias=True)], "Sparse"),
    "nothing": (lambda: [], "Conv"),
}


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
@pytest.mark.parametrize("name", CHAINS)
def test_what_lies_between_neurons_becomes_one_connection(name):
    torch.manual_seed(1)
    make, kind = CHAINS[name]
    chain = make()
    for module in chain:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            normalised(module)
    net = snnkit.Network(hard(0.5), *chain, hard(0.3), nn.Flatten()).eval()
    x = spikes(12, 8, 2, 8, 8)
    report = quantise_report(net, calibration=x)
    (connection,) = [part for part in report.chip.connections if part.source == "0"]
    assert type(connection.synapses).__name__ == kind
    assert report.layers[1].difference < 0.05
    assert report.layers[1].rate > 0.01
    with torch.no_grad():
        expected = net(x)
    differing = (report.chip(x).flatten(2) != expected).sum() / expected.sum()
    assert float(differing) == pytest.approx(report.layers[1].difference, abs=0.003)


def test_average_pooling_is_exact():
    conv = nn.Conv2d(1, 3, 3, padding=1, bias=False)
    linear = nn.Linear(3 * 2 * 2, 5, bias=False)
    whole(conv, linear)
    net = snnkit.Network(
        nn.AvgPool2d(2), conv, snnkit.IF(theta=0.7, reset="hard"), nn.AvgPool2d(2), nn.Flatten(), linear, hard(0.23)
    )
    chip = check_equal(net, spikes(12, 8, 1, 8, 8, rate=0.5))
    assert chip.latency == {"2": 1, "6": 2}


def test_pruned_weights_are_listed_and_dense_ones_are_not():
    first, last = whole(nn.Linear(12, 24, bias=False), nn.Linear(24, 5, bias=False))
    first.weight.data[torch.rand(24, 12, generator=torch.Generator().manual_seed(3)) < 0.8] = 0
    chip = check_equal(snnkit.Network(first, snnkit.IF(reset="hard"), last, snnkit.IF(reset="hard")), spikes(20, 8, 12))
    sparse, dense = (part.synapses for part in chip.connections)
    assert len(sparse.weight) == int((first.weight != 0).sum())
    assert dense.weight.shape == (5, 24)


@pytest.mark.parametrize("sign", ["excitatory", "inhibitory"])
def test_weights_of_one_sign_use_every_bit(sign):
    layer = nn.Linear(6, 8)
    layer.weight.data.abs_()
    if sign == "inhibitory":
        layer.weight.data.neg_()
        layer.bias.data.fill_(1.5)
    (chip,) = [quantise(snnkit.Network(layer, snnkit.IF(reset="hard")), calibration=spikes(9, 8, 6))]
    connection = chip.connections[0]
    assert connection.sign == sign
    assert (connection.synapses.weight % 2 == 1).any()
    assert (connection.effective == connection.synapses.weight).all()


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_weights_lie_where_the_chip_has_values(bits):
    net = snnkit.Network(nn.Linear(12, 24), hard(), nn.Linear(24, 5), snnkit.Readout(tau=4.0))
    report = quantise_report(net, calibration=spikes(20, 8, 12), bits=bits)
    for connection in report.chip.connections:
        assert connection.bits == bits
        assert (connection.effective == connection.synapses.weight).all()
    assert len(np.unique(report.chip.connections[0].effective)) <= 2**bits


def test_counts_pass_as_numbers():
    first, last = whole(nn.Linear(6, 12), nn.Linear(12, 4))
    x = torch.randint(0, 4, (15, 8, 6), generator=torch.Generator().manual_seed(0)).float()
    chip = check_equal(snnkit.Network(first, snnkit.IF(reset="hard"), last, snnkit.IF(reset="hard")), x)
    assert [connection.graded for connection in chip.connections] == [True, False]


def test_readouts_give_the_membrane():
    first, last = whole(nn.Linear(12, 16), nn.Linear(16, 4))
    net = snnkit.Network(first, snnkit.IF(reset="hard"), last, snnkit.Readout(tau=4.0))
    chip = check_equal(net, spikes(20, 8, 12))
    assert chip.read == "v"
    assert chip.run(spikes(40, 8, 12))[0].sum() == 0


def test_a_bias_that_cannot_wait_is_brought_by_a_neuron():
    """Negative biases would have to start above the threshold: three layers deep, at a short time constant."""
    layers = [nn.Linear(8, 8) for _ in range(3)]
    for layer in layers:
        layer.weight.data = layer.weight.data.abs() * 2
        layer.bias.data.uniform_(-0.9, 0.3)
    net = snnkit.Network(*(part for layer in layers for part in (layer, hard(0.41)))).eval()
    x = spikes(30, 16, 8)
    report = quantise_report(net, calibration=x)
    assert {"3.bias", "5.bias"} <= {population.name for population in report.chip.populations}
    found, expected = report.chip(x), net(x)
    assert expected.mean() > 0.05
    assert (found != expected).sum() / expected.sum() < 0.05


def test_a_current_that_decays_takes_its_bias_through_it():
    net = snnkit.Network(nn.Linear(8, 8), snnkit.CubaLIF(reset="hard", tau_syn=5.0, tau_mem=10.0, theta=1.03)).eval()
    net[0].bias.data.uniform_(0.02, 0.1)
    silent = torch.zeros(40, 1, 8)
    chip = quantise(net, calibration=torch.cat([silent[:, :0], spikes(40, 16, 8)], 1))
    found, expected = chip(silent), net(silent)
    assert expected.sum() > 20
    assert (found != expected).sum() <= 0.1 * expected.sum()


def test_nested_networks_are_taken_apart():
    inner = snnkit.Network(nn.Linear(12, 16), snnkit.IF(reset="hard"))
    last = nn.Linear(16, 4)
    whole(inner[0], last)
    chip = check_equal(
        snnkit.Network(inner, nn.Sequential(nn.Identity(), last), snnkit.IF(reset="hard")), spikes(20, 8, 12)
    )
    assert [population.name for population in chip.populations] == ["0.1", "2"]


def test_a_layer_that_occurs_twice_is_two_populations():
    first, last = whole(nn.Linear(12, 12), nn.Linear(12, 4))
    neurons = snnkit.IF(reset="hard")
    chip = check_equal(snnkit.Network(first, neurons, first, neurons, last, neurons), spikes(20, 8, 12))
    assert [population.name for population in chip.populations] == ["1", "3", "5"]
    soft = snnkit.LIF()
    chip = quantise(snnkit.Network(first, soft, last, soft), calibration=spikes(9, 4, 12), approximate="hard_reset")
    assert len(chip.populations) == 2


def test_weights_that_are_all_zero_pass_nothing():
    net = snnkit.Network(nn.Linear(6, 4), snnkit.IF(reset="hard"), nn.Linear(4, 2), snnkit.Readout())
    net[0].weight.data.zero_()
    net[0].bias.data.fill_(0.4)
    net[2].weight.data.zero_()
    chip = quantise(net.eval(), calibration=spikes(9, 4, 6))
    assert torch.equal(chip.record(spikes(10, 4, 6), ["1"])["1"][1:].float(), net.record(spikes(9, 4, 6))["1"])
    torch.testing.assert_close(chip(spikes(9, 4, 6)), net(spikes(9, 4, 6)).detach(), rtol=1e-2, atol=1e-3)


def test_the_network_is_not_changed():
    net = snnkit.Network(nn.Linear(6, 8), nn.BatchNorm1d(8), snnkit.LIF(), nn.Linear(8, 3), snnkit.Readout())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quantise(net, calibration=spikes(9, 4, 6), approximate=("hard_reset",))
    assert net.training
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_quantising_twice_gives_the_same_chip(tmp_path):
    net = snnkit.Network(nn.Linear(12, 24), hard(), nn.Linear(24, 5), snnkit.Readout(tau=4.0))
    x = spikes(20, 8, 12)
    first, second = (quantise(net, calibration=x) for _ in range(2))
    for name in ("0", "2"):
        parts = [next(part for part in chip.connections if part.name == name) for chip in (first, second)]
        assert np.array_equal(parts[0].synapses.weight, parts[1].synapses.weight)
    assert torch.equal(first(x), second(x))
    snnkit.deploy.save(first, tmp_path / "chip.h5")
    assert torch.equal(snnkit.deploy.load(tmp_path / "chip.h5")(x), first(x))


def test_a_membrane_starts_at_0_where_that_will_do() -> None:
    torch.manual_seed(0)
    net = snnkit.Network(
        nn.Linear(6, 8, bias=False),
        snnkit.LIF(tau=20.0, reset="hard", input_decay=False),
        nn.Linear(8, 4, bias=False),
        snnkit.Readout(tau=20.0, input_decay=False),
    )
    chip = snnkit.deploy.quantise(net, calibration=(torch.rand(10, 8, 6) < 0.3).float())
    assert not any(population.v_start.any() for population in chip.populations)


@pytest.mark.parametrize("inputs", [1, 256, 257, 513])
def test_any_number_of_inputs_is_taken(inputs):
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(inputs, 5, bias=False), hard()).eval()
    whole = torch.where(torch.rand(5, inputs) < 0.5, 0.5, -0.25)
    net[0].weight.data = whole
    x = spikes(10, 16, inputs)
    chip = quantise(net, calibration=x)
    assert chip.connections[0].synapses.weight.tolist() == (whole * chip.scale / 64).tolist()
    assert torch.equal(chip(x), net(x).detach())


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_networks_of_other_precisions_are_taken(kind):
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(6, 5), hard(0.5), nn.Linear(5, 3), snnkit.Readout()).to(kind).eval()
    x = spikes(10, 16, 6)
    assert torch.equal(quantise(net, calibration=x)(x), quantise(net.float(), calibration=x)(x))
