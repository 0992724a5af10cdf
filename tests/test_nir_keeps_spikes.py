"""A network that goes through a NIR file comes back with the same spikes, and the file says what NIR means by it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.deploy.nir import fold, forms
from snnkit.errors import InputError
from snnkit.neuron import FAMILIES, variants

nir = pytest.importorskip("nir", reason="nir is not installed")


@pytest.fixture(autouse=True)
def one_thread(fixed_seeds: None) -> None:
    """Run on one thread: with more, networks this small spend their time waiting for each other."""
    torch.set_num_threads(1)


def neuron(draw: random.Random, width: int, *, soft: bool) -> snnkit.Spiking:
    reset = draw.choice(("hard", "soft")) if soft else "hard"
    several = draw.random() < 0.5

    def value(low: float, high: float) -> torch.Tensor:
        return torch.empty(width if several else ()).uniform_(low, high)

    hard = {"v_reset": value(-0.3, 0.2)} if reset == "hard" else {}
    match draw.choice(("IF", "LIF", "CubaLIF")):
        case "IF":
            return snnkit.IF(reset=reset, theta=value(0.3, 1.0), **hard)
        case "LIF":
            decay = draw.random() < 0.5
            given = {"tau": value(1.0, 6.0), "theta": value(0.3, 1.0), "v_rest": value(-0.2, 0.2)}
            return snnkit.LIF(reset=reset, input_decay=decay, **given, **hard)
        case _:
            decay = draw.random() < 0.5
            given = {"tau_syn": value(1.0, 4.0), "tau_mem": value(1.0, 6.0), "theta": value(0.3, 1.0)}
            return snnkit.CubaLIF(reset=reset, input_decay=decay, **given, **hard)


def delayed(draw: random.Random, inputs: int, outputs: int, *, recurrent: bool = False) -> snnkit.DelayLinear:
    return snnkit.DelayLinear(
        inputs,
        outputs,
        max_delay=draw.choice((0, 3, 9)),
        kind=draw.choice(("synaptic", "axonal", "dendritic")),
        taps=draw.choice((1, 1, 2)),
        bias=not recurrent and draw.random() < 0.5,
        learn=draw.random() < 0.5,
    )


def random_network(seed: int) -> tuple[snnkit.Network, tuple[int, ...], bool]:
    """Return a network, the shape of its input, and whether soft resets are in it."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    soft = draw.random() < 0.3
    layers: list[nn.Module] = []
    shape: tuple[int, ...] = (draw.randrange(3, 12),)
    width = shape[0]
    if draw.random() < 0.4:
        kernel, groups = draw.choice((3, 2, (3, 1), (1, 2))), draw.choice((1, 2))
        conv = nn.Conv2d(2, 4, kernel, stride=draw.choice((1, 2)), padding=draw.choice((0, 1)), groups=groups)
        layers += [conv, neuron(draw, 1, soft=soft)]
        layers += [nn.AvgPool2d(2, divisor_override=draw.choice((None, 1)))] if draw.random() < 0.5 else []
        layers += [nn.Flatten()]
        shape = (2, 8, 7)
        width = snnkit.Network(*layers)(torch.zeros(1, 1, *shape)).shape[-1]
    elif draw.random() < 0.3:
        layers += [nn.Conv1d(3, 4, 3, dilation=draw.choice((1, 2)), bias=False), neuron(draw, 1, soft=soft)]
        layers += [nn.Flatten()]
        shape = (3, 11)
        width = snnkit.Network(*layers)(torch.zeros(1, 1, *shape)).shape[-1]
    for _ in range(draw.randrange(1, 4)):
        wide = draw.randrange(3, 12)
        plain = draw.random() < 0.5
        layers.append(nn.Linear(width, wide, bias=draw.random() < 0.5) if plain else delayed(draw, width, wide))
        inner = neuron(draw, wide, soft=soft)
        if draw.random() < 0.4:
            back = delayed(draw, wide, wide, recurrent=True) if draw.random() < 0.5 else nn.Linear(wide, wide)
            inner = snnkit.Recurrent(inner, back)
        layers.append(inner)
        width = wide
    if draw.random() < 0.5:
        layers += [nn.Linear(width, 4), snnkit.Readout(tau=torch.rand(4) * 3 + 1, input_decay=draw.random() < 0.5)]
    for layer in layers:
        if isinstance(layer, snnkit.DelayLinear):
            nn.init.uniform_(layer.weight, -0.8, 1.2)
    return snnkit.Network(*layers).eval(), shape, soft


def outputs(net: snnkit.Network, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        recorded = net.eval().record(x)
    return [value for name, value in recorded.items() if "." not in name]


@pytest.mark.parametrize("seed", range(50))
def test_a_network_comes_back_with_the_same_spikes(seed: int, tmp_path: Path) -> None:
    net, shape, soft = random_network(seed)
    dt = random.Random(seed).choice((1e-3, 1e-4, 0.7e-3))
    snnkit.deploy.nir.save(net, tmp_path / "net.nir", dt=dt, shape=shape, soft_reset="metadata" if soft else "refuse")
    again = snnkit.deploy.nir.load(tmp_path / "net.nir")
    x = (torch.rand(40, 3, *shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float() * 2
    ours, theirs = outputs(net, x), outputs(again, x)
    assert len(ours) == len(theirs) == len(net)
    assert any(bool(y.any()) for y in ours[1:])
    for k, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(one, other), f"layer {k}, {type(net[k]).__name__}: {int((one != other).sum())} differ"


@pytest.mark.parametrize("seed", range(8))
def test_the_public_reader_reads_the_same_graph(seed: int, tmp_path: Path) -> None:
    net, shape, soft = random_network(seed)
    snnkit.deploy.nir.save(net, tmp_path / "net.nir", shape=shape, soft_reset="metadata" if soft else "refuse")
    graph = nir.read(tmp_path / "net.nir", type_check=False)
    x = (torch.rand(20, 2, *shape) < 0.4).float()
    again = snnkit.deploy.nir.from_graph(graph)
    assert torch.equal(outputs(net, x)[-1], outputs(again, x)[-1])
    assert graph.metadata["dt"] == 1e-3 and graph.metadata["scheme"] == "euler"


def node(net: snnkit.Network, name: str, dt: float = 1e-3, **options):
    return snnkit.deploy.nir.to_graph(net, dt=dt, **options).nodes[name]


def test_times_are_steps_times_dt() -> None:
    net = snnkit.Network(
        nn.Linear(2, 3),
        snnkit.LIF(tau=4.0, theta=0.5, v_rest=0.25, v_reset=-0.5, reset="hard", input_decay=True),
        nn.Linear(3, 3),
        snnkit.LIF(tau=4.0, reset="hard", input_decay=False),
        nn.Linear(3, 3),
        snnkit.CubaLIF(tau_syn=2.0, tau_mem=8.0, reset="hard"),
        nn.Linear(3, 3),
        snnkit.IF(theta=1.0, reset="hard"),
        nn.Linear(3, 3),
        snnkit.Readout(tau=5.0),
    )
    nodes = snnkit.deploy.nir.to_graph(net, dt=2e-3).nodes
    # tau v' = v_leak - v + r x, one Euler step of dt
    assert np.allclose(nodes["1"].tau, 8e-3, rtol=1e-12) and (nodes["1"].r == 1).all()
    assert (nodes["1"].v_leak == 0.25).all() and (nodes["1"].v_reset == -0.5).all() and nodes["1"].tau.shape == (3,)
    assert (nodes["3"].r == 4).all() and np.allclose(nodes["3"].tau, 8e-3, rtol=1e-12)
    # du = 1 / 2, dv = 1 / 8: tau_syn = dt / du, w_in = 1 / du, tau_mem = dt / dv, r = 1 / dv
    assert np.allclose(nodes["5"].tau_syn, 2e-3 / 0.5) and np.allclose(nodes["5"].tau_mem, 2e-3 * 8)
    assert (nodes["5"].w_in == 2).all() and (nodes["5"].r == 8).all()
    assert np.allclose(nodes["7"].r, 1 / 2e-3) and np.allclose(nodes["9"].tau, 1e-2) and (nodes["9"].r == 1).all()


def test_nir_fires_above_its_threshold_and_we_at_ours() -> None:
    net = snnkit.Network(nn.Linear(1, 1, bias=False), snnkit.IF(theta=1.0, reset="hard"))
    nn.init.constant_(net[0].weight, 0.5)
    written = node(net, "1").v_threshold
    assert np.float32(written[0]) == np.nextafter(np.float32(1), np.float32(0)) and written[0] < 1
    graph = snnkit.deploy.nir.to_graph(net)
    graph.nodes["1"].v_threshold = np.ones(1)
    graph.metadata = {}
    x = torch.ones(4, 1, 1)
    assert net(x).flatten().tolist() == [0, 1, 0, 1]
    # a membrane at 1 does not pass a threshold of 1 in NIR, and does in SpikingJelly
    above = snnkit.deploy.nir.from_graph(graph, dt=1e-3)
    assert above(x).flatten().tolist() == [0, 0, 1, 0]
    at = snnkit.deploy.nir.from_graph(graph, dt=1e-3, writer="spikingjelly")
    assert at(x).flatten().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("threshold", [1.0, 0.1, -0.3, 0.0, 1 / 3])
def test_thresholds_between_and_on_float32(threshold: float) -> None:
    passed = forms.above(np.array(threshold))
    before = np.nextafter(np.float32(passed), np.float32(-np.inf))
    assert passed > threshold and before <= threshold and np.float32(passed) == passed
    theta = np.array(np.float32(threshold), np.float64)
    assert forms.above(forms.below(theta)) == theta


def test_every_neuron_has_a_form_or_is_refused_by_name() -> None:
    known = set()
    for family in FAMILIES.values():
        for options, described in variants(family):
            form = forms.form_of(described)
            net = snnkit.Network(nn.Linear(2, 2), snnkit.Spiking(described, learn=()))
            if described.name == "plif":
                assert snnkit.deploy.nir.to_graph(net, soft_reset="metadata").nodes["1"].tau.tolist() == [2e-3, 2e-3]
            elif form is None:
                with pytest.raises(InputError, match=r"layer '1'.*no node for the equations of"):
                    snnkit.deploy.nir.to_graph(net, soft_reset="metadata")
            else:
                known.add((described.name, options.get("reset")))
                snnkit.deploy.nir.to_graph(net, soft_reset="metadata")
    assert known == {(n, r) for n in ("lif", "cuba_lif", "integrate_fire") for r in ("soft", "hard")} | {
        ("readout", None)
    }


GENERAL = {
    "LIF": nir.LIF(*(np.array([v, v]) for v in (4e-3, 3.0, 0.1, 0.8, -0.1))),
    "LI": nir.LI(*(np.array([v, v]) for v in (4e-3, 3.0, 0.1))),
    "CubaLIF": nir.CubaLIF(*(np.array([v, v]) for v in (2e-3, 4e-3, 3.0, 0.1, 0.8, -0.1)), w_in=np.array([1.5, 1.5])),
    "CubaLI": nir.CubaLI(*(np.array([v, v]) for v in (2e-3, 4e-3, 3.0, 0.1)), w_in=np.array([1.5, 1.5])),
    "IF": nir.IF(*(np.array([v, v]) for v in (300.0, 0.8, -0.1))),
    "I": nir.I(np.array([300.0, 300.0])),
    "Threshold": nir.Threshold(np.array([0.5, 0.5])),
    "Scale": nir.Scale(np.array([0.5, 2.0])),
}


@pytest.mark.parametrize("kind", GENERAL)
def test_nodes_with_any_parameters_take_euler_steps(kind: str, tmp_path: Path) -> None:
    """The expected values are a loop over NIR's equations in float64."""
    node, dt = GENERAL[kind], 1e-3
    graph = nir.NIRGraph.from_list(nir.Input({"input": np.array([2])}), node, nir.Output({"output": np.array([2])}))
    net = snnkit.deploy.nir.from_graph(graph, dt=dt)
    x = torch.rand(30, 1, 2, dtype=torch.float64)
    current = v = np.zeros(2)
    for t in range(30):
        drive = x[t, 0].numpy()
        if kind.startswith("Cuba"):
            current = current + dt / node.tau_syn * (node.w_in * drive - current)
            v = v + dt / node.tau_mem * (node.v_leak - v + node.r * current)
        elif kind in ("LIF", "LI"):
            v = v + dt / node.tau * (node.v_leak - v + node.r * drive)
        elif kind in ("IF", "I"):
            v = v + dt * node.r * drive
        else:
            v = drive * node.scale if kind == "Scale" else drive
        y = v
        if kind in ("LIF", "CubaLIF", "IF", "Threshold"):
            y = (v > (node.threshold if kind == "Threshold" else node.v_threshold)).astype(float)
            v = np.where(y > 0, getattr(node, "v_reset", v), v)
        found = net.record(x)["0"][t, 0].numpy()
        assert np.allclose(found, y, rtol=1e-5, atol=1e-6), f"step {t}"
    # and what was read is written again
    snnkit.deploy.nir.save(net, tmp_path / "again.nir", shape=(2,))


def test_delays_are_branches_and_recurrence_is_a_cycle() -> None:
    layer = snnkit.DelayLinear(2, 2, max_delay=5)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).unsqueeze(-1))
        layer.set_delay(torch.tensor([[0.0, 3.0], [3.0, 5.0]]).unsqueeze(-1))
    inner = snnkit.Recurrent(snnkit.LIF(reset="hard"), nn.Linear(2, 2, bias=False))
    graph = snnkit.deploy.nir.to_graph(snnkit.Network(layer, inner), dt=1e-3)
    found = {name: node for name, node in graph.nodes.items() if isinstance(node, nir.Delay)}
    assert {name: node.delay.tolist() for name, node in found.items()} == {
        "0.delay_1": [3e-3, 3e-3],
        "0.delay_2": [5e-3, 5e-3],
    }
    assert graph.nodes["0.weight_0"].weight.tolist() == [[1, 0], [0, 0]]
    assert graph.nodes["0.weight_1"].weight.tolist() == [[0, 2], [3, 0]]
    assert graph.nodes["0.weight_2"].weight.tolist() == [[0, 0], [0, 4]]
    assert {("1.layer", "1.connection"), ("1.connection", "1.layer")} <= set(graph.edges)
    assert graph.metadata["recurrence"] == "one step"


@pytest.mark.parametrize("norm", [True, False])
def test_batch_normalisation_is_folded(norm: bool, tmp_path: Path) -> None:
    normed = [nn.BatchNorm2d(4, affine=norm), nn.BatchNorm1d(5, affine=norm), nn.BatchNorm1d(3, affine=norm)]
    for module in normed:
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)
        if norm:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    net = (
        snnkit.Network(
            nn.Sequential(nn.Conv2d(2, 4, 3, bias=norm), normed[0]),
            snnkit.LIF(reset="hard"),
            nn.Dropout2d(0.5),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64, 5),
            normed[1],
            snnkit.LIF(reset="hard"),
            snnkit.DelayLinear(5, 3, max_delay=4),
            normed[2],
            snnkit.Readout(),
        )
        .double()
        .eval()
    )
    x = (torch.rand(12, 2, 2, 6, 6) < 0.3).double()
    assert torch.allclose(net(x), fold(net)(x), rtol=1e-10, atol=1e-12)
    net = net.float()
    snnkit.deploy.nir.save(net, tmp_path / "net.nir", shape=(2, 6, 6))
    again = snnkit.deploy.nir.load(tmp_path / "net.nir")
    assert torch.equal(again(x.float()), fold(net)(x.float())) and len(again) == 7


@pytest.mark.parametrize("decay", [True, False])
def test_a_time_constant_behind_a_sigmoid_is_written_as_it_is(decay: bool, tmp_path: Path) -> None:
    options = {"reset": "hard", "input_decay": decay, "v_reset": -0.1}
    net = snnkit.Network(
        nn.Linear(4, 6),
        snnkit.PLIF(w=torch.linspace(-2, 2, 6), theta=0.3, **options),
        nn.Linear(6, 5),
        snnkit.Recurrent(snnkit.PLIF(w=-0.7, theta=0.2, **options), nn.Linear(5, 5)),
    )
    snnkit.deploy.nir.save(net, tmp_path / "net.nir")
    again = snnkit.deploy.nir.load(tmp_path / "net.nir")
    assert again[1].neuron.name == "lif"
    torch.testing.assert_close(again[1].values()["tau"], 1 / torch.linspace(-2, 2, 6).sigmoid())
    x = (torch.rand(20, 3, 4) < 0.5).float()
    assert torch.equal(again(x), net(x)) and net(x).any()


def test_a_soft_reset_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    net = snnkit.Network(nn.Linear(3, 4), snnkit.LIF(tau=3.0, theta=0.2), nn.Linear(4, 2), snnkit.IF(theta=0.1))
    with pytest.raises(InputError, match=r"layer '1' \(lif\) resets softly.*reset='hard', or give soft_reset='meta"):
        snnkit.deploy.nir.save(net, tmp_path / "net.nir")
    assert not (tmp_path / "net.nir").exists()
    snnkit.deploy.nir.save(net, tmp_path / "net.nir", soft_reset="metadata")
    x = torch.rand(20, 2, 3) * 3
    assert torch.equal(net(x), snnkit.deploy.nir.load(tmp_path / "net.nir")(x))
    graph = nir.read(tmp_path / "net.nir")
    assert graph.metadata["reset"] == "soft in part" and (graph.nodes["1"].v_reset == 0).all()


def test_an_export_that_does_not_come_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snnkit.deploy.nir import store

    (tmp_path / "net.nir").write_bytes(b"old")
    original = store.to_graph

    def wrong(*arguments, **options):
        graph = original(*arguments, **options)
        graph.nodes["1"].v_threshold = graph.nodes["1"].v_threshold + 0.1
        return graph

    monkeypatch.setattr(store, "to_graph", wrong)
    net = snnkit.Network(nn.Linear(8, 16), snnkit.LIF(tau=1.5, theta=0.3, reset="hard"))
    with pytest.raises(InputError, match=r"layer of neurons 0 gives other outputs .*: \d+ of 768; nothing was written"):
        snnkit.deploy.nir.save(net, tmp_path / "net.nir")
    assert (tmp_path / "net.nir").read_bytes() == b"old"
