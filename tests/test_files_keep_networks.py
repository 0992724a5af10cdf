"""A network that was saved and loaded is the same network: outputs to the bit, graph, parameters, notes."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import conformance
import h5py
import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit import files
from snnkit.neuron import Neuron, Param, surrogate
from snnkit.train import build

CATALOGUE = dict(conformance.catalogue())
# The children write a file and nothing else, whatever threads the parent has.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def again(net: snnkit.Network) -> snnkit.Network:
    return files.from_bytes(files.to_bytes(net))


def assert_same(net: snnkit.Network, other: snnkit.Network, x: torch.Tensor) -> None:
    assert repr(other) == repr(net)
    assert [m.training for m in other.modules()] == [m.training for m in net.modules()]
    mine, theirs = dict(net.named_parameters()), dict(other.named_parameters())
    assert list(theirs) == list(mine)
    assert {name: p.requires_grad for name, p in theirs.items()} == {n: p.requires_grad for n, p in mine.items()}
    tensors, found = net.state_dict(), other.state_dict()
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    with torch.no_grad():
        (y, state), (z, after) = net.run(x), other.run(x)
    assert torch.equal(y, z)
    assert json.dumps(after, default=torch.Tensor.tolist) == json.dumps(state, default=torch.Tensor.tolist)


@pytest.mark.parametrize("label", CATALOGUE)
def test_every_neuron_comes_back(label: str) -> None:
    neuron = CATALOGUE[label]
    layer = snnkit.Spiking(
        neuron, learn=tuple(neuron.params)[:1], surrogate=surrogate.triangle(0.5), backend="reference"
    )
    back = again(snnkit.Network(nn.Linear(3, 5), layer))
    found = back[1]
    assert isinstance(found, snnkit.Spiking)
    assert found.neuron == neuron and found.neuron.to_dict() == neuron.to_dict()
    assert found.surrogate == layer.surrogate
    assert (found.learn, found.detach_reset, found.backend) == (layer.learn, True, "reference")
    net = snnkit.Network(*back)
    net[0].weight.data *= 20
    assert_same(net, again(net), torch.rand(6, 2, 3))


@pytest.mark.parametrize("make", surrogate.SURROGATES.values(), ids=list(surrogate.SURROGATES))
def test_every_surrogate_comes_back(make) -> None:
    layer = snnkit.LIF(surrogate=make(1.5), detach_reset=False)
    found = again(snnkit.Network(layer))[0]
    assert found.surrogate == layer.surrogate and found.surrogate.reference == layer.surrogate.reference
    assert found.detach_reset is False


def test_parameters_of_each_neuron_and_learnt_ones_come_back_within_their_bounds() -> None:
    layer = snnkit.CubaLIF(tau_syn=torch.tensor([1.5, 2.5, 3.5]), learn=("tau_syn", "tau_mem"), backend="reference")
    with torch.no_grad():
        layer.param_tau_syn[0] = 0.25
    net = snnkit.Network(layer)
    x = torch.rand(6, 2, 3)
    back = again(net)
    assert back[0].param_tau_syn.tolist() == [1.0, 2.5, 3.5]
    assert isinstance(back[0].param_tau_syn, nn.Parameter) and isinstance(back[0].param_theta, torch.Tensor)
    assert torch.equal(back(x), net(x))
    assert_same(back, again(back), x)


def test_nested_recurrent_and_mixed_networks_come_back() -> None:
    net = snnkit.Network(
        nn.Sequential(nn.Linear(6, 4, bias=False), nn.LayerNorm(4), nn.Identity()),
        snnkit.Network(snnkit.ALIF(backend="reference"), nn.Dropout(0.3)),
        snnkit.Recurrent(snnkit.LIF(tau=3.0, backend="reference"), nn.Linear(4, 4)),
        nn.Linear(4, 2),
        snnkit.Readout(backend="reference"),
    ).eval()
    net[0][0].weight.requires_grad_(False)
    net[3].train()
    assert_same(net, again(net), torch.rand(5, 3, 6))
    assert_same(snnkit.Network(net), again(snnkit.Network(net)), torch.rand(5, 3, 6))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_come_back(axes: int) -> None:
    def of(name: str) -> type[nn.Module]:
        return getattr(nn, f"{name}{axes}d")

    net = snnkit.Network(
        of("Conv")(2, 4, 3, stride=2, padding=(1,) * axes, groups=2, bias=False, padding_mode="circular"),
        of("BatchNorm")(4, momentum=None),
        snnkit.IF(backend="reference"),
        of("Conv")(4, 3, 3, padding="same", dilation=2),
        of("AvgPool")(2, stride=1, count_include_pad=False),
        of("MaxPool")(2, ceil_mode=True),
        nn.ReLU(),
        of("AdaptiveAvgPool")((2,) * axes),
        nn.Flatten(),
        nn.Linear(3 * 2**axes, 2),
    )
    x = torch.rand(3, 2, 2, *(12,) * axes)
    net(x)
    assert net[1].num_batches_tracked == 1
    assert_same(net.eval(), again(net), x)


IMAGE = (2, 4, 6, 6)
KINDS = {
    "ConvTranspose1d": (nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1), (2, 4, 6)),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 2, (3, 2), dilation=2, groups=2, bias=False), IMAGE),
    "GroupNorm": (nn.GroupNorm(2, 4, eps=1e-3), IMAGE),
    "GroupNorm, plain": (nn.GroupNorm(4, 4, affine=False), IMAGE),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(3), (2, 4, 6)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((None, 2)), IMAGE),
    "Dropout1d": (nn.Dropout1d(0.4), (2, 4, 6)),
    "Dropout2d": (nn.Dropout2d(0.4), IMAGE),
    "Unflatten": (nn.Unflatten(1, (2, 2)), IMAGE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_torch_comes_back(kind: str) -> None:
    module, shape = KINDS[kind]
    net = snnkit.Network(module).eval()
    assert_same(net, again(net), torch.rand(3, *shape))


def test_what_a_recipe_may_name_can_be_stored() -> None:
    assert set(build._TORCH) <= set(files.LAYERS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_come_back(dtype: torch.dtype) -> None:
    net = snnkit.Network(nn.Linear(3, 4), snnkit.ExponentialIF(learn=("tau",), backend="reference")).to(dtype)
    assert_same(net, again(net), torch.rand(5, 2, 3, dtype=dtype))


def test_an_empty_network_comes_back() -> None:
    assert len(again(snnkit.Network())) == 0


OWN = Neuron(
    name="ζ",
    states={"größe": 0.25, "λ": 0.0},
    params={"tau_é": Param(2.0, low=1.0, learn=True), "learn": 0.5, "class_": Param(1.0, high=9.0)},
    update=["δ = größe - λ", "größe = größe + (x - δ) / tau_é", "λ = learn * λ"],
    spike="größe - class_",
    reset=["größe = größe - s * class_", "λ = λ + s"],
    reference="written down — once",
)


def test_a_neuron_of_ones_own_loads_where_its_module_is_not(tmp_path: Path, run_python) -> None:
    net = snnkit.Network(nn.Linear(3, 4), snnkit.Spiking(OWN, class_=torch.tensor([0.5, 1, 1, 2]), backend="reference"))
    x = torch.rand(20, 2, 3) * 5
    assert net(x).sum() > 0
    assert_same(net, again(net), x)
    snnkit.save(net, tmp_path / "net.h5")
    torch.save({"x": x, "y": net(x).detach()}, tmp_path / "run.pt")
    code = (
        "import snnkit, torch; run = torch.load('run.pt', weights_only=True); net = snnkit.load('net.h5');"
        "print(net[1].neuron.to_dict()); assert torch.equal(net(run['x']), run['y']); net(run['x']).sum().backward()"
    )
    done = run_python("-X", "utf8", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(OWN.to_dict())


def test_h5py_alone_reads_a_network(tmp_path: Path) -> None:
    net = snnkit.Network(
        nn.Linear(3, 2), snnkit.LIF(tau=4.0, learn=("tau",)), snnkit.Recurrent(snnkit.IF(), nn.Linear(2, 2))
    )
    snnkit.save(net.bfloat16(), tmp_path / "net.h5", metadata={"accuracy": 0.5})
    with h5py.File(tmp_path / "net.h5") as file:
        assert {
            name: value.decode() for name, value in file.attrs.items() if name in ("format", "snnkit", "torch")
        } == {
            "format": "snnkit network",
            "snnkit": snnkit.__version__,
            "torch": torch.__version__,
        }
        assert file.attrs["version"] == files.FORMAT
        layers = json.loads(file["graph"][()])["layers"]
        assert [layer["type"] for layer in layers] == ["Linear", "Spiking", "Recurrent"]
        assert layers[0]["arguments"] == {"in_features": 3, "out_features": 2, "bias": True}
        assert layers[1]["neuron"]["update"] == ["v = v + (x - (v - v_rest)) / tau"]
        weight, tau = file["parameters/0/weight"], file["parameters/1/tau"]
        np.testing.assert_array_equal(weight[()], net[0].weight.detach().float().numpy())
        assert (weight.attrs["units"], weight.attrs["dtype"], weight.attrs["trainable"]) == (b"1", b"bfloat16", 1)
        assert (tau[()], tau.attrs["units"]) == (4.0, b"steps")
        assert "trainable" not in file["parameters/1/theta"].attrs
        assert file["parameters/2/layer/theta"][()] == 1.0
        assert json.loads(file["metadata"][()]) == {"accuracy": 0.5}


def test_the_same_network_gives_the_same_bytes() -> None:
    net = snnkit.Network(nn.Linear(3, 2), snnkit.LIF(learn=("tau",)))
    content = files.to_bytes(net, created=WHEN)
    assert files.to_bytes(files.from_bytes(content), created=WHEN) == content
    later = files.to_bytes(net, created=datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert len(later) == len(content)
    # The digest, the year, and the checksum that HDF5 keeps of the attributes around it.
    assert 0 < sum(a != b for a, b in zip(content, later, strict=True)) <= 32 + 1 + 4


def test_a_file_says_where_it_came_from(tmp_path: Path) -> None:
    notes = {"recipe": {"epochs": 3, "rates": [0.5, 1e-3]}, "who": "Ω", "good": True, "none": None}
    before = datetime.now(UTC).replace(microsecond=0)
    snnkit.save(snnkit.Network(snnkit.LIF()), tmp_path / "net.h5", metadata=notes)
    found = files.about(tmp_path / "net.h5")
    assert found.metadata == notes
    assert (found.kind, found.format, found.snnkit, found.torch) == (
        "network",
        1,
        snnkit.__version__,
        torch.__version__,
    )
    assert before <= found.created <= datetime.now(UTC)
    assert files.about(tmp_path / "net.h5").created.tzinfo is not None


def test_loading_leaves_torch_as_it_was(tmp_path: Path) -> None:
    content = files.to_bytes(snnkit.Network(nn.Linear(3, 2), nn.Conv1d(2, 2, 1), snnkit.LIF()))
    state = torch.get_rng_state()
    net = files.from_bytes(content)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(tensor.device.type == "cpu" for tensor in net.state_dict().values())
    assert torch.empty(1).device.type == "cpu"


def test_saving_through_a_link_replaces_the_file_behind_it(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "net.h5").write_bytes(b"old")
    (tmp_path / "best.h5").symlink_to(tmp_path / "runs" / "net.h5")
    snnkit.save(snnkit.Network(snnkit.LIF()), tmp_path / "best.h5")
    assert (tmp_path / "best.h5").is_symlink()
    assert len(snnkit.load(tmp_path / "runs" / "net.h5")) == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["net.h5"]


@forks
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["before", "half", "all"])
def test_a_write_that_is_killed_leaves_the_old_file(tmp_path: Path, share: float) -> None:
    path = tmp_path / "net.h5"
    snnkit.save(snnkit.Network(snnkit.LIF(tau=3.0)), path)
    content = files.to_bytes(snnkit.Network(snnkit.LIF(tau=5.0)))

    class Dies:
        def __init__(self, file) -> None:
            self.file = file

        def write(self, data: bytes) -> None:
            self.file.write(data[: int(len(data) * share)])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        replacing = files.container.replacing

        @contextlib.contextmanager
        def dying(path: Path) -> Iterator[Dies]:
            with replacing(path) as file:
                yield Dies(file)

        files.container.replacing = dying
        files.container.write_file(path, content)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert snnkit.load(path)[0].param_tau == 3.0
    (left,) = (found for found in tmp_path.iterdir() if found != path)
    assert left.suffix == ".part"
    if share < 1:
        with pytest.raises(snnkit.SnnkitError, match=r"is empty|is truncated"):
            snnkit.load(left)


@forks
def test_killed_at_any_moment_a_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    contents = [files.to_bytes(snnkit.Network(nn.Linear(400, 400), snnkit.LIF(tau=tau))) for tau in (3.0, 5.0)]
    files.container.write_file(path, contents[0])
    seen = set()
    for k in range(12):
        child = os.fork()
        if child == 0:
            while True:
                for content in contents:
                    files.container.write_file(path, content)
        time.sleep(0.01 + 0.007 * k)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.add(float(snnkit.load(path)[1].param_tau))
    assert seen <= {3.0, 5.0}
