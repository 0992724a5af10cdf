"""Neurons and surrogates give what Norse 1.1 gives.

Norse takes Euler steps of `dt` seconds with inverse time constants, so `tau = 1 / (dt * tau_inv)` in steps. It fires
strictly above the threshold, we fire at or above it; the two differ only for a membrane exactly on it.

| Norse                                     | here                                                   | equal in |
|-------------------------------------------|--------------------------------------------------------|----------|
| LIFCell, lif_feed_forward_step            | CubaLIF(reset="hard", input_decay=True), attached      | float32  |
| LIFRecurrentCell                          | Recurrent(the same, detached; Linear without bias)     | float64  |
| LIFBoxCell(reset_value or reset_subtract) | LIF(reset="hard" or "soft", v_rest=v_leak), attached   | float64  |
| IAFCell                                   | IF(reset="hard"), attached                             | float32  |
| LSNNCell with dt * tau_syn_inv = 1        | ALIF(reset="hard") whose input comes one step late     | float64  |
| LSNNCell                                  | `LSNN` below                                           | float32  |
| LIFRefracCell with dt * tau_syn_inv = 1   | RefractoryLIF(period=rho_reset); spikes and state only | float32  |
| LIFExCell with dt * tau_syn_inv = 1       | ExponentialIF(delta_t=delta_T, v_t=v_th)               | float64  |
| LIFAdExCell                               | `ADEX` below                                           | float64  |
| LIBoxCell                                 | Readout(tau)                                           | float32  |
| LICell                                    | `LEAKY_INTEGRATOR` below                               | float32  |
| IzhikevichCell(tau_inv)                   | `IZHIKEVICH` below, dt = tau_inv * dt in milliseconds  | float32  |

The pairs in float32 have time constants of 2**k steps, for which multiplying by the inverse rounds as dividing does.
States: the current that LIFCell returns has already decayed for the next step, `i_theirs = i_ours * (1 - 1 / tau_syn)`.
`v_leak` of the neurons that CubaLIF and ALIF stand for is 0; another one shifts v, theta and v_reset by it.

Facts about the peer that a reader may trip over:
- Feed-forward cells pass the gradient through the reset, recurrent ones detach it.
- The membrane of LIFCell takes the current of the same step, that of LSNNCell the one of the step before.
- LSNNCell's `b` is the whole threshold: it starts at and relaxes to `v_th`, and a spike adds `beta` to it; here
  `b = theta + beta * a`. Its documentation has `b` decay to 0 and fire where `v - v_th + b` crosses.
- IzhikevichCell steps `u` with the membrane before the step, our Izhikevich with the one after it, as the code of the
  paper does.
- LIFRefracCell also takes a surrogate gradient through its countdown; ours has none, so gradients are not compared.

Surrogates, by their derivative at the distance z from the threshold, for `method` and `alpha`.

| Norse           | here                                                                   |
|-----------------|------------------------------------------------------------------------|
| super           | fast_sigmoid(1): `alpha` is accepted and not used                      |
| triangle, alpha | triangle(1) times alpha: height alpha, and half-width 1 whatever alpha |
| tanh, k         | sigmoid(2 * k) times 2 / k: height 1 whatever k                        |
| heavi_erfc, k   | erf(k) times 2 / k: height 2 / sqrt(pi) whatever k                     |
| circ, alpha     | a surrogate of a user, below: height 1, its width alpha                |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peers import WIDTH, Pair, Theirs, check, check_recurrent, close, pointwise, scaled, theirs_pointwise
from torch import Tensor, nn

import snnkit
from snnkit import neuron as ours
from snnkit.neuron import Neuron, Param, Surrogate, surrogate

pytest.importorskip("norse", reason="Norse is not installed")
norse = pytest.importorskip("norse.torch", reason="Norse is not installed")
functional = pytest.importorskip("norse.torch.functional.threshold", reason="Norse is not installed")

SUPER = surrogate.fast_sigmoid(1.0)
HARD = "v = (1 - s) * v + s * v_reset"


def loop(cell: nn.Module, pack: Callable[..., Any], unpack: Callable[[Any], dict[str, Tensor]]):
    """Wrap a Norse cell as a peer; `pack` makes its state of ours, given by name, and `unpack` ours of its."""

    def run(x: Tensor, start: dict[str, Tensor]) -> Theirs:
        state, outputs = pack(**start), []
        for x_t in x.unbind(0):
            y, state = cell(x_t, state)
            outputs.append(y)
        return Theirs(torch.stack(outputs), unpack(state))

    return run


def numbers(**values: float) -> dict[str, Tensor]:
    """Return parameters as float64 scalars, which are rounded to the type of the tensor that they meet."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_lif_with_current() -> None:
    p = norse.LIFParameters(**numbers(tau_syn_inv=500.0, tau_mem_inv=250.0, v_leak=0.0, v_th=0.75, v_reset=-0.25))
    peer = loop(
        norse.LIFCell(p, dt=1e-3),
        lambda v, i: norse.LIFFeedForwardState(v=v, i=i / 2),
        lambda state: {"v": state.v, "i": state.i * 2},
    )
    values = {"tau_syn": 2.0, "tau_mem": 4.0, "theta": 0.75, "v_reset": -0.25}
    neuron = ours.cuba_lif(reset="hard", input_decay=True)
    check(Pair(neuron, peer, values, SUPER, detach_reset=False, drive=(0.4, 0.6)))


def test_recurrent_lif_and_its_connection() -> None:
    p = norse.LIFParameters(**numbers(tau_syn_inv=500.0, tau_mem_inv=250.0, v_leak=0.0, v_th=0.75, v_reset=-0.25))
    cell = norse.LIFRecurrentCell(WIDTH, WIDTH, p, input_weights=torch.eye(WIDTH), autapses=True).double()
    cell.input_weights = cell.input_weights.double()

    def peer(x: Tensor) -> Tensor:
        zeros = torch.zeros_like(x[0])
        return loop(cell, lambda z: norse.LIFState(z=z, v=z, i=z), lambda state: {})(x, {"z": zeros}).outputs

    def layer(backend: str) -> snnkit.Spiking:
        options = {"reset": "hard", "input_decay": True, "surrogate": SUPER, "detach_reset": True, "backend": backend}
        return snnkit.CubaLIF(tau_syn=2.0, tau_mem=4.0, theta=0.75, v_reset=-0.25, **options)

    check_recurrent(peer, [cell.recurrent_weights], layer, tolerance=1e-10)


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_lif_without_current(reset: Any) -> None:
    module = pytest.importorskip("norse.torch.functional.reset")
    how = module.reset_subtract if reset == "soft" else module.reset_value
    p = norse.LIFBoxParameters(
        **numbers(tau_mem_inv=250.0, v_leak=0.125, v_th=0.75, v_reset=-0.25), method="super", reset_method=how
    )
    peer = loop(norse.LIFBoxCell(p), lambda v: norse.LIFBoxFeedForwardState(v=v), lambda state: {"v": state.v})
    values = {"tau": 4.0, "theta": 0.75, "v_rest": 0.125, **({"v_reset": -0.25} if reset == "hard" else {})}
    # their order is (x + v_leak) - v and ours x - (v - v_rest), which round differently
    pair = Pair(ours.lif(reset=reset), peer, values, SUPER, detach_reset=False, dtype=torch.float64, drive=(0.6, 1.2))
    check(pair)


def test_if() -> None:
    module = pytest.importorskip("norse.torch.functional.iaf")
    p = module.IAFParameters(**numbers(v_th=1.25, v_reset=-0.25))
    cell = pytest.importorskip("norse.torch.module.iaf").IAFCell(p)
    peer = loop(cell, lambda v: module.IAFFeedForwardState(v=v), lambda state: {"v": state.v})
    values = {"theta": 1.25, "v_reset": -0.25}
    check(Pair(ours.integrate_fire(reset="hard"), peer, values, SUPER, detach_reset=False))


LSNN_VALUES = {"tau_mem_inv": 250.0, "tau_adapt_inv": 62.5, "v_leak": 0.0, "v_th": 0.75, "v_reset": -0.25, "beta": 0.5}


def test_lsnn_without_current_is_alif_one_step_later() -> None:
    p = norse.LSNNParameters(tau_syn_inv=torch.tensor(1000.0).double(), **numbers(**LSNN_VALUES))

    def peer(x: Tensor, start: dict[str, Tensor]) -> Theirs:
        state = norse.LSNNFeedForwardState(v=start["v"], i=x[0], b=0.75 + 0.5 * start["a"])
        cell, outputs = norse.LSNNCell(p), []
        for x_t in [*x[1:].unbind(0), torch.zeros_like(x[0])]:
            y, state = cell(x_t, state)
            outputs.append(y)
        return Theirs(torch.stack(outputs), {"v": state.v, "a": (state.b - 0.75) / 0.5})

    values = {"tau": 4.0, "tau_a": 16.0, "beta": 0.5, "theta": 0.75, "v_reset": -0.25}
    neuron = ours.alif(reset="hard")
    check(Pair(neuron, peer, values, SUPER, detach_reset=False, dtype=torch.float64, drive=(1.0, 1.2)))


LSNN = Neuron(
    name="lsnn",
    states={"v": 0.0, "i": 0.0, "b": 0.75},
    params={
        **{"tau_mem": Param(4.0, low=1.0), "tau_syn": Param(2.0, low=1.0), "tau_adapt": Param(16.0, low=1.0)},
        **{"theta": Param(0.75), "v_reset": Param(0.0), "beta": Param(0.5)},
    },
    update=["v = v + (i - v) / tau_mem", "i = i - i / tau_syn", "b = b + (theta - b) / tau_adapt"],
    spike="v - b",
    reset=[HARD, "i = i + x", "b = b + s * beta"],
    reference="Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, 2018",
)


def test_lsnn_of_a_user() -> None:
    p = norse.LSNNParameters(tau_syn_inv=torch.tensor(500.0).double(), **numbers(**LSNN_VALUES))
    peer = loop(norse.LSNNCell(p), norse.LSNNFeedForwardState, lambda state: state._asdict())
    values = {"tau_mem": 4.0, "tau_syn": 2.0, "tau_adapt": 16.0, "theta": 0.75, "v_reset": -0.25, "beta": 0.5}
    check(Pair(LSNN, peer, values, SUPER, detach_reset=False, drive=(0.6, 0.6)))


def test_refractory_lif() -> None:
    p = norse.LIFRefracParameters(
        norse.LIFParameters(**numbers(tau_syn_inv=1000.0, tau_mem_inv=250.0, v_leak=0.0, v_th=0.75, v_reset=-0.25)),
        torch.tensor(3.0).double(),
    )

    def pack(v: Tensor, wait: Tensor) -> Any:
        return norse.LIFRefracFeedForwardState(norse.LIFFeedForwardState(v=v, i=torch.zeros_like(v)), wait)

    peer = loop(norse.LIFRefracCell(p), pack, lambda state: {"v": state.lif.v, "wait": state.rho})
    values = {"tau": 4.0, "theta": 0.75, "period": 3.0, "v_reset": -0.25}
    pair = Pair(ours.refractory_lif(), peer, values, SUPER, drive=(1.0, 1.0), still=("wait",), gradients=False)
    check(pair)


def test_exponential_if() -> None:
    p = norse.LIFExParameters(
        **numbers(delta_T=0.5, tau_syn_inv=1000.0, tau_mem_inv=250.0, v_leak=0.125, v_th=0.75, v_reset=-0.25)
    )
    module = pytest.importorskip("norse.torch.functional.lif_ex")
    peer = loop(
        norse.LIFExCell(p),
        lambda v: module.LIFExFeedForwardState(v=v, i=torch.zeros_like(v)),
        lambda state: {"v": state.v},
    )
    values = {"tau": 4.0, "delta_t": 0.5, "v_t": 0.75, "theta": 0.75, "v_rest": 0.125, "v_reset": -0.25}
    check(Pair(ours.exponential_if(), peer, values, SUPER, detach_reset=False, dtype=torch.float64, drive=(0.2, 0.8)))


ADEX = Neuron(
    name="adex",
    states={"v": 0.0, "i": 0.0, "a": 0.0},
    params={
        **{"tau_mem": Param(4.0, low=1.0), "tau_syn": Param(2.0, low=1.0), "tau_a": Param(8.0, low=1.0)},
        **{"delta_t": Param(0.5), "theta": Param(0.75), "v_rest": 0.0, "v_reset": 0.0, "couple": 0.5, "jump": 0.25},
    },
    update=[
        "i = i - i / tau_syn + x",
        "grow = delta_t * exp((v - theta) / delta_t)",
        "a_next = a + (couple * (v - v_rest) - a) / tau_a",
        "v = v + (v_rest - v + grow + i - a) / tau_mem",
        "a = a_next",
    ],
    spike="v - theta",
    reset=[HARD, "a = a + s * jump"],
    reference="Brette & Gerstner, Adaptive exponential integrate-and-fire model, J. Neurophysiology 2005",
)


def test_adaptive_exponential_if_of_a_user() -> None:
    module = pytest.importorskip("norse.torch.functional.lif_adex")
    cell = pytest.importorskip("norse.torch.module.lif_adex").LIFAdExCell
    p = module.LIFAdExParameters(
        **numbers(adaptation_current=0.5, adaptation_spike=0.25, delta_T=0.5, tau_ada_inv=125.0),
        **numbers(tau_syn_inv=500.0, tau_mem_inv=250.0, v_leak=0.125, v_th=0.75, v_reset=-0.25),
    )
    peer = loop(
        cell(p),
        lambda v, i, a: module.LIFAdExFeedForwardState(v=v, i=i / 2, a=a),
        lambda state: {"v": state.v, "i": state.i * 2, "a": state.a},
    )
    values = {
        **{"tau_mem": 4.0, "tau_syn": 2.0, "tau_a": 8.0, "delta_t": 0.5, "theta": 0.75},
        **{"v_rest": 0.125, "v_reset": -0.25, "couple": 0.5, "jump": 0.25},
    }
    check(Pair(ADEX, peer, values, SUPER, detach_reset=False, dtype=torch.float64, drive=(0.3, 0.5)))


def test_readout() -> None:
    module = pytest.importorskip("norse.torch.functional.leaky_integrator_box")
    cell = pytest.importorskip("norse.torch.module.leaky_integrator_box").LIBoxCell
    peer = loop(
        cell(module.LIBoxParameters(**numbers(tau_mem_inv=250.0, v_leak=0.0))),
        lambda v: module.LIBoxState(v=v),
        lambda state: {"v": state.v},
    )
    # (0 - v) + x rounds as x - v does
    check(Pair(ours.readout(), peer, {"tau": 4.0}))


LEAKY_INTEGRATOR = Neuron(
    name="leaky_integrator",
    states={"i": 0.0, "v": 0.0},
    params={"tau_syn": Param(2.0, low=1.0), "tau_mem": Param(4.0, low=1.0)},
    update=["i = i - i / tau_syn + x", "v = v + (i - v) / tau_mem"],
    reference="Gerstner & Kistler, Spiking Neuron Models, 2002",
)


def test_readout_with_current_of_a_user() -> None:
    p = norse.LIParameters(**numbers(tau_syn_inv=500.0, tau_mem_inv=250.0, v_leak=0.0))
    peer = loop(
        norse.LICell(p),
        lambda i, v: norse.LIState(v=v, i=i / 2),
        lambda state: {"v": state.v, "i": state.i * 2},
    )
    check(Pair(LEAKY_INTEGRATOR, peer, {"tau_syn": 2.0, "tau_mem": 4.0}))


IZHIKEVICH = Neuron(
    name="izhikevich_euler",
    states={"v": -65.0, "u": -13.0},
    params={"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "dt": Param(0.25)},
    update=[
        "u_next = u + dt * a * (b * v - u)",
        "v = v + dt * (0.04 * v**2 + 5 * v + 140 - u + x)",
        "u = u_next",
    ],
    spike="v - 30",
    reset=["v = (1 - s) * v + s * c", "u = (1 - s) * u + s * (u + d)"],
    reference="Izhikevich, Simple model of spiking neurons, IEEE TNN 2003; explicit Euler steps",
)


def test_izhikevich_with_explicit_steps_of_a_user() -> None:
    p = norse.IzhikevichParameters(a=0.02, b=0.2, c=-65.0, d=8.0, tau_inv=500.0)
    behaviour = norse.IzhikevichSpikingBehavior(p=p, s=norse.IzhikevichState(v=torch.zeros(1), u=torch.zeros(1)))
    peer = loop(
        norse.IzhikevichCell(behaviour, dt=1e-3),
        lambda v, u: norse.IzhikevichState(v=v, u=u),
        lambda state: {"v": state.v, "u": state.u},
    )
    values = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "dt": 0.5}
    check(Pair(IZHIKEVICH, peer, values, SUPER, detach_reset=False, drive=(40.0, 15.0)))


CIRC = Surrogate(
    "circ",
    {"alpha": 0.5},
    derivative="alpha**3 / ((alpha**2 + z**2) * sqrt(alpha**2 + z**2))",
    primitive="alpha * z / sqrt(alpha**2 + z**2)",
    reference="Norse",
)

SHARED: dict[str, tuple[Surrogate, str, float]] = {
    "fast_sigmoid": (SUPER, "super", 100.0),
    "triangle": (scaled(surrogate.triangle(1.0), 0.3), "triangle", 0.3),
    "sigmoid": (surrogate.sigmoid(4.0), "tanh", 2.0),
    "scaled sigmoid": (scaled(surrogate.sigmoid(6.0), 2 / 3), "tanh", 3.0),
    "erf": (surrogate.erf(2.0), "heavi_erfc", 2.0),
    "scaled erf": (scaled(surrogate.erf(3.0), 2 / 3), "heavi_erfc", 3.0),
    "circ": (CIRC, "circ", 0.5),
}


@pytest.mark.parametrize("name", SHARED)
def test_surrogate_at_every_distance(name: str) -> None:
    mine, method, alpha = SHARED[name]
    z = torch.linspace(-4, 4, 1601) + 1e-3
    expected = theirs_pointwise(z, lambda z: functional.threshold(z, method, alpha))
    close(pointwise(z, mine), expected, 2e-6, name)


@pytest.mark.parametrize("name", SHARED)
def test_surrogate_inside_a_neuron(name: str) -> None:
    mine, method, alpha = SHARED[name]
    p = norse.LIFParameters(
        **numbers(tau_syn_inv=500.0, tau_mem_inv=250.0, v_leak=0.0, v_th=0.75, v_reset=-0.25),
        method=method,
        alpha=torch.tensor(alpha),
    )
    peer = loop(
        norse.LIFCell(p, dt=1e-3),
        lambda v, i: norse.LIFFeedForwardState(v=v, i=i / 2),
        lambda state: {"v": state.v, "i": state.i * 2},
    )
    values = {"tau_syn": 2.0, "tau_mem": 4.0, "theta": 0.75, "v_reset": -0.25}
    neuron = ours.cuba_lif(reset="hard", input_decay=True)
    check(Pair(neuron, peer, values, mine, detach_reset=False, drive=(0.4, 0.6)))


def test_super_spike_does_not_use_its_alpha() -> None:
    z = torch.linspace(-2, 2, 101)
    slopes = [theirs_pointwise(z, lambda z, k=k: functional.threshold(z, "super", k)) for k in (1.0, 100.0)]
    assert torch.equal(*slopes)


def test_a_membrane_on_the_threshold_fires_here_and_not_there() -> None:
    assert functional.threshold(torch.zeros(1), "super", 100.0).item() == 0
    assert snnkit.IF()(torch.ones(1, 1, 1)).item() == 1
