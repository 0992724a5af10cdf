"""Our NIR files give the same spikes in other frameworks, or are refused with the reason; theirs give them here."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InputError

nir = pytest.importorskip("nir", reason="nir is not installed")


@pytest.fixture(autouse=True)
def one_thread(fixed_seeds: None) -> None:
    """Run on one thread: with more, networks this small spend their time waiting for each other."""
    torch.set_num_threads(1)


def lif(**options: Any) -> snnkit.Spiking:
    return snnkit.LIF(**({"tau": 2.0, "theta": 0.4, "reset": "hard"} | options))


def dense(first: nn.Module, second: nn.Module) -> snnkit.Network:
    return snnkit.Network(nn.Linear(6, 8), first, nn.Linear(8, 4, bias=False), second)


def spatial(*layers: nn.Module) -> snnkit.Network:
    return snnkit.Network(*layers, lif())


def cuba(**options: Any) -> snnkit.Spiking:
    return snnkit.CubaLIF(**({"tau_syn": 2.0, "tau_mem": 4.0, "theta": 0.4, "reset": "hard"} | options))


def mapped() -> snnkit.Recurrent:
    return snnkit.Recurrent(lif(), nn.Linear(8, 8, bias=False))


EACH = torch.linspace(1.5, 4.0, 8)
NETWORKS = {
    "IF": lambda: dense(snnkit.IF(theta=0.5, reset="hard"), snnkit.IF(theta=0.5, reset="hard")),
    "LIF, input_decay": lambda: dense(lif(), lif(tau=4.0, theta=0.2)),
    "LIF, not input_decay": lambda: dense(lif(input_decay=False), lif(tau=4.0, input_decay=False)),
    "CubaLIF, not input_decay": lambda: dense(cuba(), cuba()),
    "CubaLIF, input_decay": lambda: dense(cuba(input_decay=True, theta=0.1), cuba(input_decay=True, theta=0.05)),
    "v_reset": lambda: dense(lif(v_reset=-0.25, v_rest=-0.25), lif()),
    "v_reset alone": lambda: dense(lif(v_reset=-0.25), lif()),
    "v_rest": lambda: dense(lif(v_rest=0.125), lif()),
    "each": lambda: dense(lif(tau=EACH), lif()),
    "each, input whole": lambda: dense(lif(tau=EACH, input_decay=False), lif(input_decay=False)),
    "each theta": lambda: dense(lif(theta=EACH / 4), lif()),
    "Readout": lambda: dense(lif(), snnkit.Readout()),
    "delays": lambda: snnkit.Network(snnkit.DelayLinear(6, 4, max_delay=3), lif()),
    "Recurrent": lambda: snnkit.Network(nn.Linear(6, 8), mapped(), nn.Linear(8, 4), lif(theta=0.2)),
    "Conv1d": lambda: spatial(nn.Conv1d(2, 4, 3)),
    "Conv2d": lambda: spatial(nn.Conv2d(2, 4, 3, stride=2, padding=1), lif(theta=0.1), nn.Conv2d(4, 3, 2)),
    "Conv2d, groups": lambda: spatial(nn.Conv2d(2, 4, 3, groups=2)),
    "Conv2d, not square": lambda: spatial(nn.Conv2d(2, 4, (3, 1))),
    "AvgPool2d": lambda: spatial(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2)),
    "SumPool2d": lambda: spatial(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2, divisor_override=1)),
    "SumPool2d, padded": lambda: spatial(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2, padding=1, divisor_override=1)),
    "Flatten": lambda: snnkit.Network(nn.Conv2d(2, 4, 3), lif(theta=0.1), nn.Flatten(), nn.Linear(144, 4), lif()),
    "soft": lambda: dense(snnkit.LIF(theta=0.3), snnkit.LIF(theta=0.3)),
}
CHECK = "Type inference error: type mismatch"
EXPECTED = {
    "spikingjelly": {
        "CubaLIF, input_decay": "CubaLIF.r must equal tau_mem",
        "v_reset": "the membrane of LIF '1' starts at v_reset there, and at 0 here",
        "v_reset alone": "the membrane of LIF '1' starts at v_reset there, and at 0 here",
        "v_rest": "v_leak must equal v_reset",
        "each": "tau must be uniform across all neurons",
        "each, input whole": "tau must be uniform across all neurons",
        "each theta": "v_threshold must be uniform across all neurons",
        "Readout": "it has no LI, node '3'",
        "delays": "it has no Delay, node '0.delay_",
        "Conv2d, groups": CHECK,
        "Conv2d, not square": CHECK,
        "SumPool2d, padded": "it leaves out the padding of SumPool2d '1'",
        "soft": "node '1' resets softly",
    },
    "snntorch": {
        "IF": "it makes a Leaky of decay 0.9 of IF '1'",
        "CubaLIF, input_decay": "r not supported in CubaLIF",
        "v_reset": "it leaves out v_reset, which is not 0 in LIF '1'",
        "v_reset alone": "it leaves out v_reset, which is not 0 in LIF '1'",
        "v_rest": "v_leak not supported",
        "each": "it scales the thresholds of LIF '1' by r / tau of one neuron, and they differ",
        "each theta": "v_threshold must be same for all neurons",
        "Readout": "it has no LI, node '3'",
        "delays": "it has no Delay, node '0.delay_",
        "Recurrent": "it feeds the input to the recurrent weights of '1.layer'",
        "Conv1d": "it has no Conv1d, node '0'",
        "Conv2d, groups": CHECK,
        "Conv2d, not square": CHECK,
        "SumPool2d, padded": "it leaves out the padding of SumPool2d '1'",
        "Flatten": "it flattens the batch too, node '2'",
        "soft": "node '1' resets softly",
    },
    "norse": {
        "LIF, not input_decay": "it leaves out r, which is not 1 in LIF '1'",
        "each, input whole": "it leaves out r, which is not 1 in LIF '1'",
        "v_reset": "it leaves out v_reset, which is not 0 in LIF '1'",
        "v_reset alone": "it leaves out v_reset, which is not 0 in LIF '1'",
        "v_rest": "the membrane of LIF '1' starts at v_leak there, and at 0 here",
        "Readout": "it has no LI, node '3'",
        "delays": "it has no Delay, node '0.delay_",
        "Conv1d": "it has no Conv1d, node '0'",
        "Conv2d, groups": CHECK,
        "Conv2d, not square": CHECK,
        "AvgPool2d": "it has no AvgPool2d, node '1'",
        "SumPool2d, padded": "it leaves out the padding of SumPool2d '1'",
        "Flatten": "it flattens the batch too, node '2'",
        "soft": "node '1' resets softly",
    },
}
PACKAGES = {"spikingjelly": "spikingjelly", "snntorch": "snntorch", "norse": "norse.torch"}
DT = {"spikingjelly": 0.7e-3, "snntorch": 1e-4, "norse": 1e-3}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("reader", EXPECTED)
def test_ours_are_read_by_theirs_or_refused(reader: str, kind: str, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[reader], reason=f"{reader} is not installed")
    torch.manual_seed(0)
    net = NETWORKS[kind]()
    first = net[0]
    shape = {nn.Conv1d: (2, 9), nn.Conv2d: (2, 8, 8)}.get(type(first))
    soft = "metadata" if kind == "soft" else "refuse"
    snnkit.deploy.nir.save(net, tmp_path / "net.nir", dt=DT[reader], shape=shape, soft_reset=soft)
    reason = EXPECTED[reader].get(kind)
    if reason is None:
        snnkit.deploy.nir.verify(tmp_path / "net.nir", reader)
    else:
        with pytest.raises(InputError, match=rf"does not read .*net\.nir.*: .*{reason}"):
            snnkit.deploy.nir.verify(tmp_path / "net.nir", reader)


def test_the_step_of_snntorch_cannot_be_chosen(tmp_path: Path) -> None:
    pytest.importorskip("snntorch", reason="snnTorch is not installed")
    snnkit.deploy.nir.save(NETWORKS["LIF, input_decay"](), tmp_path / "net.nir", dt=1e-3)
    with pytest.raises(InputError, match=r"its step is 0\.0001 s whatever the file says \(0\.001\); save with dt=1e-4"):
        snnkit.deploy.nir.verify(tmp_path / "net.nir", "snntorch")


def test_a_reader_whose_spikes_differ_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snnkit.deploy.nir import readers

    net = NETWORKS["LIF, input_decay"]()
    snnkit.deploy.nir.save(net, tmp_path / "net.nir")
    shorter = snnkit.Network(*list(net)[:2])
    for title, model in (("Wrong", lambda x, state=None: net.step(x * 2, state)), ("Short", shorter.step)):
        monkeypatch.setitem(readers.READERS, "norse", (title, lambda *_, model=model: model, lambda graph: iter(())))
        with pytest.raises(InputError, match=rf"{title} reads .* otherwise: on spikes of size 1, \d+ of 192 outputs"):
            snnkit.deploy.nir.verify(tmp_path / "net.nir", "norse")
    with pytest.raises(InputError, match="reader is 'spiking jelly'; did you mean 'spikingjelly'"):
        snnkit.deploy.nir.verify(tmp_path / "net.nir", "spiking jelly")


def drive(*shape: int) -> torch.Tensor:
    return (torch.rand(40, 2, *shape) < 0.4).float() * 1.5


def equal(net: snnkit.Network, x: torch.Tensor, theirs: torch.Tensor) -> None:
    with torch.no_grad():
        ours = net(x)
    rate = float((theirs != 0).float().mean())
    assert 0.02 < rate < 0.9
    assert int((ours != theirs).sum()) == 0


@pytest.mark.parametrize("dt", [1e-4, 1e-3])
@pytest.mark.parametrize("kind", ["IF", "LIF", "LIF, v_reset", "LIF whole", "PLIF", "CUBA", "conv"])
def test_files_of_spikingjelly_are_read(kind: str, dt: float, tmp_path: Path) -> None:
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="SpikingJelly is missing")
    from spikingjelly.activation_based import functional, layer, neuron

    make = {
        "IF": lambda: neuron.IFNode(v_threshold=0.5, v_reset=0.0),
        "LIF": lambda: neuron.LIFNode(tau=3.0, v_threshold=0.3, v_reset=0.0),
        "LIF, v_reset": lambda: neuron.LIFNode(tau=3.0, v_threshold=0.1, v_reset=-0.125),
        "LIF whole": lambda: neuron.LIFNode(tau=3.0, v_threshold=0.5, decay_input=False, v_reset=0.0),
        "PLIF": lambda: neuron.ParametricLIFNode(init_tau=4.0, v_threshold=0.2, v_reset=0.0),
        "CUBA": lambda: neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75, v_threshold=0.5, v_reset=0.0),
    }
    if kind == "conv":
        parts = [layer.Conv2d(2, 4, 3, stride=2), make["LIF"](), layer.AvgPool2d(2), layer.Flatten()]
        model, shape = nn.Sequential(*parts, layer.Linear(4, 5), make["IF"]()), (2, 6, 6)
    else:
        model, shape = nn.Sequential(nn.Linear(6, 8), make[kind](), nn.Linear(8, 5), make[kind]()), (6,)
    x = drive(*shape)
    exchange.export_to_nir(model, x[0], save_path=tmp_path / "theirs.nir", dt=dt)
    net = snnkit.deploy.nir.load(tmp_path / "theirs.nir", dt=dt, writer="spikingjelly")
    functional.reset_net(model)
    with torch.no_grad():
        theirs = torch.stack([model(x_t) for x_t in x])
    equal(net, x, theirs)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky", "conv"])
def test_files_of_snntorch_are_read(kind: str, tmp_path: Path) -> None:
    """snnTorch writes every reset as a hard one, so only its models that reset to zero come over."""
    snn = pytest.importorskip("snntorch", reason="snnTorch is not installed")
    export = pytest.importorskip("snntorch.export_nir")
    options = {"reset_mechanism": "zero", "init_hidden": True, "reset_delay": False}

    def each(value: float, width: int) -> torch.Tensor:
        return torch.full((width,), value)

    def make(width: int) -> nn.Module:
        both = {"beta": each(0.75, width), "threshold": each(0.5, width)} | options
        if kind == "Synaptic":
            return snn.Synaptic(alpha=each(0.5, width), **both)
        recurrent = {"all_to_all": True, "linear_features": width} if kind == "RLeaky" else {}
        return getattr(snn, kind)(**both, **recurrent)

    if kind == "conv":
        leaky = snn.Leaky(beta=torch.full((4, 3, 3), 0.75), threshold=torch.full((4, 3, 3), 0.3), **options)
        model, shape = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), leaky), (2, 8, 8)
    else:
        model, shape = nn.Sequential(nn.Linear(6, 8), make(8), nn.Linear(8, 5), make(5)), (6,)
    x = drive(*shape)
    with quiet(), torch.no_grad():
        graph = export.export_to_nir(model, x[0], ignore_dims=[0])
        nir.write(tmp_path / "theirs.nir", graph)
        fresh(model)
        theirs = torch.stack([model(x_t) for x_t in x])
    equal(snnkit.deploy.nir.load(tmp_path / "theirs.nir", dt=1e-4), x, theirs)


def fresh(model: nn.Module) -> None:
    """Give every neuron of a snnTorch model the state that it starts from."""
    for module in model.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()


@pytest.mark.parametrize("kind", ["LIFBoxCell", "v_leak", "LIFCell", "IAFCell", "LIBoxCell", "conv"])
def test_files_of_norse_are_read(kind: str, tmp_path: Path) -> None:
    """Norse writes dt / tau_inv for 1 / tau_inv seconds, and r = 1 for an input that its IAFCell adds whole."""
    norse = pytest.importorskip("norse.torch", reason="Norse is not installed")

    def box(width: tuple[int, ...]) -> Any:
        each = {"tau_mem_inv": 250.0, "v_leak": 0.125 if kind == "v_leak" else 0.0, "v_th": 0.25}
        return norse.LIFBoxCell(norse.LIFBoxParameters(**{k: torch.full(width, v) for k, v in each.items()}))

    def make(width: int) -> Any:
        each = {"tau_mem_inv": 250.0, "tau_syn_inv": 500.0, "v_leak": 0.0, "v_th": 0.25}
        values = {name: torch.full((width,), value) for name, value in each.items()}
        if kind == "LIFCell":
            return norse.LIFCell(norse.LIFParameters(v_reset=torch.zeros(width), **values))
        if kind == "IAFCell":
            module = pytest.importorskip("norse.torch.functional.iaf")
            cell = pytest.importorskip("norse.torch.module.iaf").IAFCell
            return cell(module.IAFParameters(v_th=torch.full((width,), 0.5)))
        return box((width,))

    layers = [nn.Linear(6, 8), make(8), nn.Linear(8, 5), make(5)]
    shape: tuple[int, ...] = (6,)
    if kind == "LIBoxCell":
        module = pytest.importorskip("norse.torch.functional.leaky_integrator_box")
        values = {"tau_mem_inv": torch.full((5,), 250.0), "v_leak": torch.zeros(5)}
        layers[-1] = norse.LIBoxCell(module.LIBoxParameters(**values))
    if kind == "conv":
        layers, shape = [nn.Conv2d(2, 4, 3), box((4, 4, 4))], (2, 6, 6)
    model = norse.SequentialState(*layers)
    x = drive(*shape)
    with quiet(), torch.no_grad():
        graph = norse.to_nir(model, x[0][:1], dt=1e-3)
        state, found = None, []
        for x_t in x:
            y, state = model(x_t, state)
            found.append(y)
    if kind == "conv":
        # nir.write refuses its convolutions, which have no input shape
        net = snnkit.deploy.nir.from_graph(graph, dt=1e-3, writer="norse")
    else:
        nir.write(tmp_path / "theirs.nir", graph)
        net = snnkit.deploy.nir.load(tmp_path / "theirs.nir", dt=1e-3, writer="norse")
    theirs = torch.stack(found)
    if kind == "LIBoxCell":
        assert torch.allclose(net(x), theirs, rtol=1e-5, atol=1e-6) and theirs.abs().max() > 0.01
        return
    equal(net, x, theirs)


def test_a_file_that_does_not_say_its_step_needs_one(tmp_path: Path) -> None:
    graph = nir.NIRGraph.from_list(nir.Affine(np.ones((2, 2)), np.ones(2)), nir.IF(np.ones(2) * 1e4, np.ones(2)))
    nir.write(tmp_path / "theirs.nir", graph)
    needed = r"does not say how long a step is; give dt= .*: snnTorch, SpikingJelly and Lava's scripts write dt=1e-4"
    with pytest.raises(InputError, match=rf"theirs\.nir {needed}, Norse dt=1e-3"):
        snnkit.deploy.nir.load(tmp_path / "theirs.nir")
    with pytest.raises(InputError, match=f"the graph {needed}"):
        snnkit.deploy.nir.from_graph(graph)
    net = snnkit.deploy.nir.load(tmp_path / "theirs.nir", dt=1e-4)
    assert net[1].neuron.name == "integrate_fire"
