"""Operations equal what counting by hand gives, and joules are operations times the card's figures."""

import doctest
import itertools
from functools import partial

import pytest
import torch
from torch import nn

import snnkit
from snnkit import cards, deploy
from snnkit.deploy import chip, estimate, operations
from snnkit.errors import DataError, InputError
from snnkit.neuron import Neuron

PICO = 1e-12
# Counts do not depend on the backend, and this one needs no compiling.
IF, LIF, CubaLIF, ILIF, Readout = (
    partial(layer, backend="reference")
    for layer in (snnkit.IF, snnkit.LIF, snnkit.CubaLIF, snnkit.ILIF, snnkit.Readout)
)


def spikes(*shape: int, share: float = 0.3) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(5)) < share).float()


def only(found: tuple) -> operations.LayerOperations:
    (layer,) = found
    return layer


def every(*shape: int) -> torch.Tensor:
    """Return an input that makes IF neurons behind `identity` fire at every step."""
    return torch.ones(shape)


def test_docstrings_run():
    result = doctest.testmod(estimate, extraglobs={"torch": torch, "nn": nn, "snnkit": snnkit})
    assert (result.attempted, result.failed) == (3, 0)


def test_a_spike_into_a_linear_layer_costs_one_addition_per_output():
    x = torch.zeros(5, 2, 7)
    x[0, 0, 3] = x[4, 0, 3] = x[2, 1, 0] = 1
    layer = only(operations.count(nn.Linear(7, 11), x))
    assert (layer.traffic, layer.accumulate, layer.multiply_accumulate) == ("spikes", 3 * 11 / 2, 0)


def test_an_analogue_input_multiplies_at_every_step():
    x = torch.full((5, 2, 7), 0.5)
    x[:, :, 0] = 0
    layer = only(operations.count(nn.Linear(7, 11), x))
    assert (layer.traffic, layer.accumulate) == ("analogue", 0)
    assert layer.multiply_accumulate == 5 * 7 * 11
    assert layer.multiply_accumulate_nonzero == 5 * 6 * 11


def test_integer_and_signed_spikes_count_by_their_size():
    x = torch.tensor([[[3.0, 0.0, -1.0]], [[1.0, 0.0, 0.0]]])
    assert only(operations.count(nn.Linear(3, 4), x)).accumulate == 5 * 4


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 2), "padding": (2, 0), "stride": (2, 1)},
    {"kernel_size": 3, "stride": 3, "padding": 1},
    {"kernel_size": 2, "dilation": 3, "padding": 2},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 1, "stride": 2, "groups": 2},
]


def connections(module: nn.Conv2d, height: int, width: int) -> torch.Tensor:
    """Return how many weights each input `[channels, height, width]` meets, by going through all of them."""
    met = torch.zeros(module.in_channels, height, width)
    pairs = [range(size) for size in module.kernel_size]
    rows, columns = (
        (size + 2 * module.padding[axis] - module.dilation[axis] * (module.kernel_size[axis] - 1) - 1)
        // module.stride[axis]
        + 1
        for axis, size in enumerate((height, width))
    )
    inputs, outputs = module.in_channels // module.groups, module.out_channels // module.groups
    for row, column, (down, right) in itertools.product(range(rows), range(columns), itertools.product(*pairs)):
        y = row * module.stride[0] - module.padding[0] + down * module.dilation[0]
        x = column * module.stride[1] - module.padding[1] + right * module.dilation[1]
        if 0 <= y < height and 0 <= x < width:
            for group in range(module.groups):
                met[group * inputs : (group + 1) * inputs, y, x] += outputs
    return met


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_spike_into_a_convolution_costs_the_weights_that_it_meets(options):
    module = nn.Conv2d(4, 6, **options)
    met = connections(module, 8, 9)
    x = spikes(3, 2, 4, 8, 9)
    counted = only(operations.count(module, x))
    assert counted.accumulate == float((x.sum((0, 1)) * met).sum()) / 2
    dense = only(operations.count(module, x + 0.5))
    assert dense.multiply_accumulate == 3 * float(met.sum())


def test_a_convolution_without_padding_has_the_textbook_number_of_products():
    x = torch.rand(1, 1, 3, 10, 12)
    module = nn.Conv2d(3, 5, (3, 2))
    assert only(operations.count(module, x)).multiply_accumulate == 5 * 3 * 3 * 2 * 8 * 11


def test_wrapping_convolutions_have_no_border():
    module = nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular")
    assert only(operations.count(module, torch.ones(1, 1, 2, 6))).accumulate == 2 * 6 * 3 * 3


def test_transposed_and_volume_convolutions_are_counted():
    transposed = nn.ConvTranspose2d(2, 3, 2, stride=2)
    assert only(operations.count(transposed, torch.ones(1, 1, 2, 4, 4))).accumulate == 2 * 16 * 3 * 4
    volume = nn.Conv3d(1, 2, 2)
    assert only(operations.count(volume, torch.ones(1, 1, 1, 2, 2, 2))).accumulate == 8 * 2


def test_accumulates_equal_spikingjellys_counter():
    counters = pytest.importorskip("spikingjelly.activation_based.op_counter")
    net = snnkit.Network(nn.Conv2d(2, 4, 3, padding=1, stride=2), IF(), nn.Flatten(), nn.Linear(4 * 5 * 4, 6), IF())
    x = spikes(6, 3, 2, 9, 8)
    theirs = counters.SynOpCounter()
    with torch.no_grad(), counters.DispatchCounterMode([theirs]):
        net(x)
    ours = sum(layer.accumulate for layer in operations.count(net, x))
    assert ours > 0
    assert round(ours * 3) == theirs.get_total()


def test_average_pooling_passes_each_spike_on_to_the_next_layer():
    x = torch.zeros(1, 1, 1, 4, 4)
    x[0, 0, 0, 0, 0] = x[0, 0, 0, 0, 1] = x[0, 0, 0, 3, 3] = 1
    for pool in (nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d((2, None))):
        net = nn.Sequential(pool, nn.Flatten(), nn.LazyLinear(5))
        net(x[0])
        layer = only(operations.count(net, x))
        assert (layer.traffic, layer.accumulate) == ("spikes", 3 * 5)


def test_a_spike_in_overlapping_pools_is_passed_on_to_each():
    ones = torch.ones(1, 1, 1, 4)
    net = nn.Sequential(nn.AvgPool1d(2, stride=1, padding=1), nn.Flatten(), nn.Linear(5, 3))
    assert only(operations.count(net, ones)).accumulate == 4 * 2 * 3
    volume = nn.Sequential(nn.AvgPool3d(2), nn.Flatten(), nn.Linear(1, 3))
    assert only(operations.count(volume, torch.ones(1, 1, 1, 2, 2, 2))).accumulate == 8 * 3


def test_max_pooling_passes_one_spike_per_window():
    net = nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.Linear(2, 3))
    x = torch.tensor([1.0, 1.0, 0.0, 1.0]).view(1, 1, 1, 4)
    assert only(operations.count(net, x)).accumulate == 2 * 3


def test_normalisation_is_folded_and_costs_nothing():
    plain = nn.Sequential(nn.Linear(4, 4), IF(), nn.Linear(4, 3))
    norm = nn.BatchNorm1d(4)
    norm.running_mean.fill_(0.3)
    with_norm = nn.Sequential(nn.Linear(4, 4), IF(), norm, nn.Linear(4, 3))
    with_norm[0], with_norm[3] = plain[0], plain[2]
    x = spikes(6, 2, 4)
    expected = [layer.accumulate for layer in operations.count(plain, 5 * x)]
    assert [layer.accumulate for layer in operations.count(with_norm, 5 * x)] == expected


def test_a_linear_layer_after_a_linear_layer_multiplies():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 5))
    first, second = operations.count(net, torch.ones(2, 1, 3))
    assert (first.accumulate, first.multiply_accumulate) == (2 * 3 * 4, 0)
    assert (second.accumulate, second.multiply_accumulate) == (0, 2 * 4 * 5)


def identity(size: int) -> nn.Linear:
    layer = nn.Linear(size, size, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def test_neurons_are_counted_by_spikes_and_updates():
    net = snnkit.Network(identity(3), IF(), nn.Linear(3, 2), CubaLIF(), Readout())
    first, neurons, second, cuba, readout = operations.count(net, every(4, 2, 3))
    assert first.accumulate == 4 * 3 * 3
    assert (neurons.spikes, neurons.neurons, neurons.updates, neurons.states) == (12, 3, 12, 1)
    assert second.accumulate == 12 * 2
    assert (cuba.neurons, cuba.updates, cuba.states) == (2, 8, 2)
    assert (readout.spikes, readout.updates) == (0, 8)


def test_multi_level_spikes_count_by_level():
    net = snnkit.Network(ILIF(levels=4), nn.Linear(1, 7))
    neurons, connection = operations.count(net, torch.full((1, 1, 1), 2.9))
    assert (neurons.spikes, connection.accumulate) == (3, 3 * 7)


def test_a_recurrent_connection_sees_each_output_one_step_later():
    layer = snnkit.Recurrent(IF(), nn.Linear(3, 3, bias=False))
    nn.init.zeros_(layer.connection.weight)
    connection, neurons = operations.count(snnkit.Network(layer), every(5, 2, 3))
    assert (connection.name, neurons.name) == ("0.connection", "0")
    assert (neurons.spikes, connection.accumulate) == (5 * 3, 4 * 3 * 3)


@pytest.mark.parametrize("size", [(2, 9), (2, 6, 5)])
def test_delays_over_space_cost_what_a_convolution_costs(size):
    plain, delayed = (nn.Conv1d, snnkit.DelayConv1d) if len(size) == 2 else (nn.Conv2d, snnkit.DelayConv2d)
    x = (torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    layers = (plain(2, 3, 3, stride=2, padding=1), delayed(2, 3, 3, stride=2, padding=1, max_delay=2))
    counts = [deploy.energy(snnkit.Network(layer, LIF()), x).accumulate for layer in layers]
    assert counts[0] == counts[1] > 0


def test_a_layer_of_ones_own_says_its_fan_out():
    class Sparse(nn.Linear):
        def fan_out(self, shape):
            return (self.weight != 0).sum(0)

    layer = Sparse(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert only(operations.count(layer, torch.ones(2, 1, 3))).accumulate == 2 * (2 + 0 + 1)


def test_nested_networks_are_walked_in_order():
    net = snnkit.Network(snnkit.Network(identity(2), IF()), nn.Sequential(nn.Linear(2, 2)))
    assert [layer.name for layer in operations.count(net, every(1, 1, 2))] == ["0.0", "0.1", "1.0"]


def test_the_mean_is_over_samples():
    net = snnkit.Network(nn.Linear(6, 5), LIF(), nn.Linear(5, 4), LIF())
    x = spikes(9, 4, 6)
    together = deploy.energy(net, x)
    alone = [deploy.energy(net, x[:, index : index + 1]) for index in range(4)]
    for name in ("joules", "accumulate", "spikes"):
        assert getattr(together, name) == pytest.approx(sum(getattr(one, name) for one in alone) / 4)


def test_counting_changes_nothing():
    net = snnkit.Network(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), LIF())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = operations.count(net, spikes(5, 2, 4))
    assert operations.count(net, spikes(5, 2, 4)) == first
    assert net.training
    assert net[1].training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in net.parameters())


def test_half_precision_networks_are_counted():
    net = nn.Sequential(nn.Linear(600, 700)).to(torch.bfloat16)
    x = torch.ones(2, 1, 600, dtype=torch.bfloat16)
    assert only(operations.count(net, x)).accumulate == 2 * 600 * 700


def test_joules_are_operations_times_the_cards_figures():
    net = snnkit.Network(identity(3), IF(), nn.Linear(3, 2), CubaLIF())
    report = deploy.energy(net, every(4, 2, 3) * 1.5)
    emitted = report.spikes
    assert report.multiply_accumulate == 4 * 9
    assert report.accumulate == 2 * report.layers[1].spikes
    synaptic = 36 * 4.6 + report.accumulate * 0.9
    updates = (4 * 3 * 1 + 4 * 2 * 2) * 4.6
    assert report.synaptic_joules == pytest.approx(synaptic * PICO)
    assert report.neuron_joules == pytest.approx(updates * PICO)
    assert report.joules == pytest.approx((synaptic + updates) * PICO)
    assert sum(map(report.layer_joules, report.layers)) == pytest.approx(report.joules)
    assert emitted == report.layers[1].spikes + report.layers[3].spikes


@pytest.mark.parametrize(("precision", "accumulate", "update"), [("int32", 0.1, 3.2), ("int8", 0.03, 0.23)])
def test_precisions_have_their_own_figures(precision, accumulate, update):
    net = snnkit.Network(identity(3), IF())
    report = deploy.energy(net, every(2, 1, 3), precision=precision)
    assert report.joules == pytest.approx((18 * accumulate + 6 * update) * PICO)


def test_loihi_charges_synapses_updates_and_spikes():
    net = snnkit.Network(identity(3), IF(), nn.Linear(3, 2), CubaLIF())
    report = deploy.energy(net, every(4, 1, 3), chip="loihi1")
    expected = report.accumulate * 23.6 + (12 + 8) * 81 + report.spikes * 1.7
    assert report.joules == pytest.approx(expected * PICO)
    assert report.precision == "native"


def test_an_ann_is_charged_for_every_product_of_one_pass():
    ann = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 4)
    )
    x = torch.ones(3, 1, 4, 4)
    x[:, :, :, 0] = 0
    report = deploy.energy_ann(ann, x)
    products = 2 * 9 * 4 + 2 * 4
    assert (report.multiply_accumulate, report.accumulate, report.spikes, report.updates) == (products, 0, 0, 0)
    assert report.joules == pytest.approx(products * 4.6 * PICO)
    first, last = report.layers
    assert first.multiply_accumulate_nonzero == 2 * 9 * 4 - 2 * (2 * 3)
    skipped = first.multiply_accumulate_nonzero + last.multiply_accumulate_nonzero
    assert report.joules_skipping_zeros == pytest.approx(skipped * 4.6 * PICO)


def test_relu_zeros_are_not_skipped_unless_asked():
    ann = nn.Sequential(identity(4), nn.ReLU(), nn.Linear(4, 2))
    report = deploy.energy_ann(ann, torch.tensor([[1.0, -1.0, -2.0, 0.5]]))
    assert report.layers[1].multiply_accumulate == 8
    assert report.layers[1].multiply_accumulate_nonzero == 4


def test_a_report_calls_itself_an_estimate_and_names_its_constants():
    report = deploy.energy(snnkit.Network(nn.Linear(3, 2), LIF()), every(2, 1, 3))
    for text in (report.label, str(report), report.to_dict()["label"]):
        assert "estimate, cmos45 fp32 (estimated: accumulate 0.9 pJ, multiply_accumulate 4.6 pJ" in text
        assert "not counted: memory access" in text
    assert report.to_dict()["constants"]["accumulate"]["source"].startswith("Horowitz 2014")
    assert report.to_dict()["layers"][0]["joules"] == report.layer_joules(report.layers[0])
    assert "simulated" in deploy.energy(snnkit.Network(LIF()), every(1, 1, 2), chip="loihi1").label


@pytest.mark.parametrize("name", chip.names())
def test_every_card_has_sourced_costs(name):
    found = chip.read(name)
    figures = [figure for costs in found.costs.values() for figure in costs.values()]
    assert found.citation
    assert all(figure.how in chip.HOW and len(figure.source) > 10 for figure in figures)


def test_cards_hold_the_published_figures():
    costs = chip.read("cmos45").costs
    published = {"fp32": (3.7, 0.9), "fp16": (1.1, 0.4), "int32": (3.1, 0.1), "int8": (0.2, 0.03)}
    for precision, (multiply, add) in published.items():
        figures = costs[precision]
        assert (figures["multiply"].value, figures["accumulate"].value) == (multiply, add)
        assert figures["multiply_accumulate"].value == pytest.approx(multiply + add)
        assert figures["state_update"].value == figures["multiply_accumulate"].value
    loihi = chip.read("loihi1")
    native = loihi.costs["native"]
    assert (native["accumulate"].value, native["neuron_update"].value, native["spike"].value) == (23.6, 81, 1.7)
    assert {figure.how for figure in native.values()} == {"simulated"}
    assert loihi.power["static_per_chip"].how == "measured"
    assert loihi.power["static_per_chip"].si == pytest.approx(0.104)


NET = snnkit.Network(nn.Linear(3, 2), LIF())


class Residual(nn.Module):
    """A layer of one's own with a state: what is in it, and the input beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = snnkit.Network(nn.Linear(3, 3), LIF())

    def run(self, x, state=None, *, lengths=None):
        y, state = self.inner.run(x, state, lengths=lengths)
        return x + y, state


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deploy.energy(NET, every(2, 1, 3), chip="lohi1"), r"no chip 'lohi1'; did you mean 'loihi1'\?; known"),
        (lambda: deploy.energy(NET, every(2, 1, 3), precision="fp23"), r"no precision 'fp23'; did you mean 'fp32'\?"),
        (lambda: deploy.energy(NET, every(2, 3)), r"energy got shape \[2, 3\] and needs \[T, B, features…\]"),
        (
            lambda: deploy.energy(NET, 0.5 * every(2, 1, 3), chip="loihi1"),
            "layer '0' has analogue input, and loihi1 has no cost of a multiply-accumulate; encode the input",
        ),
        (
            lambda: deploy.energy(snnkit.Network(nn.LayerNorm(3)), every(2, 1, 3)),
            r"energy does not know what layer '0' \(LayerNorm\) costs; chains of Linear",
        ),
        (
            lambda: deploy.energy(snnkit.Network(Residual(), nn.Linear(3, 2)), every(2, 1, 3)),
            r"energy does not know what layer '0' \(Residual\) costs; .* and layers with a method fan_out",
        ),
        (
            lambda: deploy.neurobench(snnkit.Network(Residual(), nn.Linear(3, 2)), every(2, 1, 3)),
            r"NeuroBench's counts do not see into a Residual; put its layers into a Network in a row",
        ),
        (
            lambda: deploy.energy(nn.Sequential(nn.AdaptiveAvgPool1d(2), nn.Flatten()), every(1, 1, 1, 3)),
            r"layer '0' pools \[3\] to \[2\]; energy needs sizes that divide",
        ),
        (
            lambda: deploy.energy(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), every(2, 1, 3)),
            r"in place of a weight; type torch.nn.utils.parametrize.remove_parametrizations",
        ),
        (
            lambda: deploy.energy(3, every(2, 1, 3)),
            "energy takes a snnkit.Network, or one in .*, not int",
        ),
        (
            lambda: deploy.energy(NET, every(2, 1, 3), chip=3),
            "a chip is a name such as 'loihi2', or the path",
        ),
        (lambda: deploy.energy_ann(3, every(1, 3)), "energy_ann takes a snnkit.Network, .*, not int"),
        (lambda: deploy.energy_ann(integers(), every(1, 3)), "that of an integer network is in energy"),
        (lambda: deploy.energy_ann(NET, every(1, 3)), "energy_ann got a Network; for spiking networks use energy"),
        (lambda: deploy.energy_ann(nn.Linear(3, 2), every(3)), r"energy_ann got torch.float32 \[3\]; a floating ten"),
        (lambda: deploy.energy_ann(nn.Linear(3, 2), [1.0]), "energy_ann got list; a floating tensor"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


SPEC = """
name = "mine"
title = "Mine"
node = "7 nm"
citation = "Me"
[costs.int8.accumulate]
value = 1
unit = "pJ"
how = "measured"
source = "my bench"
[costs.int8.neuron_update]
value = 2.5
unit = "pJ"
how = "measured"
source = "my bench"
"""


def test_a_card_of_ones_own_is_read_by_its_path(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    report = deploy.energy(NET, every(2, 1, 3), chip=str(path))
    assert report.joules == pytest.approx((2 * 3 * 2 * 1 + 2 * 2 * 2.5) * PICO)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", r"unknown key 'titel'; did you mean 'title'\?"),
        ('node = "7 nm"', "", "lacks node"),
        ("value = 1\n", "", "costs.int8.accumulate lacks value"),
        ("value = 1", "value = -1", "accumulate needs a value of at least 0 and a source"),
        ("value = 1", "value = nan", "accumulate needs a value of at least 0 and a source"),
        ("value = 1", 'value = "1"', "has value = '1'; a value of type float is needed"),
        ('source = "my bench"', 'source = ""', "needs a value of at least 0 and a source"),
        ('unit = "pJ"', 'unit = "nJ"', "has unit = 'nJ'; 'pJ' is needed"),
        ('how = "measured"', 'how = "measure"', r"has how = 'measure'; did you mean 'measured'\?"),
        ("neuron_update", "update", "costs.int8 needs accumulate, and neuron_update or state_update"),
        (SPEC[SPEC.index("[costs") :], "[costs]", "has no costs; at least one precision is needed"),
    ],
)
def test_wrong_cards_are_refused(tmp_path, old, new, message):
    path = tmp_path / "spec.toml"
    assert old in SPEC
    path.write_text(SPEC.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        chip.read(path)


def test_a_card_lies_in_the_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "spec.toml").write_text(SPEC)
    monkeypatch.setattr(cards, "folder", lambda kind: tmp_path)
    with pytest.raises(DataError, match="has name = 'mine'; it lies in the folder 'other'"):
        chip.read("other")


def test_a_neuron_of_ones_own_is_counted_without_touching_the_package():
    mine = Neuron("mine", {"v": 0.0, "w": 0.0}, {}, ["w = w + x", "v = v + w"], "v - 1", ["v = v - s"])
    layer = only(operations.count(snnkit.Spiking(mine, backend="reference"), torch.zeros(3, 2, 4)))
    assert (layer.kind, layer.spikes, layer.states, layer.updates) == ("mine", 0, 2, 12)


def integers(**options) -> deploy.IntegerNetwork:
    """Return a network of 3 inputs, 2 neurons that fire at every input, and 1 that these reach, with recurrence."""
    first = deploy.Population("a", (2,), du=4095, dv=4096, vth=9)
    last = deploy.Population("b", (1,), du=4095, dv=4096, vth=131_071)
    weights = {"in": [[64, 64, 0], [64, 0, 0]], "ab": [[64, 64]], "ba": [[2], [2]]}
    ends = {"in": ("input", "a"), "ab": ("a", "b"), "ba": ("b", "a")}
    dense = {name: deploy.Dense(weight) for name, weight in weights.items()}
    joined = tuple(deploy.Connection(name, *ends[name], part, **options) for name, part in dense.items())
    return deploy.IntegerNetwork((3,), (first, last), joined)


def test_an_integer_network_adds_for_each_spike_and_weight():
    x = torch.zeros(5, 2, 3)
    x[1, 0, 0] = x[2, 0, 1] = x[1, 1, 2] = 1
    report = deploy.energy(integers(), x, chip="loihi1")
    # The first input reaches two neurons, which both fire; the second reaches one, which fires; the third reaches none.
    assert {layer.name: layer.accumulate for layer in report.layers} == {
        "in": 3 / 2,
        "ba": 0,
        "a": 0,
        "ab": 3 / 2,
        "b": 0,
    }
    assert [layer.spikes for layer in report.layers if layer.neurons] == [3 / 2, 0]
    assert report.updates == 5 * 3
    assert report.joules == pytest.approx((3 * 23.6 + 1.5 * 1.7 + 15 * 81) * PICO)


def test_an_integer_network_stands_beside_an_ann_with_its_connections():
    x = torch.ones(5, 2, 3)
    report = deploy.energy(integers(), x, chip="loihi1")
    beside = report.ann
    assert (report.here.chip, report.here.layers) == ("cmos45", report.layers)
    assert report.here.joules == deploy.energy(integers(), x, precision="int8").joules
    text = f"beside, cmos45 int8: {1e9 * report.here.joules:,.6g} nJ for this network and 0.00184 nJ for one pass"
    assert text in str(report)
    assert (beside.chip, beside.precision, beside.multiply_accumulate, beside.steps) == ("cmos45", "int8", 8, 1)
    assert beside.joules == pytest.approx(8 * 0.23 * PICO)
    same = deploy.energy(integers(), x, precision="fp16")
    assert same.ann.joules == pytest.approx(8 * 1.5 * PICO)
    assert same.here is None
    assert "nJ for this network and 0.012 nJ for one pass of an ANN with the same connections; estimate" in str(same)
    assert same.to_dict()["ann"]["joules"] == same.ann.joules
    with pytest.raises(InputError, match="loihi2 has no energy costs: none have been published; use chip='loihi1'"):
        deploy.energy(integers(), x, chip="loihi2")


def test_graded_inputs_of_an_integer_network_multiply():
    x = torch.tensor([[5, 0, 3], [0, 0, 0]]).view(2, 1, 3)
    report = deploy.energy(integers(graded=True), x, precision="int8")
    layer = report.layers[0]
    assert (layer.traffic, layer.multiply_accumulate, layer.multiply_accumulate_nonzero) == ("analogue", 2 * 3, 2)
    with pytest.raises(InputError, match="layer 'in' has analogue input, and loihi1 has no cost of a multiply"):
        deploy.energy(integers(graded=True), x, chip="loihi1")
