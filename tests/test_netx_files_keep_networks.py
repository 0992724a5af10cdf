"""A `.net` file gives the emulator's spikes: read back by us, and by lava-dl's NetX inside the Lava worker."""

import random
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from corruption import corrupt, edited
from torch import nn

import snnkit
from snnkit.deploy import Connection, Conv, Dense, IntegerNetwork, Population, Sparse, lava, netx, netx_layers, quantise
from snnkit.deploy.emulator.reference import pairs
from snnkit.errors import BackendError, FileError, InputError, SnnkitError
from snnkit.files import container


def weights(seed: int, *shape: int, low: int = -100, high: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape)


def images() -> IntegerNetwork:
    """Return conv, flatten, dense with a delay for each synapse, and dense with a connection onto itself."""
    draw = np.random.default_rng(0)
    conv = Conv(weights(1, 4, 2, 3, 2), (2, 6, 5), (2, 1), (1, 0))
    size = conv.n_outputs
    return IntegerNetwork(
        (2, 6, 5),
        (
            Population("a", conv.shape, draw.integers(500, 2000, size), 300, draw.integers(50, 90, size), 4, 5),
            Population("b", (12,), 1000, 200, 90, draw.integers(-3, 4, 12) * 8, 3),
            Population("c", (7,), 4095, 300, 80),
        ),
        (
            Connection("first", "input", "a", conv),
            Connection("second", "a", "b", Dense(weights(2, 12, size), draw.integers(0, 63, (12, size)))),
            Connection("third", "b", "c", Dense(weights(3, 7, 12))),
            Connection("own", "c", "c", Dense(weights(4, 7, 7))),
        ),
    )


def scaled() -> IntegerNetwork:
    """Return layers with exponents, sparse synapses, and weights of one sign."""
    listed = Sparse(8, [0, 0, *[8] * 11], range(8), weights(5, 8, low=5) * 4, delay=range(8))
    return IntegerNetwork(
        (3, 3),
        (Population("a", (8,), 1000, 200, 90), Population("b", (12,), 1000, 200, 40), Population("c", (3,), 9, 9, 30)),
        (
            Connection("first", "input", "a", Dense(weights(6, 8, 9, low=0, high=40)), exponent=2, sign="excitatory"),
            Connection("second", "a", "b", listed, exponent=-1, bits=6),
            Connection("third", "b", "c", Dense(weights(7, 3, 12, low=-50, high=90) * 2), exponent=-1),
        ),
        read="v",
        scale=64.0,
    )


NETWORKS = {"images": images, "scaled": scaled}


def spikes(chip: IntegerNetwork, steps: int = 30, batch: int = 2, rate: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(steps, batch, *chip.inputs, generator=generator) < rate).float()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_is_read_back_with_the_same_spikes(name: str, tmp_path) -> None:
    chip = NETWORKS[name]()
    netx.save(chip, tmp_path / "chip.net")
    back = netx.load(tmp_path / "chip.net")
    x = spikes(chip)
    ours, found = chip.record(x), back.record(x)
    assert ours.keys() == found.keys() and all(torch.equal(ours[key], found[key]) for key in ours)
    assert ours[chip.output.name].sum() > 10
    assert (back.read, back.scale, back.target) == (chip.read, chip.scale, chip.target)
    assert [part.name for part in back.connections] == [part.name for part in chip.connections]
    netx.save(back, tmp_path / "again.net")
    again = netx.load(tmp_path / "again.net")
    assert torch.equal(again.run(x)[0], back.run(x)[0])


@pytest.mark.lava
@pytest.mark.parametrize("name", NETWORKS)
def test_netx_itself_gives_the_same_spikes(name: str, tmp_path) -> None:
    chip = NETWORKS[name]()
    netx.save(chip, tmp_path / "chip.net")
    x = spikes(chip)
    found = lava.run_netx(tmp_path / "chip.net", x)
    assert torch.equal(found, chip.run(x)[0].flatten(2)) and found.sum() > 10


@pytest.mark.lava
def test_netx_resets_where_it_is_told_to(tmp_path) -> None:
    chip = replace(scaled(), connections=tuple(replace(c, synapses=plain(c)) for c in scaled().connections))
    netx.save(chip, tmp_path / "chip.net")
    x = spikes(chip, steps=12, batch=3, rate=0.5)
    stream = torch.cat([x.transpose(0, 1).flatten(0, 1).unsqueeze(1), x.new_zeros(3, 1, *chip.inputs)])
    # Neurons start afresh when the first input of a sample reaches them, one step later in each layer.
    found = lava.run_netx(tmp_path / "chip.net", stream, reset_interval=12, reset_offset=1)
    expected = replace(chip, read="spikes")(x)
    assert torch.equal(found[3:].view(3, 12, -1).transpose(0, 1).float(), expected) and expected.sum() > 10


def plain(connection: Connection) -> Dense:
    """Return synapses without delays."""
    return Dense(pairs(connection)[0])


@pytest.mark.lava
def test_what_netx_refuses_comes_with_its_traceback(tmp_path) -> None:
    (tmp_path / "chip.net").write_text("nothing")
    with pytest.raises(BackendError, match=r"(?s)the Lava worker failed:.*NetDict.*file signature not found"):
        lava.run_netx(tmp_path / "chip.net", torch.zeros(5, 1, 3))
    with pytest.raises(InputError, match=r"NetX needs a tensor \[T, B, features…\] of spikes"):
        lava.run_netx(tmp_path / "chip.net", torch.zeros(5))
    with pytest.raises(InputError, match=r"NetX needs spikes, 0 and 1, and the input holds other numbers; encode it"):
        lava.run_netx(tmp_path / "chip.net", torch.full((5, 1, 3), 0.5))


def biased() -> tuple[IntegerNetwork, torch.Tensor]:
    """Return the chip of a network with biases, as files of NetX keep them, and an input."""
    torch.manual_seed(0)
    layers = nn.Linear(12, 10), snnkit.LIF(tau=4.0, reset="hard"), nn.Linear(10, 6), snnkit.CubaLIF(reset="hard")
    net = snnkit.Network(*layers)
    with torch.no_grad():
        for k in (0, 2):
            net[k].weight.mul_(3)
    x = (torch.rand(20, 3, 12) < 0.4).float()
    return quantise(net, calibration=x, approximate=("early_bias",)), x


def test_networks_with_biases_are_kept_where_these_may_be_early(tmp_path) -> None:
    chip, x = biased()
    netx.save(chip, tmp_path / "chip.net")
    back = netx.load(tmp_path / "chip.net")
    assert torch.equal(back(x), chip(x)) and chip(x).sum() > 10
    assert any(population.bias.any() for population in back.populations)


@pytest.mark.lava
def test_netx_itself_has_early_biases(tmp_path) -> None:
    chip, x = biased()
    netx.save(chip, tmp_path / "chip.net")
    assert torch.equal(lava.run_netx(tmp_path / "chip.net", x), chip.run(x)[0])


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (
            [[[-128, -64], [-2, -8]]],
            "-128 would not stay as it is; use a scale at which the largest weight",
        ),
        ([[[0, 0]]], "all are 0, which it cannot scale"),
        ([[[1, 3]], [[-127, -5]]], "^$"),
        ([[[1, 3]], [[-129, -5]]], "it would take 9 bits for weights of one sign; use weights of fewer bits"),
        ([[[-127, 3]]], "^$"),
        ([[[-256, 254]]], "^$"),
        ([[[255, 1]]], "^$"),
        ([[[-255, -1]]], "^$"),
        ([[[-64, 0]]], "-64 would not stay as it is"),
        ([[[-100, 0]]], "^$"),
    ],
)
def test_what_netx_makes_of_weights_is_known(parts, reason: str) -> None:
    assert re.search(reason, netx_layers.changed([np.array(part) for part in parts]))


def small(**options) -> IntegerNetwork:
    out = Population("out", (2,), 4095, 100, 50)
    return IntegerNetwork(
        (3,), (out,), (Connection("c", "input", "out", Dense(np.array([[40, 20, -30], [60, -10, 10]])), **options),)
    )


OUT = small().output
OWN = Connection("own", "out", "out", Dense(np.array([[2, 4], [-6, 8]]), np.array([[1, 0], [0, 0]])))
REFUSED = {
    "connection 'c' is graded, and NetX's layers hear spikes": small(graded=True),
    "sums of connection 'c' are rounded down by its exponent -3, .* multiples of 8": small(exponent=-3),
    "with its exponent 5, reach from -960 to 1920, and NetX has -256..254": small(exponent=5),
    r"population 'out' starts at a membrane other than 0, .*; quantise with approximate=\('early_bias',\)": replace(
        small(), populations=(replace(OUT, v_start=5),)
    ),
    r"the bias of population 'out' is no multiple of 64 .*; quantise with approximate=\('early_bias',\), or": replace(
        small(), populations=(replace(OUT, bias=5),)
    ),
    "'out' hears itself, and a connection that ends there has delays": replace(
        small(), connections=(*small().connections, OWN)
    ),
    "NetX keeps chains of layers, and 'input' is not the only one before 'out'": replace(
        small(), connections=(*small().connections, replace(small().connections[0], name="d"))
    ),
    "a population is not in the chain from the input to": replace(
        small(), populations=(replace(OUT, name="lone"), OUT)
    ),
    "NetX would change the weights of connection 'c': all are 0": replace(
        small(), connections=(Connection("c", "input", "out", Dense(np.zeros((2, 3)))),)
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_netx_cannot_express_is_refused(reason: str, tmp_path) -> None:
    with pytest.raises(InputError, match=reason):
        netx.save(REFUSED[reason], tmp_path / "chip.net")
    assert not list(tmp_path.iterdir())


def test_only_integer_networks_are_kept(tmp_path) -> None:
    with pytest.raises(InputError, match="keeps integer networks, not Linear; quantise the network first"):
        netx.save(torch.nn.Linear(2, 2), tmp_path / "chip.net")  # pyright: ignore[reportArgumentType]


def test_corrupted_files_are_refused_or_the_same(tmp_path) -> None:
    path = tmp_path / "chip.net"
    netx.save(small(), path)
    good, draw, refused = path.read_bytes(), random.Random(1), 0
    for _ in range(1200):
        content = corrupt(good, draw)
        path.write_bytes(content)
        try:
            netx.load(path)
            assert content == good
        except FileError:
            refused += 1
    assert refused > 1000


def test_corrupted_files_that_are_signed_are_networks_or_refused(tmp_path) -> None:
    path = tmp_path / "chip.net"
    netx.save(small(), path)
    body, draw, outcomes = path.read_bytes()[container.HEADER :], random.Random(2), [0, 0]
    for _ in range(300):
        content = bytearray(container.HEADER) + corrupt(body, draw)
        container.seal(content)
        path.write_bytes(content)
        try:
            assert isinstance(netx.load(path), IntegerNetwork)
            outcomes[0] += 1
        except SnnkitError:
            outcomes[1] += 1
    assert outcomes[1] > 200


def without(name: str):
    def edit(file) -> None:
        del file[name]

    return edit


def holding(name: str, value):
    def edit(file) -> None:
        kinds = dict(file["layer/1/weight"].attrs)
        if name in file:
            del file[name]
        file[name] = value
        if not isinstance(value, np.bytes_):
            file[name].attrs.update({**kinds, "dtype": np.bytes_(np.asarray(value).dtype.name)})

    return edit


EDITS = {
    "layer 1 lacks 'weight'": without("layer/1/weight"),
    "layer 0 lacks 'shape'": without("layer/0/shape"),
    "/layer is not the only group, or does not hold layers numbered from 0": without("layer/0"),
    "there are fewer layers than names": without("layer/1"),
    "layer 1 has 'surplus', which is not known": holding("layer/1/surplus", np.int32(3)),
    "layer 1 is of type 'pool'": holding("layer/1/type", np.bytes_("pool")),
    "is 'RF'; needed is CUBA": holding("layer/1/neuron/type", np.bytes_("RF")),
    "weight of layer 1 is no array of whole numbers": holding("layer/1/weight", np.zeros((2, 3))),
    "reach from 0 to 300, which a chip's 8 bits do not hold": holding("layer/1/weight", np.full((2, 3), 300)),
    "type of layer 1 is no text": holding("layer/1/type", np.int32(3)),
    "vth of population 'out' holds": holding("layer/1/neuron/vThMant", np.int32(-3)),
}


@pytest.mark.parametrize("reason", EDITS)
def test_other_content_is_refused(reason: str, tmp_path) -> None:
    path = tmp_path / "chip.net"
    netx.save(small(), path)
    path.write_bytes(edited(path.read_bytes(), path, EDITS[reason]))
    with pytest.raises(FileError, match=rf"chip\.net is refused: .*{reason}"):
        netx.load(path)


def as_slayer(chip: IntegerNetwork, path) -> None:
    """Write a network as slayer does: no digest, float weights, texts of other types, delays of outputs, and more."""
    netx.save(chip, path.with_suffix(".ours"))
    with h5py.File(path.with_suffix(".ours")) as ours, h5py.File(path, "w") as file:
        file["simulation/Ts"] = 1
        for key, group in ours["layer"].items():
            layer = file.create_group(f"layer/{key}")
            for name, item in group.items():
                if isinstance(item, h5py.Group):
                    layer["neuron/type"] = "LOIHI"
                    for inner in ("iDecay", "vDecay", "vThMant"):
                        layer[f"neuron/{inner}"] = item[inner][()].astype(np.int64)
                    layer["neuron/refDelay"], layer["neuron/tauRho"] = 1, 0.5
                elif name == "type":
                    layer.create_dataset("type", (1,), "S10", [item[()]])
                elif name == "weight":
                    weight = item[()].astype(np.float32)
                    layer[name] = weight[..., None] if weight.ndim == 4 else weight
                else:
                    layer[name] = item[()]
            layer["inFeatures"] = 3


@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_others_are_read_when_asked_for(name: str, tmp_path) -> None:
    chip = NETWORKS[name]()
    as_slayer(chip, tmp_path / "slayer.net")
    x = spikes(chip)
    assert torch.equal(
        netx.load(tmp_path / "slayer.net", unsigned=True).run(x)[0].flatten(2), chip.run(x)[0].flatten(2)
    )
    with pytest.raises(FileError, match=r"slayer\.net is HDF5 without the header of snnkit"):
        netx.load(tmp_path / "slayer.net")
    with pytest.raises(FileError, match=r"is no HDF5 of another program; read files of snnkit without unsigned=True"):
        netx.load(tmp_path / "slayer.ours", unsigned=True)


@pytest.mark.lava
def test_netx_itself_reads_what_others_write_alike(tmp_path) -> None:
    as_slayer(images(), tmp_path / "slayer.net")
    x = spikes(images())
    expected = netx.load(tmp_path / "slayer.net", unsigned=True).run(x)[0]
    assert torch.equal(lava.run_netx(tmp_path / "slayer.net", x), expected) and expected.sum() > 10


def test_forms_that_only_others_write(tmp_path) -> None:
    chip = images()
    path = tmp_path / "slayer.net"
    as_slayer(chip, path)
    with h5py.File(path, "r+") as file:
        for name in ("layer/1/bias", "layer/1/dilation", "layer/3/delay"):
            del file[name]
        file["layer/1/bias"], file["layer/1/dilation"] = np.array([1.0, 2, 3, 4]), 1
        file["layer/3/delay"] = np.arange(12.0)
    back = netx.load(path, unsigned=True)
    first, second = back.populations[0], back.connections[1].synapses
    assert first.bias.reshape(4, 12).tolist() == [[k] * 12 for k in (1, 2, 3, 4)] and first.bias_exponent == 6
    assert isinstance(second, Dense) and second.delay is not None
    assert second.delay.tolist() == [[k] * 48 for k in range(12)]


OTHERS = {
    "layer 0 is an input with neurons, which are no layer of a chip": lambda f: f.update(
        {"layer/0/neuron/type": "CUBA"}
    ),
    "weight of layer 1 holds no whole numbers": lambda f: f["layer/1/weight"].__setitem__((0, 0), 0.5),
    "layer 1 is missing, or no group": lambda f: f.move("layer/1", "layer/7"),
    "layer 2 is of type 'average'": lambda f: f.update({"layer/2/type": "average", "layer/2/neuron/type": "CUBA"}),
    "/layer is not the only group": lambda f: f.pop("layer"),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_others_write_and_no_chip_has_is_refused(reason: str, tmp_path) -> None:
    as_slayer(small(), tmp_path / "slayer.net")
    with h5py.File(tmp_path / "slayer.net", "r+") as file:
        OTHERS[reason](file)
    with pytest.raises(FileError, match=rf"slayer\.net is refused: .*{reason}"):
        netx.load(tmp_path / "slayer.net", unsigned=True)
