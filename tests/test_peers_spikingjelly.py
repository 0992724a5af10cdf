"""Neurons and surrogates give what SpikingJelly 2.0 gives.

Both fire where the membrane is at or above the threshold. SpikingJelly's membrane starts at its `v_reset`, ours at 0,
so a layer that is to continue one of theirs takes its start state from them.

Neurons. `v_reset=None` is our `reset="soft"`; a number is `reset="hard"` with that `v_reset`.

| SpikingJelly                       | here                                                            | equal in |
|------------------------------------|-----------------------------------------------------------------|----------|
| IFNode                             | IF                                                              | float32  |
| LIFNode(tau, decay_input)          | LIF(tau, input_decay=decay_input, v_rest=v_reset or 0)          | float32  |
| ParametricLIFNode(init_tau)        | PLIF(w=-log(init_tau - 1)), for v_reset None or 0               | float64  |
| QIFNode(a0, v_rest, v_c)           | QuadraticIF(a0, v_rest, v_c)                                    | float32  |
| EIFNode(delta_T, theta_rh, v_rest) | ExponentialIF(delta_t=delta_T, v_t=theta_rh, v_rest)            | float64  |
| CUBALIFNode(c_decay, v_decay)      | CubaLIF(tau_syn=1 / (1 - c_decay), tau_mem=1 / (1 - v_decay))   | float32  |
| RAFNode(b, omega, dt), soft        | ResonateFire(decay=exp(b * dt), omega=omega * dt), re=u, im=v   | float64  |
| RAFNode, hard                      | `RESONATOR` below: theirs keeps the real part, ours clears both | float64  |
| ILIFNode(tau, D)                   | ILIF(decay=1 - 1 / tau, levels=D), rectangle of width theta     | float32  |
| NonSpikingLIFNode(tau)             | Readout(tau)                                                    | float32  |
| KLIFNode                           | `KLIF` below                                                    | float32  |
| IzhikevichNode                     | `adaptive_qif` below; it is not Izhikevich's model of 2003      | float32  |

Those in float64 call a sigmoid, an exponential or a sine, whose last bit differs between libraries; the `v_decay` and
`c_decay` of the CUBA pair are 1 - 2**-k, for which both ways to write the decay round alike.

Facts about the peer that a reader may trip over:
- IzhikevichNode with `detach_reset=True` detaches the reset of `v` and not the jump of `w`.
- CUBALIFNode has no `detach_reset` argument; the attribute works.
- ILIFNode rounds halves to even, ours up; they differ only for a membrane exactly between two counts.

Surrogates, by their derivative at the distance z from the threshold; all are as SpikingJelly documents them.

| SpikingJelly              | here                                                              |
|---------------------------|-------------------------------------------------------------------|
| ATan(alpha)               | atan(alpha)                                                       |
| Sigmoid(alpha)            | sigmoid(alpha)                                                    |
| Erf(alpha)                | erf(alpha)                                                        |
| PiecewiseQuadratic(alpha) | triangle(alpha)                                                   |
| Rect(alpha)               | rectangle(width=1 / alpha); the edge itself is outside for theirs |
| QPseudoSpike(alpha=2)     | fast_sigmoid(2)                                                   |
| SoftSign(alpha)           | fast_sigmoid(alpha) times alpha / 2                               |
| SuperSpike(alpha)         | fast_sigmoid(1) times alpha                                       |
| PiecewiseExp, LeakyKReLU  | surrogates of a user, below                                       |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peers import Pair, Theirs, check, close, pointwise, scaled, theirs_pointwise
from torch import Tensor

from snnkit import neuron as ours
from snnkit.neuron import Neuron, Param, Surrogate, surrogate

jelly = pytest.importorskip("spikingjelly.activation_based.neuron", reason="SpikingJelly is not installed")
theirs = pytest.importorskip("spikingjelly.activation_based.surrogate", reason="SpikingJelly is not installed")

resets = pytest.mark.parametrize("v_reset", [None, 0.0, -0.25], ids=["soft", "to 0", "to -0.25"])
detaches = pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
decays = pytest.mark.parametrize("decay_input", [True, False], ids=["input decays", "input whole"])

RESET = {"soft": "v = v - s * theta", "hard": "v = (1 - s) * v + s * v_reset"}
CUT = {"soft": "v = v - fired * theta", "hard": "v = (1 - fired) * v + fired * v_reset"}


def node(make: Callable[[], Any], states: dict[str, str], learnt: dict[str, str] | None = None):
    """Wrap a SpikingJelly node as a peer; `states` and `learnt` give its names for ours."""

    def run(x: Tensor, start: dict[str, Tensor]) -> Theirs:
        layer = make().to(x.dtype)
        layer.step_mode = "m"
        for mine, other in states.items():
            setattr(layer, other, start[mine])
        y = layer(x)
        found = {mine: (getattr(layer, other), 1.0) for mine, other in (learnt or {}).items()}
        return Theirs(y, {mine: getattr(layer, other) for mine, other in states.items()}, found)

    return run


def common(v_reset: float | None, detach: bool) -> dict[str, Any]:
    """Return what all their nodes take."""
    return {"v_reset": v_reset, "detach_reset": detach, "surrogate_function": theirs.ATan(2.0)}


def style(v_reset: float | None) -> tuple[Any, dict[str, float]]:
    """Return our reset, and its parameter, for a `v_reset` of theirs."""
    return ("soft", {}) if v_reset is None else ("hard", {"v_reset": v_reset})


@detaches
@resets
def test_if(v_reset: float | None, detach: bool) -> None:
    reset, values = style(v_reset)
    peer = node(lambda: jelly.IFNode(1.5, **common(v_reset, detach)), {"v": "v"})
    check(Pair(ours.integrate_fire(reset=reset), peer, {"theta": 1.5, **values}, detach_reset=detach))


@detaches
@decays
@resets
def test_lif(v_reset: float | None, decay_input: bool, detach: bool) -> None:
    reset, values = style(v_reset)
    peer = node(lambda: jelly.LIFNode(3.0, decay_input, 0.7, **common(v_reset, detach)), {"v": "v"})
    values |= {"tau": 3.0, "theta": 0.7, "v_rest": v_reset or 0.0}
    check(Pair(ours.lif(reset=reset, input_decay=decay_input), peer, values, detach_reset=detach, drive=(0.6, 1.2)))


@pytest.mark.parametrize(
    ("v_reset", "decay_input", "detach"),
    [(None, True, False), (None, False, True), (0.0, True, True), (0.0, False, False)],
)
def test_plif_and_its_learnt_constant(v_reset: float | None, decay_input: bool, detach: bool) -> None:
    reset, values = style(v_reset)

    def make() -> Any:
        layer = jelly.ParametricLIFNode(2.0, decay_input, 0.7, **common(v_reset, detach))
        torch.nn.init.constant_(layer.w, -0.75)
        return layer

    peer = node(make, {"v": "v"}, {"w": "w"})
    neuron = ours.plif(reset=reset, input_decay=decay_input)
    values |= {"w": -0.75, "theta": 0.7}
    check(Pair(neuron, peer, values, detach_reset=detach, dtype=torch.float64, drive=(0.6, 1.2)))


def test_plif_starts_from_the_same_constant() -> None:
    for tau in (1.5, 2.0, 10.0):
        w = jelly.ParametricLIFNode(tau).w
        assert torch.equal(w, torch.tensor(-math.log(tau - 1)))
        assert 1 / w.sigmoid().item() == pytest.approx(tau, rel=1e-6)


@detaches
@resets
def test_quadratic_if(v_reset: float | None, detach: bool) -> None:
    reset, values = style(v_reset)
    fixed = {"tau": 2.5, "v_c": 0.7, "a0": 0.8, "v_rest": 0.1}
    peer = node(lambda: jelly.QIFNode(v_threshold=0.9, **fixed, **common(v_reset, detach)), {"v": "v"})
    pair = Pair(ours.quadratic_if(reset=reset), peer, {"theta": 0.9, **fixed, **values}, detach_reset=detach)
    check(pair)


@pytest.mark.parametrize(("v_reset", "detach"), [(None, False), (0.0, True), (-0.25, False)])
def test_exponential_if(v_reset: float | None, detach: bool) -> None:
    reset, values = style(v_reset)
    peer = node(
        lambda: jelly.EIFNode(2.5, 0.5, 0.75, 0.9, 0.1, **common(v_reset, detach)),
        {"v": "v"},
    )
    values |= {"tau": 2.5, "delta_t": 0.5, "v_t": 0.75, "theta": 0.9, "v_rest": 0.1}
    pair = Pair(ours.exponential_if(reset=reset), peer, values, detach_reset=detach, dtype=torch.float64)
    check(pair)


@detaches
@resets
def test_cuba_lif(v_reset: float | None, detach: bool) -> None:
    reset, values = style(v_reset)

    def make() -> Any:
        layer = jelly.CUBALIFNode(0.5, 0.75, 0.5, v_reset, theirs.ATan(2.0))
        layer.detach_reset = detach
        return layer

    values |= {"tau_syn": 2.0, "tau_mem": 4.0, "theta": 0.5}
    pair = Pair(
        ours.cuba_lif(reset=reset), node(make, {"v": "v", "i": "c"}), values, detach_reset=detach, drive=(0, 0.4)
    )
    check(pair)


RESONATOR = Neuron(
    name="resonator",
    states={"re": 0.0, "im": 0.0},
    params={"omega": Param(0.5), "decay": Param(0.75), "theta": Param(1.0), "v_reset": Param(0.0)},
    update=[
        "turned = decay * (re * cos(omega) - im * sin(omega)) + x",
        "im = decay * (re * sin(omega) + im * cos(omega))",
        "re = turned",
    ],
    spike="im - theta",
    reset=["im = (1 - s) * im + s * v_reset"],
    reference="Izhikevich, Resonate-and-fire neurons, 2001; the reset keeps the real part",
)


@pytest.mark.parametrize(("v_reset", "detach"), [(None, False), (0.0, True), (-0.25, True)])
def test_resonate_fire(v_reset: float | None, detach: bool) -> None:
    values = {"omega": 0.5, "decay": 0.75, "theta": 0.6, **style(v_reset)[1]}
    peer = node(
        lambda: jelly.RAFNode(math.log(0.75) / 2, 0.25, 2.0, 0.6, **common(v_reset, detach)), {"im": "v", "re": "u"}
    )
    neuron = RESONATOR if v_reset is not None else ours.resonate_fire(reset="soft")
    check(Pair(neuron, peer, values, detach_reset=detach, dtype=torch.float64, drive=(0.1, 0.8)))


@detaches
@pytest.mark.parametrize("theta", [1.0, 0.5])
def test_ilif(theta: float, detach: bool) -> None:
    count = theirs.MultiLevelSpikeCount(4)
    peer = node(lambda: jelly.ILIFNode(4.0 / 3.0, theta, count, detach), {"v": "v"})
    values = {"decay": 0.25, "theta": theta}
    pair = Pair(ours.ilif(levels=4), peer, values, surrogate.rectangle(theta), detach, drive=(0.4, 0.8))
    check(pair)


def test_readout() -> None:
    def peer(x: Tensor, start: dict[str, Tensor]) -> Theirs:
        layer = jelly.NonSpikingLIFNode(tau=3.0)
        return Theirs(torch.stack(layer(x)))

    check(Pair(ours.readout(), peer, {"tau": 3.0}, still=("v",)))


KLIF = Neuron(
    name="klif",
    states={"v": 0.0},
    params={"k": Param(1.0), "tau": Param(2.0, low=1.0), "theta": Param(1.0), "v_reset": Param(0.0)},
    update=["v = max(k * (v + (x - (v - v_reset)) / tau), 0)"],
    spike="v - theta",
    reset=["v = (1 - s) * v + s * v_reset"],
    reference="Jiang & Zhang, KLIF: an optimized spiking neuron unit, 2023",
)


def test_klif_of_a_user_and_its_learnt_slope() -> None:
    def make() -> Any:
        layer = jelly.KLIFNode(False, 3.0, True, 0.7, **common(-0.25, False))
        torch.nn.init.constant_(layer.k, 1.25)
        return layer

    values = {"k": 1.25, "tau": 3.0, "theta": 0.7, "v_reset": -0.25}
    check(Pair(KLIF, node(make, {"v": "v"}, {"k": "k"}), values, detach_reset=False, drive=(0.6, 1.2)))


def adaptive_qif(reset: str, detach: bool) -> Neuron:
    """Return their IzhikevichNode; with `detach`, `v` is reset by a comparison, which has no gradient."""
    cut = ["fired = v >= theta"] if detach else []
    return Neuron(
        name="adaptive_qif",
        states={"v": 0.0, "w": 0.0},
        params={
            **{"tau": Param(2.0, low=1.0), "tau_w": Param(2.0, low=1.0), "a0": Param(1.0), "a": 0.0, "b": 0.0},
            **{"v_rest": Param(-0.1), "v_c": Param(0.8), "theta": Param(1.0), "v_reset": Param(0.0)},
        },
        update=[
            "v = v + (x + a0 * (v - v_rest) * (v - v_c) - w) / tau",
            "w = w + (a * (v - v_rest) - w) / tau_w",
        ],
        spike="v - theta",
        reset=["w = w + b * s", *cut, (CUT if detach else RESET)[reset]],
        reference="the quadratic neuron with adaptation that SpikingJelly names after Izhikevich",
    )


@pytest.mark.parametrize(("v_reset", "detach"), [(None, False), (0.0, True), (-0.25, True)])
def test_adaptive_quadratic_if_of_a_user(v_reset: float | None, detach: bool) -> None:
    reset, values = style(v_reset)
    fixed = {"tau": 2.5, "v_c": 0.7, "a0": 0.8, "v_rest": -0.5, "tau_w": 4.0, "a": 0.3, "b": 0.25}
    peer = node(lambda: jelly.IzhikevichNode(v_threshold=0.9, **fixed, **common(v_reset, detach)), {"v": "v", "w": "w"})
    # the neuron itself says what is detached
    values |= {"theta": 0.9, **fixed}
    check(Pair(adaptive_qif(reset, detach), peer, values, detach_reset=False, drive=(0.8, 1.0)))


LEAKY_RELU = Surrogate(
    "leaky_relu", {"leak": 0.25, "k": 1.5}, "where(z >= 0, k, leak)", "where(z >= 0, k * z, leak * z)", "a user"
)
PIECEWISE_EXP = Surrogate(
    "piecewise_exp",
    {"alpha": 3.0},
    derivative="alpha / 2 * exp(-alpha * abs(z))",
    primitive="where(z >= 0, 1 - exp(-alpha * abs(z)) / 2, exp(-alpha * abs(z)) / 2)",
    reference="Neftci, Mostafa & Zenke, Surrogate gradient learning in spiking neural networks, 2019",
)

SHARED: dict[str, tuple[Surrogate, Callable[[], Any]]] = {
    "atan": (surrogate.atan(3.0), lambda: theirs.ATan(3.0)),
    "sigmoid": (surrogate.sigmoid(5.0), lambda: theirs.Sigmoid(5.0)),
    "erf": (surrogate.erf(1.5), lambda: theirs.Erf(1.5)),
    "triangle": (surrogate.triangle(0.75), lambda: theirs.PiecewiseQuadratic(0.75)),
    "rectangle": (surrogate.rectangle(0.8), lambda: theirs.Rect(1.25)),
    "fast_sigmoid": (surrogate.fast_sigmoid(2.0), lambda: theirs.QPseudoSpike(2.0)),
    "soft sign": (scaled(surrogate.fast_sigmoid(3.0), 1.5), lambda: theirs.SoftSign(3.0)),
    "super spike": (scaled(surrogate.fast_sigmoid(1.0), 3.0), lambda: theirs.SuperSpike(3.0)),
    "piecewise exp": (PIECEWISE_EXP, lambda: theirs.PiecewiseExp(3.0)),
    "leaky relu": (LEAKY_RELU, lambda: theirs.LeakyKReLU(0.25, 1.5)),
}


@pytest.mark.parametrize("name", SHARED)
def test_surrogate_at_every_distance(name: str) -> None:
    mine, make = SHARED[name]
    z = torch.linspace(-4, 4, 1601) + 1e-3
    expected = theirs_pointwise(z, make())
    assert float(expected.max()) > 0.1
    close(pointwise(z, mine), expected, 1e-6, name)


@pytest.mark.parametrize("name", SHARED)
def test_surrogate_inside_a_neuron(name: str) -> None:
    mine, make = SHARED[name]
    peer = node(lambda: jelly.LIFNode(3.0, True, 0.7, -0.25, make()), {"v": "v"})
    values = {"tau": 3.0, "theta": 0.7, "v_reset": -0.25, "v_rest": -0.25}
    check(Pair(ours.lif(reset="hard"), peer, values, mine, detach_reset=False, drive=(0.6, 1.2)))


def test_every_surrogate_of_ours_but_the_gaussian_has_one_of_theirs() -> None:
    assert set(surrogate.SURROGATES) - set(SHARED) == {"gaussian"}
