"""What a network takes on a chip equals what counting by hand gives, and each hard limit is kept or named."""

import doctest
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit import deploy
from snnkit.deploy import Connection, Conv, Dense, IntegerNetwork, Population, Sparse, capacity, chip, draw, reach
from snnkit.deploy.emulator.reference import convolve
from snnkit.errors import DataError, InputError


def neurons(name: str, *shape: int, **values) -> Population:
    return Population(name, shape, **({"du": 4095, "dv": 512, "vth": 100} | values))


def ones(outputs: int, inputs: int, delay: int = 0) -> Dense:
    return Dense(np.full((outputs, inputs), 64), np.full((outputs, inputs), delay) if delay else None)


def single(synapses, population: Population | None = None, **options) -> IntegerNetwork:
    """Return a network of one population, with one connection from the input."""
    population = population or neurons("out", synapses.n_outputs)
    connection = Connection("in", "input", "out", synapses, **options)
    return IntegerNetwork((synapses.n_inputs,), (population,), (connection,))


def only(report: deploy.FitReport) -> capacity.LayerFit:
    (layer,) = report.layers
    return layer


def test_docstrings_run():
    result = doctest.testmod(capacity, extraglobs={"snnkit": snnkit})
    assert (result.attempted, result.failed) == (3, 0)


@pytest.mark.parametrize(
    ("count", "each", "bits"),
    [(1, 8, 64), (6, 8, 64), (7, 8, 128), (64, 8, 576), (65, 8, 576 + 64), (300, 8, 4 * 576 + 384), (64, 14, 960)],
)
def test_synapses_lie_in_blocks_of_64_with_a_head_in_words(count, each, bits):
    assert int(reach.axon_bits(count, each)) == bits


def test_a_dense_layer_takes_a_row_for_each_input():
    layer = only(deploy.fit(single(ones(300, 100)), "loihi1"))
    assert (layer.cores, layer.neurons, layer.synapses) == (1, 300, 30_000)
    assert (layer.input_axons, layer.output_axons, layer.slots, layer.weight_bits) == (100, 0, 8, 8)
    assert layer.synapse_bits == 100 * (4 * 576 + 384)


def test_fewer_bits_take_less_and_seven_are_stored_as_eight():
    taken = [only(deploy.fit(single(ones(64, 10), bits=bits))).synapse_bits for bits in (4, 7, 8)]
    assert taken == [10 * (5 * 64), 10 * 576, 10 * 576]


def test_delays_take_6_bits_and_slots():
    layer = only(deploy.fit(single(ones(300, 100, delay=62)), "loihi1"))
    assert (layer.cores, layer.slots, layer.ranges["delay"]) == (3, 64, (0, 62))
    assert layer.fullest["accumulators_per_core"] == 128 * 64
    assert layer.synapse_bits == 100 * (2 * 2 * 960 + (44 * 14 + 10 + 63) // 64 * 64)
    slots = [only(deploy.fit(single(ones(2, 2, delay=d)))).slots for d in (6, 7, 14, 15, 30)]
    assert slots == [8, 16, 16, 32, 32]


def test_neurons_go_to_as_few_cores_as_limits_allow():
    report = deploy.fit(single(ones(2000, 10)), "loihi1")
    assert report.cores["out"] == ((0, 0, 1024), (1, 1024, 2000))
    # 3000 rows of 38 synapses take 3000 * 320 bits, and of 39 they take 3000 * 384.
    report = deploy.fit(single(ones(1024, 3000)), "loihi1")
    assert only(report).cores == 27
    assert report.cores["out"][0] == (0, 0, 38)
    assert only(report).fullest["synapse_bits_per_core"] == 3000 * 320


def test_zeros_are_no_synapses_and_indices_are_taken_where_they_save_memory():
    weight = np.zeros((200, 50), int)
    weight[:, 0] = 2
    weight[7, 1:] = 2
    layer = only(deploy.fit(single(Dense(weight)), "loihi1"))
    assert (layer.synapses, layer.input_axons) == (249, 50)
    # Indices among 200 neurons take 8 bits: one row of 200 synapses of 16 bits, and 49 rows of a single one.
    assert layer.synapse_bits == (3 * 1088 + 192) + 49 * 64
    rows, columns = np.nonzero(weight)
    listed = Sparse(50, np.searchsorted(rows, np.arange(201)), columns, weight[rows, columns])
    assert only(deploy.fit(single(listed), "loihi1")).synapse_bits == layer.synapse_bits


def test_a_convolution_keeps_its_kernel_once_and_an_axon_for_each_pixel():
    conv = Conv(np.full((4, 2, 3, 3), 2), (2, 8, 8), padding=(1, 1))
    layer = only(deploy.fit(single(conv, neurons("out", 4, 8, 8)), "loihi1"))
    inside = (8 + 2 * 7) ** 2
    assert (layer.cores, layer.synapses, layer.input_axons) == (1, 4 * 2 * inside, 64)
    assert layer.synapse_bits == int(reach.axon_bits(4 * 2 * 9, 8 + 8))


def test_a_convolution_in_groups_reaches_its_own_channels():
    conv = Conv(np.full((4, 1, 2, 2), 2), (2, 4, 4), stride=(2, 2), groups=2)
    reached = reach.Reach(Connection("in", "input", "out", conv))
    assert reached.sources(0, 4).tolist() == [True] * 16 + [False] * 16
    assert reached.sources(9, 10).reshape(2, 4, 4)[1].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0] * 4, [0] * 4]
    assert reached.axons(0, 16) == 16
    assert reached.synapses == 4 * 4 * 4


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_reaches_what_its_matrix_reaches(groups):
    draw = np.random.default_rng(3)
    weight = draw.integers(1, 9, (4, 4 // groups, 3, 2))
    conv = Conv(weight, (4, 7, 6), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=groups)
    matrix = convolve(Connection("c", "input", "p", conv), np.eye(conv.n_inputs, dtype=np.int64)).T != 0
    reached = reach.Reach(Connection("in", "input", "out", conv))
    assert reached.synapses == matrix.sum()
    for first, end in ((0, 1), (5, 30), (0, conv.n_outputs), (conv.n_outputs - 3, conv.n_outputs)):
        assert (reached.sources(first, end) == matrix[first:end].any(0)).all()


def test_a_spike_takes_an_axon_for_every_core_that_it_reaches():
    populations = (neurons("a", 3000), neurons("b", 2000), neurons("c", 1))
    connections = (
        Connection("in", "input", "a", Sparse(1, np.arange(3001), np.zeros(3000, int), np.full(3000, 2))),
        Connection("ab", "a", "b", Sparse(3000, np.arange(2001), np.arange(2000), np.full(2000, 2))),
        Connection("bb", "b", "b", Sparse(2000, np.arange(2001), np.arange(2000)[::-1], np.full(2000, 2))),
        Connection("bc", "b", "c", ones(1, 2000)),
    )
    a, b, c = deploy.fit(IntegerNetwork((1,), populations, connections), "loihi1").layers
    assert (a.cores, b.cores, c.cores) == (3, 2, 1)
    report = deploy.fit(IntegerNetwork((1,), populations, connections), "loihi1")
    assert report.total("cores") == 5
    assert report.cores["c"] == ((2, 0, 1),)
    assert (a.output_axons, b.output_axons, c.output_axons) == (2000, 2000 + 2000, 0)
    assert b.input_axons == 4000
    assert c.input_axons == 2000


def test_cores_are_divided_where_too_many_axons_leave():
    # 1000 neurons reach 5 cores each, and 4096 axons are allowed: 819 neurons on the first core.
    populations = (neurons("a", 1000), neurons("b", 5120))
    connections = (
        Connection("in", "input", "a", ones(1000, 1)),
        Connection("ab", "a", "b", Sparse(1000, np.arange(5121), np.arange(5120) % 1000, np.full(5120, 2))),
    )
    report = deploy.fit(IntegerNetwork((1,), populations, connections), "loihi1")
    assert [part[1:] for part in report.cores["a"]] == [(0, 819), (819, 1000)]
    assert report.layers[0].fullest["output_axons_per_core"] == 819 * 5


def test_layers_share_a_core_where_all_limits_hold_for_their_sum():
    def chain(*sizes: int) -> deploy.FitReport:
        names = [f"p{k}" for k in range(len(sizes))]
        populations = tuple(neurons(name, size) for name, size in zip(names, sizes, strict=True))
        parts = [
            Connection(
                f"c{k}", source, name, Sparse(inputs, np.arange(size + 1), np.zeros(size, int), np.full(size, 2))
            )
            for k, (inputs, size, source, name) in enumerate(
                zip([1, *sizes], sizes, ["input", *names], names, strict=False)
            )
        ]
        return deploy.fit(IntegerNetwork((1,), populations, tuple(parts)), "loihi1")

    report = chain(500, 524, 1)
    assert [report.cores[name][0][0] for name in ("p0", "p1", "p2")] == [0, 0, 1]
    assert report.total("cores") == 2
    assert report.fullest["neurons_per_core"] == 1024
    assert chain(500, 523, 1).total("cores") == 1
    # A third core is not opened for what has room on the first.
    assert [part[0] for part in chain(1000, 1000, 24, 24).cores.values() for part in part] == [0, 1, 0, 1]


@pytest.mark.parametrize("seed", range(8))
def test_every_neuron_lies_on_one_core_and_limits_hold(seed, tmp_path):
    """On a small chip of one's own, random networks are divided, and no core takes more than it may."""
    highest = {"neurons": 20, "synapse_bits": 40_000, "input_axons": 120, "output_axons": 60, "accumulators": 2048}
    path = tmp_path / "spec.toml"
    limits = [f'[limits.{n}_per_core]\nhigh = {high}\nkind = "hard"\nsource = "mine"\n' for n, high in highest.items()]
    path.write_text('name = "mine"\ntitle = "Mine"\nnode = "-"\ncitation = "Me"\n' + "".join(limits))
    net = draw.network(seed)
    report = deploy.fit(net, path, strict=False)
    for population in net.populations:
        parts = report.cores[population.name]
        assert [n for _, first, end in parts for n in range(first, end)] == list(range(population.size))
    broken = {problem.limit for problem in report.problems}
    for name, high in highest.items():
        assert report.fullest[f"{name}_per_core"] <= high or f"{name}_per_core" in broken
    assert sum(layer.synapse_bits for layer in report.layers) > 0


LARGE = single(ones(1024 * 128 + 1, 1))
MANY = IntegerNetwork(
    (1,),
    (neurons("out", 4),),
    tuple(
        Connection(f"c{k}", "input", "out", ones(4, 1), exponent=k % 9 - 1, bits=8 - 2 * (k // 9)) for k in range(17)
    ),
)
KERNEL = Conv(np.array([[[[-255, 254]]]]), (1, 4, 4))


@pytest.mark.parametrize(
    ("net", "target", "message"),
    [
        (LARGE, "loihi1", "loihi1: cores_per_chip is 129 in 'out', and 128 cores are allowed: take fewer neurons or"),
        (single(ones(2, 4097)), "loihi1", "input_axons_per_core is 4,097 in 'out', and 4,096 axons are allowed: take"),
        (
            single(Conv(np.full((1, 1, 70, 70), 2), (1, 70, 70)), neurons("out", 1)),
            "loihi1",
            "input_axons_per_core is 4,900 in 'out'",
        ),
        (MANY, "loihi1", "synapse_formats_per_core is 17 in 'out', and 16 formats are allowed: give the connections"),
        (single(ones(2, 2), exponent=8), "loihi1", "weight_exponent is 8 in 'in', and -7..7 of 2 are allowed: scale"),
        (single(ones(2, 2), exponent=-8), "loihi1", "weight_exponent is -8 in 'in', and -7..7 of 2 are allowed"),
        (single(KERNEL, neurons("out", 1, 4, 3)), "loihi2", "weight_bits is 9 in 'in', and 1..8 bits, the sign among"),
        (
            single(ones(2, 2), neurons("out", 2, dv=4096, bias=-4096)),
            "loihi1",
            r"decay_v is 4,096 in 'out', and 4,095 of 4096 .*; hard limits exceeded in all: 2; pass strict=False for",
        ),
        (single(ones(2, 2), neurons("out", 2, dv=4096)), "loihi1", "decay_v is 4,096 in 'out', and 4,095 of 4096 are"),
        (single(ones(2, 2), neurons("out", 2, bias=[3, -4096])), "loihi1", r"bias is -4,096..3 in 'out', and -4,095"),
    ],
)
def test_a_network_over_a_hard_limit_is_refused(net, target, message):
    with pytest.raises(InputError, match=message):
        deploy.fit(net, target)
    report = deploy.fit(net, target, strict=False)
    assert not report.fits
    assert "does not fit" in str(report)


@pytest.mark.parametrize("name", sorted(chip.LIMITS))
def test_every_limit_of_a_card_is_checked(tmp_path, name):
    """On a card with this limit alone, as low as can be, the limit is broken and named."""
    layers = (neurons("a", 4, du=[1, 2, 3, 4], vth=[1, 2, 3, 4], bias=9, bias_exponent=2), neurons("b", 3))
    connections = (
        Connection("in", "input", "a", ones(4, 2, delay=3), exponent=3),
        Connection("ab", "a", "b", ones(3, 4)),
    )
    net = IntegerNetwork((2,), layers, connections)
    text = 'name = "mine"\ntitle = "Mine"\nnode = "-"\ncitation = "Me"\n'
    path = tmp_path / "spec.toml"
    for kind in chip.KINDS:
        path.write_text(f'{text}[limits.{name}]\nhigh = 0\nkind = "{kind}"\nsource = "mine"\n')
        report = deploy.fit(net, path, strict=False)
        found = report.problems if kind == "hard" else report.warnings
        assert {problem.limit for problem in found} == {name}
        assert {problem.layer for problem in found} <= {"a", "b", "in", "ab"}
        assert not (report.warnings if kind == "hard" else report.problems)
        assert f"{kind} limit: {name} is " in str(report)
        if kind == "hard":
            with pytest.raises(
                InputError, match=rf"does not fit mine: {name} is [-\d.,]+ in '(a|b|in|ab)', and [-\d.,]+ "
            ):
                deploy.fit(net, path)
    path.write_text(f'{text}[limits.{name}]\nhigh = 10000000\nkind = "hard"\nsource = "mine"\n')
    assert deploy.fit(net, path).fits


def test_limits_with_a_known_answer_divide_layers(tmp_path):
    layers = (neurons("a", 4, du=[1, 1, 3, 4], vth=[1, 2, 3, 4]),)
    net = IntegerNetwork((2,), layers, (Connection("in", "input", "a", ones(4, 2)),))
    for name, first in (
        ("decay_profiles_per_core", 3),
        ("threshold_profiles_per_core", 2),
    ):
        path = tmp_path / "spec.toml"
        text = 'name = "mine"\ntitle = "Mine"\nnode = "-"\ncitation = "Me"\n'
        path.write_text(f'{text}[limits.{name}]\nhigh = 2\nkind = "hard"\nsource = "mine"\n')
        assert deploy.fit(net, path).cores["a"] == ((0, 0, first), (1, first, 4))


def test_the_weights_of_a_convolution_are_counted_without_their_common_power_of_two():
    def counted(*weights: int) -> tuple[int, int]:
        conv = Conv(np.array(weights).reshape(1, 1, 1, -1), (1, 1, 8))
        ranges = capacity.connection_ranges(Connection("in", "input", "out", conv))
        return ranges["weight_bits"][0], ranges["weight_exponent"][0]

    assert counted(-256, 254) == (8, 0)
    assert counted(-255, 254) == (9, 0)
    assert counted(-256 * 8, 254 * 8) == (8, 3)
    assert counted(1, 255) == (8, 0)
    assert counted(-1, -255) == (8, 0)
    assert counted(0, 0) == (1, 0)


def test_soft_limits_are_told_and_not_refused():
    net = single(ones(1, 1), neurons("out", 1, dv=4096))
    assert deploy.fit(net, "loihi2").fits
    many = deploy.fit(single(Sparse(1, np.arange(1_000_002), np.zeros(1_000_001, int), np.full(1_000_001, 2))))
    assert many.fits
    assert [problem.limit for problem in many.warnings] == ["neurons_per_chip"]
    assert "fits as far as is known, and exceeds soft limits" in str(many)
    assert "soft limit: neurons_per_chip is 1,000,001 in 'out', and 1,000,000 neurons are allowed" in str(many)


def test_a_report_is_a_table_and_plain_data():
    report = deploy.fit(single(ones(300, 100)))
    assert report.chip.name == "loihi2"
    rows = [line.split() for line in str(report).splitlines()]
    assert rows[2] == ["out", "1", "300", "30,000", "33,600", "B", "100", "0", "8", "8"]
    assert json.loads(json.dumps(report.to_dict()))["layers"][0]["synapses"] == 30_000


CONV = snnkit.Network(
    nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), snnkit.LIF(backend="reference"), nn.AvgPool2d(2), nn.Flatten(),
    nn.Linear(576, 10, bias=False), snnkit.Readout(backend="reference"),
)  # fmt: skip


def test_a_network_of_real_numbers_is_counted_without_calibration():
    with torch.no_grad():
        CONV[0].weight.fill_(0.5)
        CONV[0].weight[0, 0, 0, 0] = 1.0
        CONV[0].bias.zero_()
        CONV[5].weight.fill_(0.5)
        CONV[5].weight[:, 1:] = 0.0
    conv, last = deploy.fit(CONV, "loihi1", inputs=(1, 28, 28)).layers
    # Its weights become 254 and 128, which without their common power of two are 127 and 64.
    assert (conv.name, conv.neurons, conv.synapses, conv.weight_bits) == ("2", 4 * 24 * 24, 4 * 24 * 24 * 25, 7)
    # One pooled value is left, the mean of four neurons.
    assert (last.name, last.neurons, last.synapses, last.input_axons) == ("6", 10, 4 * 10, 4)


def test_delays_and_recurrence_of_real_numbers_are_counted():
    late = snnkit.DelayLinear(20, 30, max_delay=40)
    late.set_delay(30.0)
    again = snnkit.Recurrent(snnkit.LIF(backend="reference"), nn.Linear(30, 30, bias=False))
    net = snnkit.Network(late, again, nn.Linear(30, 5, bias=False), snnkit.Readout(backend="reference"))
    with torch.no_grad():
        for part in (late, again.connection, net[2]):
            part.weight.fill_(0.5)
    hidden, last = deploy.fit(net).layers
    assert (hidden.slots, hidden.ranges["delay"], hidden.synapses) == (32, (0, 30), 30 * 20 + 30 * 30)
    assert (hidden.input_axons, last.synapses) == (20 + 30, 150)


def test_a_quantised_network_takes_what_was_said_before():
    net = snnkit.Network(nn.Linear(20, 30, bias=False), snnkit.LIF(reset="hard", backend="reference"),
                         nn.Linear(30, 5, bias=False), snnkit.Readout(backend="reference"))  # fmt: skip
    with torch.no_grad():
        for part in (net[0], net[2]):
            part.weight.fill_(0.5)
    x = (torch.rand(8, 4, 20, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    before, after = deploy.fit(net), deploy.fit(deploy.quantise(net, calibration=x))
    for one, other in zip(before.layers, after.layers, strict=True):
        assert (one.neurons, one.cores, one.input_axons) == (other.neurons, other.cores, other.input_axons)


def test_delays_that_are_too_long_are_refused_before_and_after():
    late = snnkit.DelayLinear(3, 2, max_delay=100)
    late.set_delay(80.0)
    net = snnkit.Network(late, snnkit.LIF(backend="reference"))
    with pytest.raises(InputError, match="layer '0' has delays of up to 80 steps, and chips take 62"):
        deploy.fit(net, "loihi2")
    with pytest.raises(InputError, match="63"):
        single(ones(2, 2, delay=63))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: deploy.fit(snnkit.LIF(), "loihi2"),
            r"fit takes a snnkit.Network, or one in the chip's integers, not Spiking; type chip =",
        ),
        (
            lambda: deploy.fit(CONV, "loihi2"),
            r"the first layer does not tell the shape of the input; give it, such as inputs=\(2, 34, 34\)",
        ),
        (lambda: deploy.fit(CONV, "loihi2", inputs=7), r"inputs is 7; sizes are needed, such as inputs=\(2, 34, 34\)"),
        (lambda: deploy.fit(CONV, "loihi2", inputs=(7,)), r"layer '0' \(Conv2d\) does not take inputs of shape \[7\]"),
        (
            lambda: deploy.fit(single(ones(1, 1)), 3),
            "a chip is a name such as 'loihi2', or .*, not 3",
        ),
        (lambda: deploy.fit(single(ones(1, 1)), "loihi3"), "no chip 'loihi3'; did you mean 'loihi"),
        (lambda: deploy.fit(single(ones(1, 1)), "cmos45"), "the card of cmos45 has no limits; .*: loihi1, loihi2"),
    ],
)
def test_what_cannot_be_placed_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_shipped_cards_state_the_source_of_every_limit():
    loihi, second = chip.read("loihi1"), chip.read("loihi2")
    assert (loihi.limits["neurons_per_core"].high, loihi.limits["synapse_bits_per_core"].high) == (1024, 2**20)
    assert loihi.limits["accumulators_per_core"].kind == second.limits["neurons_per_core"].kind == "soft"
    assert (second.limits["delay"].high, second.limits["delay"].kind) == (62, "hard")
    for card in (loihi, second):
        assert all(re.search("[a-z]{4}", limit.source) for limit in card.limits.values())


CARD = """
name = "mine"
title = "Mine"
node = "7 nm"
citation = "Me"
[limits.delay]
low = 0
high = 30
kind = "hard"
source = "my bench"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limits.delay", "limits.delais", r"limits has the unknown key 'delais'; did you mean 'delay'\?"),
        ("high = 30\n", "", "limits.delay lacks high"),
        ("high = 30", "high = 3.5", "has high = 3.5; a value of type int is needed"),
        ("low = 0", "low = 31", "limits.delay needs a highest number of at least 31, and a source"),
        ('kind = "hard"', 'kind = "harsh"', r"has kind = 'harsh'; did you mean 'hard'\?; known: hard, soft"),
        ('"my bench"', '""', "limits.delay needs a highest number of at least 0, and a source"),
    ],
)
def test_wrong_limits_are_refused(tmp_path, old, new, message):
    path = tmp_path / "spec.toml"
    assert old in CARD
    path.write_text(CARD.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        chip.read(path)


def test_a_chip_without_costs_says_so():
    net = snnkit.Network(snnkit.IF(backend="reference"))
    with pytest.raises(InputError, match="loihi2 has no energy costs: none have been published; use chip='loihi1'"):
        deploy.energy(net, torch.ones(2, 1, 3), chip="loihi2")
