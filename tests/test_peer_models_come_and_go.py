"""Models of SpikingJelly, Norse and snnTorch become networks with the same spikes, and networks become theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snnkit
from snnkit import convert
from snnkit.errors import InputError, MissingPackageError
from snnkit.neuron import surrogate


@pytest.fixture(autouse=True)
def one_thread(fixed_seeds: None) -> None:
    """Run on one thread: with more, networks this small spend their time waiting for each other."""
    torch.set_num_threads(1)


def drive(*shape: int, gain: float = 1.5) -> Tensor:
    return (torch.rand(50, 3, *shape) < 0.4).float() * gain


def same(net: snnkit.Network, x: Tensor, theirs: Tensor) -> None:
    with torch.no_grad():
        y = net.eval()(x)
    rate = float((theirs != 0).float().mean())
    assert 0.02 < rate < 0.95, f"{rate:.0%} of the steps spike"
    assert int((y != theirs).sum()) == 0


# SpikingJelly


def jelly(name: str) -> Any:
    return pytest.importorskip(f"spikingjelly.activation_based.{name}", reason="SpikingJelly is not installed")


def run_jelly(model: nn.Module, x: Tensor, mode: str = "s") -> Tensor:
    functional = jelly("functional")
    functional.reset_net(model)
    functional.set_step_mode(model, mode)
    with torch.no_grad():
        return torch.stack([model(x_t) for x_t in x]) if mode == "s" else model(x)


JELLY = {
    "IFNode": {"v_threshold": 0.5},
    "LIFNode": {"tau": 3.0, "v_threshold": 0.25},
    "LIFNode whole": {"tau": 3.0, "v_threshold": 0.5, "decay_input": False},
    "ParametricLIFNode": {"init_tau": 3.0, "v_threshold": 0.25},
    "QIFNode": {"tau": 2.0, "v_c": 0.4, "a0": 1.0, "v_threshold": 0.25, "v_rest": 0.0},
    "EIFNode": {"tau": 2.0, "v_threshold": 0.25},
    "CUBALIFNode": {"c_decay": 0.5, "v_decay": 0.75, "v_threshold": 0.5},
}


# a PLIF that does not reset to 0 is refused; QIF and EIF that reset softly run away
COMING = [
    (kind, v_reset)
    for kind in JELLY
    for v_reset in (None, 0.0, -0.25)
    if not (kind == "ParametricLIFNode" and v_reset) and (v_reset is not None or kind not in ("QIFNode", "EIFNode"))
]


@pytest.mark.parametrize(("kind", "v_reset"), COMING)
def test_neurons_of_spikingjelly_come(kind: str, v_reset: float | None) -> None:
    neuron = jelly("neuron")

    def make() -> Any:
        return getattr(neuron, kind.split()[0])(**JELLY[kind], v_reset=v_reset)

    model = nn.Sequential(nn.Linear(6, 8), make(), nn.Sequential(nn.Linear(8, 5), make()))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.uniform_(parameter, -0.3, 0.7)
    net = convert.from_spikingjelly(model)
    x = drive(6)
    same(net, x, run_jelly(model, x))
    assert net[1].surrogate.name == "sigmoid" or kind == "CUBALIFNode"


def test_spatial_models_of_spikingjelly_come_and_go() -> None:
    layer, neuron = jelly("layer"), jelly("neuron")
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, groups=2, bias=False),
        layer.BatchNorm2d(4),
        neuron.LIFNode(tau=2.0, v_threshold=0.2, surrogate_function=jelly("surrogate").ATan(3.0)),
        layer.MaxPool2d(2),
        layer.Conv2d(4, 4, 3),
        neuron.IFNode(v_threshold=0.2),
        layer.Dropout2d(0.3),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Dropout(0.5),
        layer.Linear(4, 5),
        neuron.IFNode(v_threshold=0.1),
    ).eval()
    x = drive(2, 8, 8)
    net = convert.from_spikingjelly(model, shape=(2, 8, 8))
    same(net, x, run_jelly(model, x))
    assert not net.training and net[2].surrogate == surrogate.atan(3.0)
    assert [(type(net[k]), net[k].p) for k in (6, 9)] == [(nn.Dropout2d, 0.3), (nn.Dropout, 0.5)]
    again = convert.to_spikingjelly(net, shape=(2, 8, 8))
    assert torch.equal(run_jelly(again, x, "m"), run_jelly(model, x))
    snnkit.files.to_bytes(net)


def of_ours(first: nn.Module, second: nn.Module) -> snnkit.Network:
    net = snnkit.Network(nn.Linear(6, 8), first, nn.Linear(8, 5, bias=False), second)
    for layer in (net[0], net[2]):
        nn.init.uniform_(layer.weight, -0.3, 0.7)
    return net


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("IF", {}), ("LIF", {}), ("LIF", {"input_decay": False}), ("CubaLIF", {"tau_mem": 8.0, "tau_syn": 2.0})],
)
def test_networks_go_to_spikingjelly(kind: str, options: dict[str, Any], reset: str) -> None:
    jelly("neuron")
    given = {"theta": 0.5, "reset": reset, "surrogate": surrogate.rectangle(0.5), **options}
    net = of_ours(getattr(snnkit, kind)(**given), getattr(snnkit, kind)(**given))
    model, x = convert.to_spikingjelly(net), drive(6)
    same(net, x, run_jelly(model, x, "m"))
    assert convert.from_spikingjelly(model)[1].surrogate == net[1].surrogate


# snnTorch


def run_snn(model: nn.Module, x: Tensor) -> Tensor:
    for module in model.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    with torch.no_grad():
        return torch.stack([y[0] if isinstance(y := model(x_t), tuple) else y for x_t in x])


SNN = {
    "zero": ("Leaky", {"beta": 0.75, "reset_mechanism": "zero"}),
    "zero, prompt": ("Leaky", {"beta": 0.9, "reset_mechanism": "zero", "reset_delay": False}),
    "as it is by default": ("Leaky", {"beta": 0.9}),
    "no leak": ("Leaky", {"beta": 1.0, "reset_mechanism": "zero", "reset_delay": False}),
    "Synaptic": ("Synaptic", {"alpha": 0.5, "beta": 0.75, "reset_mechanism": "zero", "reset_delay": False}),
}


@pytest.mark.parametrize("each", [False, True], ids=["one beta", "a beta for each"])
@pytest.mark.parametrize("kind", SNN)
def test_neurons_of_snntorch_come(kind: str, each: bool) -> None:
    snn = pytest.importorskip("snntorch", reason="snnTorch is not installed")
    name, options = SNN[kind]

    def make(width: int, **more: Any) -> Any:
        beta = torch.full((width,), options["beta"]) if each else options["beta"]
        return getattr(snn, name)(**options | {"beta": beta}, threshold=0.75, init_hidden=True, **more)

    model = nn.Sequential(nn.Linear(6, 8), make(8), nn.Linear(8, 5), make(5, output=True))
    for layer in (model[0], model[2]):
        nn.init.uniform_(layer.weight, -0.3, 0.7)
    net, x = convert.from_snntorch(model, surrogate=surrogate.fast_sigmoid(5.0)), drive(6)
    same(net, x, run_snn(model, x))
    assert net[1].surrogate == surrogate.fast_sigmoid(5.0)


def test_recurrent_neurons_of_snntorch_come() -> None:
    snn = pytest.importorskip("snntorch", reason="snnTorch is not installed")
    leaky = snn.RLeaky(0.75, linear_features=8, reset_mechanism="zero", reset_delay=False, init_hidden=True)
    model = nn.Sequential(nn.Linear(6, 8), leaky)
    nn.init.uniform_(model[0].weight, -0.3, 0.7)
    net, x = convert.from_snntorch(model), drive(6)
    same(net, x, run_snn(model, x))
    assert isinstance(net[1], snnkit.Recurrent)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(("kind", "options"), [("IF", {}), ("LIF", {"input_decay": False}), ("CubaLIF", {})])
def test_networks_go_to_snntorch(kind: str, options: dict[str, Any], reset: str) -> None:
    pytest.importorskip("snntorch", reason="snnTorch is not installed")
    # no membrane may pass two thresholds where snnTorch subtracts
    theta = {"CubaLIF": 50.0}.get(kind, 20.0) if reset == "soft" else 0.75
    each = torch.linspace(theta, theta * 1.25, 8) if kind == "IF" else theta
    net = snnkit.Network(nn.Linear(6, 8), getattr(snnkit, kind)(theta=each, reset=reset, **options))
    nn.init.uniform_(net[0].weight, -0.3, 0.7)
    model, x = convert.to_snntorch(net), drive(6, gain=10.0 if reset == "soft" else 1.5)
    same(net, x, run_snn(model, x))


# Norse


def run_norse(model: nn.Module, x: Tensor) -> Tensor:
    state, found = None, []
    with torch.no_grad():
        for x_t in x:
            y, state = model(x_t, state)
            found.append(y)
    return torch.stack(found)


def norse_cell(kind: str) -> Any:
    norse = pytest.importorskip("norse.torch", reason="Norse is not installed")
    how = pytest.importorskip("norse.torch.functional.reset")
    common = {"v_th": torch.tensor(1.5 if kind == "IAFCell" else 0.25), "v_reset": torch.tensor(-0.125)}
    rates = {"tau_mem_inv": torch.tensor(250.0), "v_leak": torch.tensor(0.0)}
    both = rates | {"tau_syn_inv": torch.tensor(500.0)}
    iaf = pytest.importorskip("norse.torch.functional.iaf")
    if kind == "LIFCell":
        return norse.LIFCell(norse.LIFParameters(**common, **both))
    if kind == "IAFCell":
        return pytest.importorskip("norse.torch.module.iaf").IAFCell(iaf.IAFParameters(**common))
    method = how.reset_value if "hard" in kind else how.reset_subtract
    leak = {"v_leak": torch.tensor(0.0625)} if "leak" in kind else {}
    return norse.LIFBoxCell(norse.LIFBoxParameters(**common, **rates | leak, reset_method=method))


@pytest.mark.parametrize("kind", ["LIFCell", "IAFCell", "box, hard", "box, soft", "box, hard, leak"])
def test_cells_of_norse_come(kind: str) -> None:
    norse = pytest.importorskip("norse.torch", reason="Norse is not installed")
    model = norse.SequentialState(nn.Linear(6, 8), norse_cell(kind), nn.Linear(8, 5), norse_cell(kind))
    for layer in (model[0], model[2]):
        nn.init.uniform_(layer.weight, -0.3, 0.7)
    net, x = convert.from_norse(model), drive(6)
    same(net, x, run_norse(model, x))
    assert net[1].surrogate == surrogate.fast_sigmoid(1.0)


@pytest.mark.parametrize("autapses", [False, True])
def test_recurrent_cells_of_norse_come(autapses: bool) -> None:
    norse = pytest.importorskip("norse.torch", reason="Norse is not installed")
    parameters = norse.LIFParameters(v_th=torch.tensor(2.0), tau_mem_inv=torch.tensor(250.0))
    weights = {"input_weights": torch.rand(8, 6), "recurrent_weights": torch.randn(8, 8) / 2}
    cell = norse.LIFRecurrentCell(6, 8, parameters, autapses=autapses, **weights)
    model = norse.SequentialState(cell)
    net, x = convert.from_norse(model), drive(6)
    same(net, x, run_norse(model, x))


@pytest.mark.parametrize("dt", [1e-3, 1e-4])
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: snnkit.IF(theta=1.5, reset="hard", **o),
        lambda **o: snnkit.LIF(theta=0.25, tau=4.0, reset="hard", **o),
        lambda **o: snnkit.LIF(theta=0.25, tau=4.0, reset="soft", **o),
        lambda **o: snnkit.CubaLIF(theta=0.25, tau_syn=2.0, reset="hard", input_decay=True, **o),
    ],
    ids=["IF", "LIF, hard", "LIF, soft", "CubaLIF"],
)
def test_networks_go_to_norse(make: Any, dt: float) -> None:
    pytest.importorskip("norse", reason="Norse is not installed")
    options = {"surrogate": surrogate.fast_sigmoid(1.0)}
    net, x = of_ours(make(**options), make(**options)), drive(6)
    same(net, x, run_norse(convert.to_norse(net, dt=dt), x))


def test_readouts_come_from_norse_and_go_there() -> None:
    pytest.importorskip("norse", reason="Norse is not installed")
    net = of_ours(snnkit.LIF(reset="hard", theta=0.25, surrogate=surrogate.fast_sigmoid(1.0)), snnkit.Readout(tau=3.0))
    model, x = convert.to_norse(net), drive(6)
    assert torch.allclose(net(x), run_norse(model, x), rtol=1e-4, atol=1e-5)
    assert torch.allclose(convert.from_norse(model)(x), net(x), rtol=1e-4, atol=1e-5)


# what is refused


def refused(call: Any, *arguments: Any, reason: str, **options: Any) -> None:
    with pytest.raises(InputError, match=reason):
        call(*arguments, **options)


def test_spikingjelly_refusals() -> None:
    neuron, layer = jelly("neuron"), jelly("layer")
    theirs = jelly("surrogate")
    come, go = convert.from_spikingjelly, convert.to_spikingjelly
    linear = nn.Linear(3, 2)
    refused(come, 3, reason="a model of SpikingJelly is a torch module, not int")
    refused(come, linear, reason="a row of layers is read, such as nn.Sequential, not Linear.*else go through NIR")
    refused(come, nn.Sequential(), reason="the SpikingJelly model has no layers")
    refused(come, nn.Sequential(linear, neuron.KLIFNode()), reason="layer '1' of the SpikingJelly model: KLIFNode has")
    refused(come, nn.Sequential(linear, layer.Delay(2)), reason="layer '1' of .*: Delay has no counterpart; IFNode, ")
    refused(come, nn.Sequential(nn.GELU()), reason="layer '0' .*: GELU has no counterpart")
    plif = neuron.ParametricLIFNode(v_reset=-0.25)
    refused(come, nn.Sequential(linear, plif), reason=r"ParametricLIFNode rests at v_reset=-0\.25, and our PLIF at 0")
    odd = neuron.IFNode(surrogate_function=theirs.SoftSign())
    refused(come, nn.Sequential(linear, odd), reason="surrogate SoftSign has no counterpart .*; give surrogate=")
    assert convert.from_spikingjelly(nn.Sequential(linear, odd), surrogate=surrogate.atan(2.0))
    cuba = neuron.CUBALIFNode(c_decay=1.0, v_decay=0.5)
    refused(come, nn.Sequential(linear, cuba), reason=r"a decay of \[1\.0\] is not in 0\.\.1, 1 excluded")
    refused(come, nn.Sequential(nn.Conv2d(2, 2, 3)), reason=r"give it, such as shape=\(2, 34, 34\)")
    with pytest.raises(InputError, match=r"layer '0' \(Linear\) does not take inputs of shape \[4\]"):
        come(nn.Sequential(linear, neuron.IFNode()), shape=(4,))
    used = nn.Sequential(linear, neuron.LIFNode())
    used(torch.rand(1, 3))
    refused(come, used, reason=r"holds state with a gradient, .*functional\.reset_net\(model\) first")

    def net(second: nn.Module) -> snnkit.Network:
        return snnkit.Network(nn.Linear(3, 2), second)

    refused(go, linear, reason=r"a snnkit\.Network is exported, not Linear; type snnkit\.Network\(\*layers\)")
    refused(go, net(snnkit.ALIF()), reason="layer '1', to SpikingJelly: .*no neuron with the equations of 'alif'")
    refused(go, net(snnkit.Readout()), reason="no neuron with the equations of 'readout'")
    refused(go, net(snnkit.DelayLinear(2, 2)), reason="SpikingJelly has no DelayLinear of ours; it has Linear, Conv1d")
    refused(go, net(snnkit.IF(theta=torch.tensor([1.0, 2.0]))), reason="theta has a value for each neuron")
    refused(go, net(snnkit.LIF(v_rest=0.5)), reason=r"LIFNode rests at its v_reset \(None\), and .* v_rest=0\.5")
    refused(go, net(snnkit.IF(reset="hard", v_reset=-1.0)), reason=r"starts at v_reset=-1\.0, and this one at 0")
    refused(go, net(snnkit.IF(surrogate=surrogate.gaussian(0.5))), reason="no surrogate as 'gaussian'; it has atan")


def test_snntorch_refusals() -> None:
    snn = pytest.importorskip("snntorch", reason="snnTorch is not installed")
    come, go = convert.from_snntorch, convert.to_snntorch

    def model(cell: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Linear(3, 2), cell)

    options = {"init_hidden": True}
    refused(come, model(snn.Leaky(0.5)), reason="Leaky gets its state from a forward of yours; .* init_hidden=True")
    refused(come, model(snn.Lapicque(0.5, **options)), reason="layer '1' of the snnTorch model: Lapicque has no cou")
    quantised = snn.Leaky(0.5, state_quant=torch.round, **options)
    refused(come, model(quantised), reason="Leaky has inhibition, state_quant or graded_spikes_factor")
    refused(come, model(snn.Leaky(0.5, reset_mechanism="none", **options)), reason="has reset_mechanism='none'; 'zero'")
    refused(come, model(snn.Synaptic(0.5, 0.5, **options)), reason="Synaptic with reset_delay=True resets after the n")
    late = snn.RLeaky(0.5, linear_features=2, **options)
    refused(come, model(late), reason="RLeaky has a counterpart with 'zero', reset_delay=False and linear_features=")
    wide = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.75, reset_delay=False, threshold=0.05, **options))
    refused(come, wide, reason=r"\d+ of 96 outputs differ from those of snnTorch: the model does more than its layers")
    used = model(snn.Leaky(0.5, reset_mechanism="zero", **options))
    used(torch.rand(1, 3))
    refused(come, used, reason="holds state with a gradient, .*; type snntorch\\.utils\\.reset\\(model\\) first")

    def net(second: nn.Module) -> snnkit.Network:
        return snnkit.Network(nn.Linear(3, 2), second)

    refused(go, net(snnkit.LIF(reset="hard")), reason="layer '1', to snnTorch: .*'lif' and its options; IF, LIF.input")
    refused(go, net(snnkit.IF(reset="hard", v_reset=0.5)), reason=r"rests at 0 and resets to 0, and v_reset is 0\.5")
    refused(go, net(snnkit.IF(surrogate=surrogate.erf(2.0))), reason="no surrogate as 'erf'; it has atan, fast_sigmoid")
    refused(go, net(snnkit.DelayLinear(2, 2)), reason="snnTorch has no DelayLinear of ours; it has torch's layers")


def test_norse_refusals() -> None:
    norse = pytest.importorskip("norse.torch", reason="Norse is not installed")
    come, go = convert.from_norse, convert.to_norse

    def model(cell: nn.Module) -> Any:
        return norse.SequentialState(nn.Linear(3, 2), cell)

    refused(come, model(norse.LSNNCell()), reason="layer '1' of the Norse model: LSNNCell has no counterpart; LIF")
    rests = norse.LIFCell(norse.LIFParameters(v_leak=torch.tensor(0.5)))
    refused(come, model(rests), reason=r"LIFCell rests at v_leak=0\.5, and ours at 0")
    other = norse.LIFCell(norse.LIFParameters(method="tanh"))
    refused(come, model(other), reason="surrogate 'tanh' has no counterpart .*; give surrogate=")
    assert convert.from_norse(model(other), surrogate=surrogate.atan(2.0))[1].surrogate == surrogate.atan(2.0)
    strange = norse.LIFBoxCell(norse.LIFBoxParameters(reset_method=lambda z, v, p: v))
    refused(come, model(strange), reason="reset_method <lambda> has no counterpart")
    each = norse.LIFBoxParameters(v_leak=torch.tensor([0.1, 0.2]))
    refused(come, model(norse.LIFBoxCell(each)), reason="v_leak has a value for each neuron, and theirs is one number")

    def net(second: nn.Module) -> snnkit.Network:
        return snnkit.Network(nn.Linear(3, 2), second)

    own = {"surrogate": surrogate.fast_sigmoid(1.0)}
    refused(go, net(snnkit.LIF()), reason=r"layer '1', to Norse: .*no surrogate as .*; it has snnkit\.surrogate\.f")
    refused(go, net(snnkit.LIF(input_decay=False, **own)), reason="Norse has no cell with the equations of 'lif' and")
    refused(go, net(snnkit.DelayLinear(2, 2)), reason="Norse has no DelayLinear of ours; it has torch's layers")
    refused(go, net(snnkit.IF(reset="hard", v_reset=0.25, **own)), reason="starts at v_reset=0.25, and this one at 0")
    resting = snnkit.LIF(v_rest=0.5, reset="hard", **own)
    refused(go, net(resting), reason="starts at v_leak=0.5, and this one at 0")


@pytest.mark.parametrize("name", ["spikingjelly", "snntorch", "norse"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    real = importlib.import_module

    def missing(wanted: str, *arguments: Any) -> Any:
        if wanted.partition(".")[0] == name:
            raise ModuleNotFoundError(wanted)
        return real(wanted, *arguments)

    monkeypatch.setattr(importlib, "import_module", missing)
    net = snnkit.Network(nn.Linear(2, 2))
    with pytest.raises(MissingPackageError, match=rf"{name} is needed here: pip install 'snnkit\[interop\]'"):
        getattr(convert, f"to_{name}")(net)
