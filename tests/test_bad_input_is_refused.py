"""Bad input gets a message that says what came, what is needed, and what to type."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import snnkit
from snnkit.codegen import backends
from snnkit.errors import BackendError, InputError, NeuronError, SnnkitError
from snnkit.neuron import Neuron, Param, Surrogate, family

X = torch.rand(5, 2, 3)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(2, 3), r"got shape \[2, 3\] and needs \[T, B, features…\]; for static data use snnkit.encode"),
        (torch.rand(0, 2, 3), r"a sequence of 0 steps \(shape \[0, 2, 3\]\); it needs at least 1"),
        (torch.rand(5, 0, 3), r"an empty batch \(shape \[5, 0, 3\]\); it needs at least 1 sample"),
        (torch.ones(5, 2, 3, dtype=torch.int64), r"got torch.int64 and needs a floating-point type; use x.float\(\)"),
        (torch.ones(5, 2, 3, dtype=torch.complex64), "got torch.complex64 and needs a floating-point type"),
        ([[1.0]], r"takes a tensor \[T, B, features…\], not list"),
    ],
)
@pytest.mark.parametrize("who", [snnkit.LIF(), snnkit.Network(snnkit.LIF())], ids=["layer", "network"])
def test_input_of_the_wrong_kind(who: nn.Module, x: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        who(x)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("layer", [snnkit.LIF(), snnkit.LIF(reset="hard"), snnkit.IF(), snnkit.Readout()])
def test_nan_and_infinity_are_found_where_they_are(layer: nn.Module, bad: float) -> None:
    x = X.clone()
    x[3, 1, 2] = bad
    with pytest.raises(InputError, match=r"holds NaN or infinity, first at step 3; clean the data"):
        layer(x)


def test_nan_in_the_start_state_and_divergence() -> None:
    layer = snnkit.LIF()
    with pytest.raises(InputError, match=r"the start state of lif holds NaN"):
        layer.run(X, {"v": torch.full((2, 3), torch.nan)})
    with pytest.raises(InputError, match=r"a state of quadratic_if became NaN or infinite within 5 steps"):
        snnkit.QuadraticIF(reset="soft")(X * 1e30)


def test_nan_passes_where_the_check_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNKIT_CHECK_FINITE", "0")
    assert not snnkit.LIF()(torch.full((5, 2, 3), torch.nan)).any()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"u": torch.zeros(2, 3)}, r"the state of lif is a dict of \['v'\], not \['u'\]"),
        (torch.zeros(2, 3), r"is a dict of \['v'\], not Tensor"),
        ({"v": torch.zeros(4, 3)}, r"state 'v' has shape \[4, 3\] and the input needs \[2, 3\]; pass state=None"),
        ({"v": 0.0}, r"state 'v' is a tensor \[2, 3\], not 0.0"),
        ({"v": torch.zeros(2, 3, dtype=torch.float64)}, "state 'v' is torch.float64 on cpu; it needs torch.float32"),
    ],
)
def test_state_that_does_not_fit(state: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        snnkit.LIF().run(X, state)


def test_state_of_a_network_that_does_not_fit() -> None:
    net = snnkit.Network(nn.Linear(3, 4), snnkit.LIF())
    with pytest.raises(InputError, match=r"the state of this network is a dict of \['1'\], not \['0'\]"):
        net.run(X, {"0": {}})
    loop = snnkit.Recurrent(snnkit.LIF(), nn.Linear(3, 3))
    with pytest.raises(InputError, match=r"a dict of \['layer', 'output'\]"):
        loop.run(X, {"v": torch.zeros(2, 3)})
    _, state = loop.run(X)
    with pytest.raises(InputError, match=r"output has shape \[2, 3\] and the input needs \[4, 3\]"):
        loop.run(torch.rand(5, 4, 3), state)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([5, 6]), r"lengths are 5..6; they must lie in 1..5"),
        (torch.tensor([0, 5]), r"lengths are 0..5; they must lie in 1..5"),
        (torch.tensor([5]), "an integer tensor of 2 values, one per sample, not"),
        (torch.tensor([1.0, 2.0]), "an integer tensor of 2 values"),
        ([5, 5], "an integer tensor of 2 values, one per sample, not list"),
    ],
)
def test_lengths_out_of_range(lengths: object, message: str) -> None:
    for who in (snnkit.LIF(), snnkit.Network(snnkit.LIF()), snnkit.Recurrent(snnkit.LIF(), nn.Linear(3, 3))):
        with pytest.raises(InputError, match=message):
            who.run(X, lengths=lengths)


def test_unknown_names() -> None:
    with pytest.raises(NeuronError, match=r"no neuron 'LIFF'; did you mean 'LIF'"):
        family("LIFF")
    with pytest.raises(AttributeError, match=r"no attribute 'Lif'"):
        _ = snnkit.Lif
    with pytest.raises(BackendError, match=r"no backend 'gpu'.*known: auto, reference, cpu, cuda"):
        snnkit.LIF(backend="gpu")
    with pytest.raises(NeuronError, match=r"lif has no parameter 'taux'; did you mean 'tau'"):
        snnkit.LIF(taux=2.0)
    with pytest.raises(NeuronError, match=r"lif cannot learn 'thet'; did you mean 'theta'"):
        snnkit.LIF(learn=("thet",))
    with pytest.raises(NeuronError, match=r"reset is 'soft' or 'hard', not 'zero'"):
        snnkit.LIF(reset="zero")
    with pytest.raises(NeuronError, match=r"learn is a list of parameters' names, such as \['tau'\], not True"):
        snnkit.LIF(learn=True)
    for surrogate in ("atan", snnkit.surrogate.atan):
        with pytest.raises(NeuronError, match=r"surrogate is made by a call such as snnkit.surrogate.atan\(2.0\), not"):
            snnkit.LIF(surrogate=surrogate)
    with pytest.raises(NeuronError, match=r"detach_reset is True or False, not 'no'"):
        snnkit.LIF(detach_reset="no")
    with pytest.raises(NeuronError, match=r"Spiking takes a Neuron such as"):
        snnkit.Spiking("lif")
    with pytest.raises(InputError, match=r"layer 1 of a Network is a torch module, not 'LIF'"):
        snnkit.Network(nn.Linear(2, 2), "LIF")
    with pytest.raises(InputError, match=r"Recurrent takes a spiking layer"):
        snnkit.Recurrent(nn.ReLU(), nn.Linear(2, 2))
    for connection in (nn.LSTM(2, 2), snnkit.LIF(), snnkit.Network(nn.Linear(2, 2))):
        with pytest.raises(InputError, match=r"has a state of its own and cannot connect a layer to itself; use a"):
            snnkit.Recurrent(snnkit.LIF(), connection)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, r"tau=0.5 is out of its bounds \[1, inf\]"),
        (float("nan"), r"tau=nan is out of its bounds"),
        (torch.tensor([2.0, 0.0]), r"tau=tensor\[2\] is out of its bounds"),
        ("two", "tau is a number or a tensor, not 'two'"),
    ],
)
def test_parameters_out_of_bounds(value: object, message: str) -> None:
    with pytest.raises(NeuronError, match=message):
        snnkit.LIF(tau=value)


def test_a_parameter_that_does_not_fit_the_neurons() -> None:
    with pytest.raises(InputError, match=r"parameter 'tau' of shape \[4\] does not fit neurons of shape \[3\]"):
        snnkit.LIF(tau=torch.full((4,), 2.0))(X)


def test_a_backend_that_cannot_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"backend 'cuda' cannot run on cpu tensors; move the input with"):
        snnkit.LIF(backend="cuda")(X)
    cuda = torch.device("cuda")
    monkeypatch.setattr(backends, "cupy_found", lambda: False)
    with pytest.raises(BackendError, match=r"needs CuPy; install it with: pip install 'snnkit\[cuda\]'"):
        backends.resolve("cuda", cuda, torch.float32)
    assert backends.resolve("auto", cuda, torch.float32)[0] == "reference"
    monkeypatch.setattr(backends, "cupy_found", lambda: True)
    assert backends.resolve("auto", cuda, torch.bfloat16)[0] == "cuda"
    assert backends.resolve("auto", cuda, torch.float64)[0] == "reference"
    with pytest.raises(BackendError, match=r"computes in float32; use .float"):
        backends.resolve("cuda", cuda, torch.float64)
    with pytest.raises(BackendError, match=r"backend 'cpu' cannot run on cuda tensors"):
        backends.resolve("cpu", cuda, torch.float32)


@pytest.mark.parametrize("module", [nn.LSTM(3, 3), nn.GRU(3, 3)])
def test_layers_with_a_time_of_their_own_are_not_folded(module: nn.Module) -> None:
    with pytest.raises(InputError, match=r"runs over time by itself; use it outside snnkit.Network"):
        snnkit.Network(module)(X)


def test_a_layer_that_eats_the_batch_is_not_folded() -> None:
    with pytest.raises(InputError, match=r"Flatten does not keep the batch axis"):
        snnkit.Network(nn.Flatten(0))(X)


@pytest.mark.parametrize("run", [snnkit.Network.run, snnkit.Network.record])
def test_an_error_of_torch_says_which_layer_it_came_from(run: Callable) -> None:
    net = snnkit.Network(nn.Linear(3, 4), snnkit.LIF(), nn.Linear(5, 2))
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        run(net, X)
    (note,) = caught.value.__notes__
    assert note == "in layer '2' (Linear), whose input [T, B, features…] is [5, 2, 4]"


GOOD = {"name": "n", "states": {"v": 0.0}, "params": {"k": Param(1.0)}, "update": ["v = v + x"], "spike": "v - k"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "two words"}, "a neuron's name is a word such as 'lif', not 'two words'"),
        ({"states": {}}, "has no state; give at least one"),
        ({"states": {"v": None}}, "state 'v' needs a start value, a number, not None"),
        ({"states": {"v": 0.0, "w": 0.0}}, "state 'w' is never assigned; make it a parameter"),
        ({"states": {"lambda": 0.0}}, "'lambda' is not a name"),
        ({"states": {"x": 0.0}}, "'x' is the input; rename it"),
        ({"params": {"s": 1.0}}, "'s' is the spike; rename it"),
        ({"params": {"v": 1.0}}, r"\['v'\] are both states and parameters"),
        ({"update": ["v = v + y"]}, "'y' is not defined.*known: k, v, x"),
        ({"update": ["v + x"]}, "'v [+] x' is not an assignment; write 'name = expression'"),
        ({"update": ["v == x"]}, "is not an assignment"),
        ({"update": ["k = x", "v = v"]}, "'k' cannot be assigned; only states and locals can"),
        ({"update": ["v = s"]}, "'s' is not defined"),
        ({"update": ["v = v + sine(x)"]}, "calls 'sine', which is not known; did you mean 'sin'"),
        ({"update": ["v = min(x)"]}, "min takes 2 arguments, not 1"),
        ({"update": ["v = v ** k"]}, "a power that is not a whole number from 1 to 16"),
        ({"update": ["v = v ** 0.5"]}, "a power that is not a whole number"),
        ({"update": ["v = 1e400 * x"]}, "a number that float32 cannot"),
        ({"update": ["v = True"]}, "holds True; write 1 or 0"),
        ({"update": ["v = x.real"]}, "holds 'x.real', which an equation cannot"),
        ({"update": ["v = __import__('os').system('true')"]}, "which an equation cannot"),
        ({"update": ["v = (lambda: 1)()"]}, "which an equation cannot"),
        ({"update": ["v = x if x > 0 else 0"]}, "which an equation cannot"),
        ({"update": ["v = 0 < x < 1"]}, "which an equation cannot"),
        ({"update": ["v = x +"]}, "cannot be read"),
        ({"update": ["v = " + "(" * 90 + "x" + ")" * 90 + " + " * 0 + "-" * 80 + "x"]}, "nested deeper than 64"),
        ({"update": ["v = " + "x + " * 900 + "x"]}, "characters is too long; the limit is 2000"),
        ({"update": [3]}, "an equation is text such as 'v = v [+] x', not 3"),
        ({"spike": None, "reset": ["v = 0"]}, "has a reset and no spike"),
        (
            {"spike": "v > k"},
            "spike 'v > k' is 0 or 1, and a neuron fires where it is >= 0, which would be always; write",
        ),
        ({"spike": ["v - k", "v >= 2 * k"]}, "spike 'v >= 2 [*] k' is 0 or 1"),
        ({"spike": [3]}, "an expression is text such as 'v - theta', not 3"),
    ],
)
def test_descriptions_that_do_not_hold_together(change: dict, message: str) -> None:
    Neuron(**GOOD)
    with pytest.raises(NeuronError, match=message):
        Neuron(**{**GOOD, **change})


def test_parameters_and_surrogates_that_do_not_hold_together() -> None:
    with pytest.raises(NeuronError, match=r"default 0.5 is outside the bounds \[1.0, inf\]"):
        Param(0.5, low=1.0)
    with pytest.raises(NeuronError, match=r"Param takes numbers, not 'a'"):
        Param("a")
    with pytest.raises(NeuronError, match=r"alpha is a positive number, not -1"):
        snnkit.surrogate.atan(-1)
    with pytest.raises(NeuronError, match=r"surrogate 'mine': 'w' is not defined"):
        Surrogate("mine", {"alpha": 1.0}, "w * z", "z")
    with pytest.raises(NeuronError, match=r"levels is a whole number from 1 to 64, not 0"):
        snnkit.ILIF(levels=0)
    with pytest.raises(NeuronError, match=r"a neuron has no 'updat'; did you mean 'update'"):
        Neuron.from_dict({"updat": []})
    with pytest.raises(NeuronError, match=r"a neuron needs states"):
        Neuron.from_dict({key: value for key, value in Neuron(**GOOD).to_dict().items() if key != "states"})
    with pytest.raises(NeuronError, match=r"is not well-formed"):
        Neuron.from_dict({**Neuron(**GOOD).to_dict(), "params": {"k": {}}})


def test_every_error_has_one_base() -> None:
    assert all(issubclass(kind, SnnkitError) for kind in (InputError, NeuronError, BackendError))


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("v_threshold", "theta=…"),
        ("v_th", "theta=…"),
        ("beta", r"tau=1 / \(1 - beta\), input_decay=False"),
        ("v_leak", "v_rest=…"),
    ],
)
def test_names_of_other_packages_lead_to_ours(name: str, typed: str) -> None:
    with pytest.raises(NeuronError, match=rf"lif has no parameter '{name}'; type {typed}; it has tau, theta"):
        snnkit.LIF(**{name: 0.9})


def test_a_parameter_is_not_set_as_an_attribute() -> None:
    layer = snnkit.LIF(tau=2.0)
    with pytest.raises(NeuronError, match=r"lif\.tau cannot be set: build the layer with tau=…, or type"):
        layer.tau = 3.0
    layer.note, layer.training = "mine", False
    assert not hasattr(layer, "tau") and float(layer.values()["tau"]) == 2.0


def test_a_value_that_requires_a_gradient_is_learnt_or_refused() -> None:
    value = torch.nn.Parameter(torch.tensor(3.0))
    with pytest.raises(NeuronError, match=r"lif: tau requires a gradient and is not learnt; type tau=….detach\(\)"):
        snnkit.LIF(tau=value)
    assert float(snnkit.LIF(tau=value, learn=("tau",)).param_tau.detach()) == 3.0


@pytest.mark.parametrize("wrong", [{"states": ["v"]}, {"states": {"v": 0.0}, "params": [("tau", 2.0)]}])
def test_states_and_parameters_are_dicts(wrong: dict) -> None:
    with pytest.raises(
        NeuronError, match=r"(states|params) are a dict such as \{'v': 0.0\}, from names to values, not"
    ):
        snnkit.neuron.Neuron("mine", update=["v = v + x"], spike="v - 1", **wrong)
