"""Neurons and surrogates give what snnTorch 1.0 gives.

snnTorch multiplies by a decay where we divide by a time constant: `beta = 1 - 1 / tau`. It resets one step late by
default (`reset_delay=True`): the membrane that it returns is the one before the reset, and the reset is taken off the
next step's membrane after the decay. It fires strictly above the threshold (its documentation says at or above it),
we fire at or above it; the two differ only for a membrane exactly on it.

| snnTorch                                    | here                                                     | equal in |
|---------------------------------------------|----------------------------------------------------------|----------|
| Leaky(beta, "subtract", reset_delay=False)  | LIF(tau=1 / (1 - beta), input_decay=False), attached     | float32  |
| Leaky(beta, "zero", reset_delay=False)      | the same with reset="hard", attached                     | float32  |
| Leaky(beta, "zero")                         | the same with reset="hard", detached                     | float32  |
| Leaky(beta, "subtract")                     | `LEAKY`, which subtracts one step late, detached         | float32  |
| Leaky(beta=1, "subtract")                   | IF, detached                                             | float64  |
| Leaky(beta, "none"), its membrane           | Readout(tau, input_decay=False)                          | float32  |
| Synaptic(alpha, beta, …, reset_delay=False) | CubaLIF(tau_syn=1 / (1 - alpha), tau_mem=1 / (1 - beta)) | float32  |
| Synaptic(alpha, beta, "subtract" or "zero") | `synaptic(…)`, detached                                  | float32  |
| Lapicque(R, C), input I                     | LIF(tau=R * C), input R * I, and its reset one step late | float64  |
| Lapicque(R, C, "none"), its membrane        | Readout(tau=R * C), input R * I                          | float64  |
| Alpha(alpha, beta, any reset)               | `alpha_neuron(…)`, detached                              | float64  |
| RLeaky(beta, "zero", reset_delay=False)     | Recurrent(LIF(reset="hard", input_decay=False), Linear)  | float64  |

The decays are 1 - 2**-k, for which `beta * v` and `v - v / tau` round alike. Gradients: d beta / d tau = 1 / tau**2.

Facts about the peer that a reader may trip over:
- With `reset_delay=True` the reset is detached, with `reset_delay=False` it is not; there is no argument for it.
- With `reset_delay=False` and "subtract", a membrane left above the threshold by a reset fires one threshold higher in
  the next step, because the late reset is taken off before the comparison and given back after it. So the pair holds
  for membranes below two thresholds.
- A late "zero" of Synaptic, Lapicque and Alpha zeroes the membrane *after* the next input: the step after a spike is
  lost. Leaky zeroes it before.
- Lapicque(beta) decays by 1 - log(1 / beta), not by beta.
- Alpha(learn_alpha=True) raises TypeError.
- Spikes are float32 whatever the membrane's type, and gradients pass through them in float32; the pairs in float64
  give it `wide`, its own surrogate with the spike in the membrane's type, so that products with it are float64.

Surrogates, by their derivative at the distance z from the threshold.

| snnTorch                        | here                                                                |
|---------------------------------|---------------------------------------------------------------------|
| atan(alpha)                     | atan(alpha); documented with a factor 1 / pi in place of alpha / 2  |
| fast_sigmoid(slope)             | fast_sigmoid(slope)                                                 |
| sigmoid(slope)                  | sigmoid(slope); theirs is NaN for z < -88.7 / slope, ours is 0      |
| triangular(threshold)           | no triangle: +threshold below and -threshold above, as it documents |
| heaviside, spike_rate_escape    | surrogates of a user, below; the second is centred at z = 1, not 0  |
| straight_through_estimator, SFS | surrogates of a user, below                                         |
| LSO                             | raises TypeError when called                                        |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peers import WIDTH, Pair, Theirs, check, check_recurrent, close, pointwise, theirs_pointwise
from torch import Tensor

import snnkit
from snnkit import neuron as ours
from snnkit.neuron import Neuron, Param, Surrogate, surrogate

snntorch = pytest.importorskip("snntorch", reason="snnTorch is not installed")
theirs = pytest.importorskip("snntorch.surrogate", reason="snnTorch is not installed")

delays = pytest.mark.parametrize("delay", [True, False], ids=["late reset", "prompt reset"])


def loop(make: Callable[[], Any], states: dict[str, str], *, learnt=None, after: bool = True, membrane: bool = False):
    """Wrap a snnTorch layer as a peer.

    Args:
        make: makes the layer; its buffers are taken to the type of the input.
        states: our state to the name of theirs, in the order in which they are passed and returned.
        learnt: our parameter to the name of theirs and the derivative of theirs by ours.
        after: whether the last states are comparable.
        membrane: whether the output is the last state instead of the spike.
    """

    def run(x: Tensor, start: dict[str, Tensor]) -> Theirs:
        layer = make().to(x.dtype)
        state = [start[mine] for mine in states]
        outputs = []
        for x_t in x.unbind(0):
            spikes, *state = layer(x_t, *state)
            outputs.append(state[-1] if membrane else spikes)
        found = {mine: (getattr(layer, name), slope) for mine, (name, slope) in (learnt or {}).items()}
        return Theirs(torch.stack(outputs), dict(zip(states, state, strict=True)) if after else {}, found)

    return run


def wide(z: Tensor) -> Tensor:
    """Return their spike in the type of the membrane, with their default gradient."""
    return theirs.atan(2.0)(z).to(z.dtype)


def late(neuron_update: list[str], *, zero: bool) -> dict[str, Any]:
    """Return update and reset of a neuron whose reset comes one step late; `r` is the last spike."""
    last = neuron_update[-1].removeprefix("v = ")
    return {
        "update": [*neuron_update[:-1], f"v = (1 - r) * ({last})" if zero else f"v = {last} - r * theta"],
        "spike": "v - theta",
        "reset": ["r = s"],
        "reference": "Eshraghian et al., Training spiking neural networks, Proc. IEEE 2023",
    }


LEAKY = Neuron(
    name="leaky",
    states={"v": 0.0, "r": 0.0},
    params={"beta": Param(0.9, low=0.0, high=1.0), "theta": Param(1.0)},
    **late(["v = beta * v + x"], zero=False),
)


def test_leaky_that_subtracts_late_and_what_it_learns() -> None:
    peer = loop(
        lambda: snntorch.Leaky(0.9, 1.25, learn_beta=True, learn_threshold=True),
        {"v": "mem"},
        learnt={"beta": ("beta", 1.0), "theta": ("threshold", 1.0)},
    )
    check(Pair(LEAKY, peer, {"beta": 0.9, "theta": 1.25}, still=("r",)))


@delays
def test_leaky_that_zeroes_and_what_it_learns(delay: bool) -> None:
    peer = loop(
        lambda: snntorch.Leaky(
            0.75, 1.25, learn_beta=True, learn_threshold=True, reset_mechanism="zero", reset_delay=delay
        ),
        {"v": "mem"},
        learnt={"tau": ("beta", 1 / 16), "theta": ("threshold", 1.0)},
        after=not delay,
    )
    neuron = ours.lif(reset="hard", input_decay=False)
    check(Pair(neuron, peer, {"tau": 4.0, "theta": 1.25}, detach_reset=delay))


def test_leaky_that_subtracts_promptly_and_what_it_learns() -> None:
    peer = loop(
        lambda: snntorch.Leaky(0.75, 2.0, learn_beta=True, learn_threshold=True, reset_delay=False),
        {"v": "mem"},
        learnt={"tau": ("beta", 1 / 16), "theta": ("threshold", 1.0)},
    )
    check(Pair(ours.lif(input_decay=False), peer, {"tau": 4.0, "theta": 2.0}, detach_reset=False, drive=(0.6, 0.4)))


def test_leaky_that_subtracts_promptly_holds_back_a_membrane_above_two_thresholds() -> None:
    x = torch.tensor([2.5, 0.0, 0.0]).view(-1, 1, 1)
    layer, membrane, spikes = snntorch.Leaky(0.75, reset_delay=False), torch.zeros(1, 1), []
    for x_t in x:
        spike, membrane = layer(x_t, membrane)
        spikes.append(int(spike))
    assert spikes == [1, 0, 0]
    assert snnkit.LIF(tau=4.0, input_decay=False)(x).flatten().tolist() == [1, 1, 0]


def test_a_membrane_on_the_threshold_fires_here_and_not_there() -> None:
    x = torch.full((1, 1, 1), 1.25)
    assert snntorch.Leaky(0.75, 1.25)(x[0], torch.zeros(1, 1))[0].item() == 0
    assert snnkit.LIF(tau=4.0, theta=1.25, input_decay=False)(x).item() == 1


def test_leaky_without_leak_is_if() -> None:
    peer = loop(lambda: snntorch.Leaky(1.0, 1.25, wide), {"v": "mem"}, after=False)
    check(Pair(ours.integrate_fire(), peer, {"theta": 1.25}, dtype=torch.float64, drive=(0.4, 0.4)))


def test_leaky_without_reset_is_a_readout() -> None:
    peer = loop(
        lambda: snntorch.Leaky(0.75, learn_beta=True, reset_mechanism="none"),
        {"v": "mem"},
        learnt={"tau": ("beta", 1 / 16)},
        membrane=True,
    )
    check(Pair(ours.readout(input_decay=False), peer, {"tau": 4.0}))


def synaptic(*, zero: bool) -> Neuron:
    """Return their Synaptic with its late reset."""
    return Neuron(
        name="synaptic",
        states={"i": 0.0, "v": 0.0, "r": 0.0},
        params={"alpha": Param(0.9), "beta": Param(0.8), "theta": Param(1.0)},
        **late(["i = alpha * i + x", "v = beta * v + i"], zero=zero),
    )


@pytest.mark.parametrize("zero", [False, True], ids=["subtract", "zero"])
def test_synaptic_with_its_late_reset_and_what_it_learns(zero: bool) -> None:
    peer = loop(
        lambda: snntorch.Synaptic(
            *(0.6, 0.9, 1.25),
            learn_alpha=True,
            learn_beta=True,
            learn_threshold=True,
            reset_mechanism="zero" if zero else "subtract",
        ),
        {"i": "syn", "v": "mem"},
        learnt={"alpha": ("alpha", 1.0), "beta": ("beta", 1.0), "theta": ("threshold", 1.0)},
    )
    values = {"alpha": 0.6, "beta": 0.9, "theta": 1.25}
    check(Pair(synaptic(zero=zero), peer, values, still=("r",), drive=(0.1, 0.5)))


@pytest.mark.parametrize("zero", [False, True], ids=["subtract", "zero"])
def test_synaptic_with_a_prompt_reset_is_cuba_lif(zero: bool) -> None:
    peer = loop(
        lambda: snntorch.Synaptic(
            *(0.5, 0.75, 2.0),
            learn_alpha=True,
            learn_beta=True,
            learn_threshold=True,
            reset_mechanism="zero" if zero else "subtract",
            reset_delay=False,
        ),
        {"i": "syn", "v": "mem"},
        learnt={"tau_syn": ("alpha", 1 / 4), "tau_mem": ("beta", 1 / 16), "theta": ("threshold", 1.0)},
    )
    values = {"tau_syn": 2.0, "tau_mem": 4.0, "theta": 2.0}
    neuron = ours.cuba_lif(reset="hard" if zero else "soft")
    check(Pair(neuron, peer, values, detach_reset=False, drive=(0.3, 0.3)))


def lapicque(*, zero: bool) -> Neuron:
    """Return their Lapicque with its late reset."""
    return Neuron(
        name="lapicque",
        states={"v": 0.0, "r": 0.0},
        params={"tau": Param(4.0, low=1.0), "theta": Param(1.0)},
        **late(["v = v + (x - v) / tau"], zero=zero),
    )


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_lapicque(mechanism: str) -> None:
    def peer(x: Tensor, start: dict[str, Tensor]) -> Theirs:
        def make() -> Any:
            return snntorch.Lapicque(R=2.0, C=2.0, threshold=0.75, spike_grad=wide, reset_mechanism=mechanism)

        return loop(make, {"v": "mem"}, membrane=mechanism == "none")(x / 2, start)

    values = {"tau": 4.0, "theta": 0.75}
    if mechanism == "none":
        check(Pair(ours.readout(), peer, {"tau": 4.0}, dtype=torch.float64))
        return
    neuron = lapicque(zero=mechanism == "zero")
    check(Pair(neuron, peer, values, dtype=torch.float64, still=("r",), drive=(0.8, 1.0)))


def test_lapicque_by_beta_decays_by_its_logarithm() -> None:
    layer = snntorch.Lapicque(beta=0.75, reset_mechanism="none")
    _, membrane = layer(torch.zeros(1), torch.ones(1))
    assert float(membrane) == pytest.approx(1 - math.log(1 / 0.75), rel=1e-6)


def alpha_neuron(mechanism: str) -> Neuron:
    """Return their Alpha: two synaptic traces whose difference is the membrane."""
    keep = "(1 - r) * " if mechanism == "zero" else ""
    exc, inh, mem = {
        "subtract": ("e - theta * r", "h - r * h", "v + r * before"),
        "zero": ("e", "h", "v"),
        "none": ("e", "h", "v"),
    }[mechanism]
    return Neuron(
        name=f"alpha_{mechanism}",
        states={"e": 0.0, "h": 0.0, "v": 0.0, "r": 0.0},
        params={"alpha": Param(0.9), "beta": Param(0.8), "theta": Param(1.0)},
        update=[
            "before = h",
            "e = alpha * e + x",
            "h = beta * h - x",
            "v = (log(alpha) / (log(beta) - log(alpha)) + 1) * (e + h)",
            f"e = {keep}({exc})",
            f"v = {keep}({mem})",
            f"h = {keep}({inh})",
        ],
        spike="v - theta",
        reset=["r = s" if mechanism != "none" else "r = 0 * s"],
        reference="Rall, Distinguishing theoretical synaptic potentials, 1967",
    )


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_alpha_of_a_user(mechanism: str) -> None:
    peer = loop(
        lambda: snntorch.Alpha(
            0.875, 0.75, 0.5, wide, learn_beta=True, learn_threshold=True, reset_mechanism=mechanism
        ),
        {"e": "syn_exc", "h": "syn_inh", "v": "mem"},
        learnt={"beta": ("beta", 1.0), "theta": ("threshold", 1.0)},
    )
    values = {"alpha": 0.875, "beta": 0.75, "theta": 0.5}
    pair = Pair(alpha_neuron(mechanism), peer, values, dtype=torch.float64, still=("r",), drive=(0.1, 0.8))
    check(pair)


def test_alpha_cannot_learn_alpha() -> None:
    with pytest.raises(TypeError, match="cannot assign"):
        snntorch.Alpha(0.875, 0.75, learn_alpha=True)


def test_recurrent_leaky_and_its_connection() -> None:
    theirs = snntorch.RLeaky(
        0.75, linear_features=WIDTH, threshold=1.25, spike_grad=wide, reset_mechanism="zero", reset_delay=False
    ).double()

    def peer(x: Tensor) -> Tensor:
        spikes = membrane = torch.zeros_like(x[0])
        outputs = []
        for x_t in x.unbind(0):
            spikes, membrane = theirs(x_t, spikes, membrane)
            outputs.append(spikes)
        return torch.stack(outputs)

    def layer(backend: str) -> snnkit.Spiking:
        options = {"reset": "hard", "input_decay": False, "detach_reset": False, "backend": backend}
        return snnkit.LIF(tau=4.0, theta=1.25, **options)

    # their gradient is rounded to float32 on its way through every spike
    check_recurrent(peer, [theirs.recurrent.weight, theirs.recurrent.bias], layer, tolerance=1e-6)


def user(name: str, params: dict[str, float], derivative: str) -> Surrogate:
    """Return a surrogate of a user; its primitive is not used here."""
    return Surrogate(name, params, derivative, primitive="z", reference="snnTorch")


SHARED: dict[str, tuple[Surrogate, Callable[[], Any]]] = {
    "atan": (surrogate.atan(3.0), lambda: theirs.atan(3.0)),
    "fast_sigmoid": (surrogate.fast_sigmoid(10.0), lambda: theirs.fast_sigmoid(10.0)),
    "sigmoid": (surrogate.sigmoid(5.0), lambda: theirs.sigmoid(5.0)),
    "triangular": (user("sign", {"size": 0.5}, "where(z >= 0, -size, size)"), lambda: theirs.triangular(0.5)),
    "heaviside": (user("step", {}, "z > 0"), theirs.heaviside),
    "straight through": (user("one", {}, "1"), theirs.straight_through_estimator),
    "spike rate escape": (
        user("escape", {"beta": 2.0, "slope": 3.0}, "slope * exp(-beta * abs(z - 1))"),
        lambda: theirs.spike_rate_escape(2.0, 3.0),
    ),
    "sparse fast sigmoid": (
        user("sparse", {"slope": 10.0, "edge": 0.25}, "(z > -edge) / (1 + slope * abs(z))**2"),
        lambda: theirs.SFS(10.0, -0.25),
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_surrogate_at_every_distance(name: str) -> None:
    mine, make = SHARED[name]
    z = torch.linspace(-4, 4, 1601) + 1e-3
    close(pointwise(z, mine), theirs_pointwise(z, make()), 2e-6, name)


@pytest.mark.parametrize("name", SHARED)
def test_surrogate_inside_a_neuron(name: str) -> None:
    mine, make = SHARED[name]
    peer = loop(lambda: snntorch.Leaky(0.75, 1.25, make(), reset_mechanism="zero", reset_delay=False), {"v": "mem"})
    values = {"tau": 4.0, "theta": 1.25}
    check(Pair(ours.lif(reset="hard", input_decay=False), peer, values, mine, detach_reset=False))


def test_sigmoid_of_ours_is_finite_where_theirs_is_not() -> None:
    z = torch.tensor([-4.0, 4.0])
    assert theirs_pointwise(z, theirs.sigmoid(25)).isnan().tolist() == [True, False]
    assert pointwise(z, surrogate.sigmoid(25.0)).isfinite().all()


def test_lso_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="argument"):
        theirs.LSO()(torch.zeros(1))
