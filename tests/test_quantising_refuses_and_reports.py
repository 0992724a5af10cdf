"""Quantising: what the chip cannot have is refused by name, and the report says what became of each layer."""

import copy
import doctest
import importlib

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import snnkit
from snnkit.convert.snntorch import LATE
from snnkit.deploy import Emulated, fine_tune, quantise, quantise_report
from snnkit.deploy.quantisation.tuning import folded
from snnkit.errors import InputError
from snnkit.neuron import FAMILIES, Neuron, Param
from snnkit.train import TrainSettings, evaluate
from snnkit.train.losses import rate_cross_entropy


def spikes(steps=12, batch=8, *features, rate=0.3):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(steps, batch, *(features or (6,)), generator=generator) < rate).float()


def hard(**options):
    return snnkit.LIF(reset="hard", **options)


def broken(layer, value=float("nan")):
    layer.weight.data[0, 0] = value
    return layer


def loop(connection):
    """A connection that was put in place later, past the check that is made when a layer is built."""
    layer = snnkit.Recurrent(hard(), nn.Linear(4, 4))
    layer.connection = connection
    return layer


def end():
    return nn.Linear(4, 3), snnkit.Readout()


REFUSED = {
    "soft reset": (
        [nn.Linear(6, 4), snnkit.LIF(), *end()],
        r"layer '1' \(lif\) subtracts its threshold when it fires.*approximate=\('hard_reset',\).*fine_tune",
    ),
    "late subtraction": (
        [nn.Linear(6, 4), snnkit.Spiking(LATE), *end()],
        r"layer '1' \(leaky_late\) subtracts its threshold.*in snnTorch reset_mechanism='zero'.*approximate=",
    ),
    "nan": (
        [broken(nn.Linear(6, 4)), hard()],
        r"layer '0' \(Linear\) holds NaN or infinity in its weight; train it again with a smaller learning rate",
    ),
    "infinite recurrence": (
        [nn.Linear(6, 4), snnkit.Recurrent(hard(), broken(nn.Linear(4, 4), float("inf")))],
        r"layer '1' \(Recurrent\) holds NaN or infinity in its connection\.weight",
    ),
    "other features": ([nn.Linear(7, 4), hard()], r"layer '0' \(Linear\) does not take inputs of shape \[6\]"),
    "features of a convolution": (
        [snnkit.DelayConv1d(2, 3, 3), hard()],
        r"layer '0' \(DelayConv1d\) does not take inputs of shape \[6\]",
    ),
    "relu": ([nn.Linear(6, 4), nn.ReLU(), *end()], r"layer '1' is ReLU; what passes between layers is spikes.*LIF"),
    "maxpool": ([hard(), nn.MaxPool1d(2), hard()], r"layer '1' is MaxPool1d; chips add and do not compare.*AvgPool1d"),
    "layernorm": ([nn.LayerNorm(6), hard()], r"layer '0' is LayerNorm; its statistics change with every step"),
    "unknown": ([nn.Bilinear(6, 6, 4), hard()], r"layer '0' is Bilinear; between neurons chips take Linear, Conv1d"),
    "no statistics": (
        [nn.BatchNorm1d(6, track_running_stats=False), hard()],
        r"layer '0' \(BatchNorm1d\) keeps no running statistics; use track_running_stats=True",
    ),
    "long delays": (
        [snnkit.DelayLinear(6, 4, max_delay=700, learn=False), hard()],
        r"layer '0' has delays of up to \d+ steps, and chips take 62.*approximate=\('clamp_delays',\)",
    ),
    "tail": ([snnkit.DelayLinear(6, 4, tail=3), hard()], r"layer '0' has tail=3, .*tail=0, and add silent steps"),
    "no end": (
        [nn.Linear(6, 4), hard(), nn.Linear(4, 2)],
        r"the network ends with '2', and a chip's answer is that of n",
    ),
    "nothing": ([nn.Identity()], r"the network ends with '0', and a chip's answer is that of neurons"),
    "readout within": (
        [nn.Linear(6, 4), snnkit.Readout(), nn.Linear(4, 2), snnkit.Readout()],
        r"the readout '1' is followed by '2' \(Linear\).*make the readout the last layer",
    ),
    "delays twice": (
        [snnkit.DelayLinear(6, 4), snnkit.DelayLinear(4, 4), hard()],
        r"layer '1': two layers with delays follow each other; put neurons between them",
    ),
    "neurons in a loop": (
        [nn.Linear(6, 4), loop(nn.Sequential(nn.Linear(4, 4), hard()))],
        r"layer '1\.connection\.1' is of neurons within a recurrent connection",
    ),
    "membrane in a loop": (
        [nn.Linear(6, 4), snnkit.Recurrent(snnkit.Readout(), nn.Linear(4, 4))],
        r"the readout '1' hears its own membrane, and a membrane does not travel on the chip: take a layer that spikes",
    ),
    "pruned": (
        [prune.l1_unstructured(nn.Linear(6, 4), "weight", amount=0.5), hard()],
        r"cannot be copied; type torch\.nn\.utils\.prune\.remove\(layer, 'weight'\) for pruned layers first",
    ),
    "threshold below reset": (
        [nn.Linear(6, 4), hard(theta=0.5, v_reset=0.5)],
        r"layer '1' \(lif\) has a threshold of 0 above its reset; chips need one above 0",
    ),
    "start above the threshold": (
        [nn.Linear(6, 4), hard(), nn.Linear(4, 4), hard(theta=0.5, v_reset=-2.0, v_rest=-2.0)],
        r"layer '3' cannot be at 2 from its reset when its input arrives, 2 steps.*use v_reset=0 and v_rest=0, or ac",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_chip_cannot_have_is_refused_by_name(name):
    layers, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        quantise(snnkit.Network(*layers), calibration=spikes())


KNOWN = {"IF", "LIF", "PLIF", "CubaLIF", "Readout"}


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - KNOWN))
def test_neurons_that_chips_do_not_have_are_refused(name):
    net = snnkit.Network(nn.Linear(6, 4), getattr(snnkit, name)())
    with pytest.raises(InputError, match=r"layer '1' is of \w+, which chips do not have; they have IF, LIF, PLIF"):
        quantise(net, calibration=spikes())


def test_a_neuron_of_ones_own_is_known_by_its_equations():
    mine = Neuron(
        "mine", {"v": 0.0}, {"theta": Param(1.0), "v_reset": Param(0.0)}, ["v = v + x"], "v - theta",
        ["v = (1 - s) * v + s * v_reset"],
    )  # fmt: skip
    net = snnkit.Network(nn.Linear(6, 4), snnkit.Spiking(mine))
    net[0].weight.data.fill_(0.5)
    assert torch.equal(quantise(net, calibration=spikes())(spikes()), net(spikes()).detach())


def test_pairs_without_a_convolution_must_be_few():
    net = snnkit.Network(snnkit.DelayConv2d(1, 4, 3, max_delay=2), hard())
    with pytest.raises(InputError, match=r"layer '0' connects 10000 with 38416 neurons.*384,160,000 pairs are more"):
        quantise(net, calibration=torch.zeros(2, 1, 1, 100, 100))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "loihi3"}, r"no target 'loihi3'; did you mean 'loihi"),
        ({"target": torch.zeros(3)}, r"no target of type Tensor; known: loihi1, loihi2"),
        ({"bits": 3}, r"bits is 3; weights have 4 to 8"),
        ({"bits": 8.0}, r"bits is 8.0; weights have 4 to 8"),
        ({"bits": torch.tensor([4, 8])}, r"bits is tensor\(\[4, 8\]\); weights have 4 to 8"),
        ({"approximate": None}, r"approximate is None; names are needed, such as approximate=\('hard_reset',\)"),
        (
            {"calibration": torch.zeros(5, 2, 6).to_sparse()},
            r"calibration is torch.float32, torch.sparse_coo, on cpu; a dense tensor of whole numbers is needed",
        ),
        ({"calibration": torch.zeros(5, 2, 6, dtype=torch.complex64)}, "calibration is torch.complex64, .* is needed"),
        ({"calibration": torch.zeros(5, 2, 6, device="meta")}, "calibration is torch.float32, .* on meta; a dense"),
        (
            {"approximate": ("hard",)},
            r"no approximation 'hard'; did you mean 'hard_reset'\?; known: hard_reset: the mem",
        ),
        ({"calibration": torch.rand(5, 2, 6)}, r"calibration holds numbers from 0\.\d+ to 0\.\d+; chips take spikes"),
        ({"calibration": torch.zeros(5, 6)}, r"calibration is \[5, 6\]; a tensor \[T, B, features…\] of spikes is nee"),
        ({"calibration": None}, r"calibration is NoneType; a tensor \[T, B, features…\]"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options, message):
    net = snnkit.Network(nn.Linear(6, 4), hard())
    with pytest.raises(InputError, match=message):
        quantise(net, **({"calibration": spikes()} | options))
    with pytest.raises(InputError, match=r"a snnkit.Network is quantised, not Linear; type snnkit.Network"):
        quantise(nn.Linear(6, 4), calibration=spikes())


def test_approximations_do_what_they_say():
    delays = snnkit.DelayLinear(6, 4, max_delay=70, learn=False)
    delays.weight.data.abs_()
    net = snnkit.Network(delays, snnkit.LIF(tau=4.0, input_decay=False, reset="soft")).eval()
    x = spikes(80)
    chip = quantise(net, calibration=x, approximate=("hard_reset", "clamp_delays"))
    assert chip.max_delay == 62 < delays.rounded().max()
    delays.set_delay(delays.delay.clamp(max=62))
    changed = snnkit.Network(delays, hard(tau=4.0, input_decay=False)).eval()
    found, hardened, soft = chip(x), changed(x).detach(), net(x).detach()
    assert (found != hardened).sum() < 0.05 * hardened.sum()
    assert (found != soft).sum() > 0.1 * soft.sum()


def test_a_late_subtraction_is_approximated_by_a_hard_reset():
    torch.manual_seed(0)
    weights = nn.Linear(6, 4, bias=False)
    late = snnkit.Network(weights, snnkit.Spiking(LATE, beta=0.75, theta=0.3, learn=("beta",)))
    reset = snnkit.Network(weights, hard(tau=4.0, theta=0.3, input_decay=False))
    x = spikes(12, 16)
    chips = [quantise(net, calibration=x, approximate=("hard_reset",)) for net in (late, reset)]
    assert torch.equal(chips[0](x), chips[1](x)) and chips[0](x).any()
    full = snnkit.Network(weights, snnkit.Spiking(LATE, beta=1.0, theta=0.3))
    assert int(quantise(full, calibration=x, approximate=("hard_reset",)).populations[0].dv) == 0


def test_a_membrane_that_cannot_be_made_ready_may_start_at_its_reset():
    layers, _ = REFUSED["start above the threshold"]
    chip = quantise(snnkit.Network(*layers), calibration=spikes(), approximate=("early_bias",))
    assert not chip.output.v_start.any()


def test_early_biases_are_whole_weights_from_a_membrane_of_0():
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(6, 8), hard(v_reset=-0.1), nn.Linear(8, 5), snnkit.CubaLIF(reset="hard"))
    x = spikes(40, 16, rate=0.5)
    exact, early = (quantise(net, calibration=x, approximate=names) for names in ((), ("early_bias",)))
    assert any(population.v_start.any() for population in exact.populations)
    assert [population.name for population in early.populations] == ["1", "3"]
    for population in early.populations:
        assert not population.v_start.any() and population.bias.any()
        assert population.bias_exponent == 6
    # A current's bias is what it comes to: tau_syn times what arrives in a step.
    last = net[3].values()
    wanted = net[2].bias.detach() * last["tau_syn"].detach() * early.scale / 64
    torch.testing.assert_close(torch.tensor(early.output.bias.tolist(), dtype=torch.float), wanted, atol=0.51, rtol=0.0)
    net[0].bias.data.fill_(1e5)
    with pytest.raises(InputError, match=r"the bias of layer '1' is [\d,]+ times the smallest weight, and chips take"):
        quantise(net, calibration=x, approximate=("early_bias",))


def test_the_report_gives_the_figures_of_each_layer():
    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    first.weight.data, last.weight.data = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    net = snnkit.Network(first, snnkit.IF(reset="hard"), last, snnkit.IF(reset="hard", theta=2.0))
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).expand(4, 2, 2).contiguous()
    report = quantise_report(net, calibration=x, labels=torch.tensor([1, 1]))
    assert [layer.name for layer in report.layers] == ["1", "3"]
    assert [layer.synapses for layer in report.layers] == [("dense 2 x 2",), ("dense 2 x 2",)]
    assert [layer.used for layer in report.layers] == [1.0, 1.0]
    assert [layer.clipped for layer in report.layers] == [0.0, 0.0]
    assert [(layer.rate, layer.chip_rate) for layer in report.layers] == [(0.5, 0.5), (0.25, 0.25)]
    assert [layer.difference for layer in report.layers] == [0.0, 0.0]
    # Weights of one sign and magnitude: 255 * 64 membrane units of 2**23.
    assert report.layers[0].peak == pytest.approx(255 * 64 / 2**23)
    assert (report.accuracy, report.chip_accuracy, report.agreement, report.samples) == (0.5, 0.5, 1.0, 2)
    text = str(report)
    assert "loihi2, 8-bit weights; 2 calibration samples" in text
    assert "accuracy 50.00%, on the chip 50.00%; same answer as the network for 100.00%" in text
    assert len(text.splitlines()) == 5


def test_the_report_compares_with_the_network_that_was_given():
    net = snnkit.Network(nn.Linear(6, 4), snnkit.LIF(tau=4.0, input_decay=False))
    net[0].weight.data.abs_()
    report = quantise_report(net, calibration=spikes(40), approximate="hard_reset")
    assert report.layers[0].difference > 0.1
    assert report.layers[0].chip_rate < report.layers[0].rate
    assert "8-bit weights, hard_reset; 8" in str(report)


def test_the_report_of_a_silent_network_has_no_share():
    net = snnkit.Network(nn.Linear(6, 4, bias=False), hard(theta=100.0), nn.Linear(4, 2, bias=False), snnkit.Readout())
    report = quantise_report(net, calibration=spikes())
    assert [layer.difference for layer in report.layers] == [0.0, 0.0]
    assert report.layers[0].rate == report.layers[0].chip_rate == 0.0


def test_weights_beyond_the_limit_are_counted():
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(64, 32, bias=False), snnkit.LIF(tau=4.0, reset="hard", theta=0.5, input_decay=False))
    net[0].weight.data[0, :2] = 0.4
    report = quantise_report(net, calibration=spikes(20, 32, 64), bits=4)
    values = report.chip.connections[0].synapses.weight
    assert report.layers[0].clipped == pytest.approx(2 / (64 * 32))
    assert (values == 224).sum() >= 2


def test_more_bits_lose_less():
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(24, 48), hard(theta=0.3), nn.Linear(48, 24), hard(theta=0.1))
    lost = [quantise_report(net, calibration=spikes(20, 32, 24), bits=bits).layers[1].difference for bits in (4, 6, 8)]
    assert lost[0] > 2 * lost[1] > 2 * lost[2] > 0


@pytest.fixture(scope="module")
def task():
    """Return a network with soft reset, trained on which of two halves of the inputs fires more, and its data."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 2
    rates = torch.where(labels[:, None] == (torch.arange(8) // 4), 0.5, 0.3)
    x = (torch.rand(256, 10, 8, generator=generator) < rates[:, None]).float()
    torch.manual_seed(0)
    layers = nn.Linear(8, 16), nn.BatchNorm1d(16), snnkit.LIF(tau=4.0), nn.Linear(16, 2), snnkit.Readout(tau=8.0)
    net = snnkit.Network(*layers)
    snnkit.train.fit(net, (x, labels), settings=TrainSettings(epochs=8, lr=0.02, batch_size=32))
    return net, (x, labels)


def test_fine_tuned_weights_are_what_the_chip_has(task):
    net, data = task
    before = {name: value.clone() for name, value in net.state_dict().items()}
    settings = TrainSettings(epochs=3, lr=0.01, batch_size=32)
    tuned = fine_tune(net, data, bits=4, approximate=("hard_reset",), settings=settings)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert tuned[0].weight.unique().numel() <= 15
    assert isinstance(tuned[1], nn.Identity)
    report = quantise_report(tuned, calibration=data[0].transpose(0, 1), bits=4, labels=data[1])
    assert report.layers[0].difference < 0.02
    assert report.layers[0].clipped == 0.0
    values = report.chip.connections[0].synapses.weight
    assert report.chip.populations[0].name == "2"
    torch.testing.assert_close(
        torch.from_numpy(values / abs(values).max()).float(), (tuned[0].weight / tuned[0].weight.abs().max()).detach()
    )


def test_fine_tuning_wins_back_accuracy(task):
    net, data = task
    x, labels = data[0].transpose(0, 1), data[1]
    lost = quantise(net, calibration=x, bits=4, approximate=("hard_reset",))
    settings = TrainSettings(epochs=5, lr=0.01, batch_size=32)
    tuned = fine_tune(net, data, bits=4, approximate=("hard_reset",), settings=settings)
    won = quantise(tuned, calibration=x, bits=4)
    before, after = (float(rate_cross_entropy(chip(x), labels)) for chip in (lost, won))
    with torch.no_grad():
        reached = float(rate_cross_entropy(net.eval()(x), labels))
    assert before > reached
    assert after < (before + reached) / 2


def test_a_chip_is_measured_as_a_network_is(task):
    net, data = task
    chip = quantise(net, calibration=data[0].transpose(0, 1), approximate=("hard_reset",))
    found = evaluate(Emulated(chip), data)
    assert found.samples == 256
    assert found.accuracy == ((chip(data[0].transpose(0, 1)).mean(0).argmax(-1) == data[1]).double().mean().item())


def test_fine_tuning_refuses_what_quantising_refuses():
    with pytest.raises(InputError, match=r"bits is 9; weights have 4 to 8"):
        fine_tune(snnkit.Network(nn.Linear(6, 4), hard()), spikes(), bits=9)
    for name in ("soft reset", "maxpool", "neurons in a loop", "tail"):
        layers, message = REFUSED[name]
        with pytest.raises(InputError, match=message):
            fine_tune(snnkit.Network(*layers), "never looked at")


def test_fine_tuning_folds_every_normalisation_that_follows_weights():
    torch.manual_seed(0)
    weighted = [nn.Conv1d(2, 3, 3, bias=False), snnkit.DelayLinear(12, 5, max_delay=2)]
    norms = [nn.BatchNorm1d(3), nn.BatchNorm1d(5)]
    for norm in norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    net = snnkit.Network(weighted[0], norms[0], hard(), nn.Flatten(), weighted[1], nn.Dropout(0.1), norms[1], hard())
    x = spikes(12, 4, 2, 6)
    with torch.no_grad():
        expected = net.eval()(x)
        found = folded(copy.deepcopy(net))
        assert [type(found[k]) for k in (1, 6)] == [nn.Identity] * 2
        assert torch.equal(found(x), expected)


def test_folding_leaves_weights_that_stand_elsewhere_too():
    weights, norm = nn.Linear(6, 6), nn.BatchNorm1d(6)
    norm.running_mean.fill_(0.25)
    net = snnkit.Network(weights, norm, hard(), weights, hard()).eval()
    found = folded(copy.deepcopy(net))
    torch.testing.assert_close(found[0].bias, (weights.bias - 0.25) / (1 + norm.eps) ** 0.5)
    assert torch.equal(found[3].weight, weights.weight) and torch.equal(found[3].bias, weights.bias)


@pytest.mark.parametrize("name", ["quantise", "tuning"])
def test_examples_run(name):
    module = importlib.import_module(f"snnkit.deploy.quantisation.{name}")
    found = doctest.testmod(module, extraglobs={"snnkit": snnkit, "torch": torch, "nn": nn})
    assert found.attempted > 0 == found.failed
