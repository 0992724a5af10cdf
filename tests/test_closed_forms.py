"""Every neuron and surrogate against something analytic or published, none of it computed by this package.

Layers run in float64 with their parameters set to the doubles written here, so that a closed form and a layer disagree
by rounding alone.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from peers import fill, pointwise
from scipy.integrate import quad, solve_ivp
from torch import Tensor

import snnkit
from snnkit.codegen.reference import evaluate
from snnkit.neuron import Surrogate, surrogate

DOUBLE = torch.float64


def exact(make: Callable[..., snnkit.Spiking], options: dict[str, Any] | None = None, **values: float):
    """Return a float64 layer of the catalogue with exactly these parameters."""
    return fill(make(**(options or {})).double(), **values)


def constant(current: Tensor | float, steps: int) -> Tensor:
    """Return a constant current [steps, 1, N] in float64."""
    return torch.as_tensor(current, dtype=DOUBLE).view(1, 1, -1).expand(steps, 1, -1)


def intervals(spikes: Tensor) -> list[int]:
    """Return the steps between consecutive spikes of one neuron [T]."""
    return spikes.nonzero().flatten().diff().tolist()


def impulse(steps: int, at: int = 0) -> Tensor:
    x = torch.zeros(steps, 1, 1, dtype=DOUBLE)
    x[at] = 1.0
    return x


def test_numbers_are_exact_in_the_type_that_a_layer_has() -> None:
    layer = snnkit.LIF(tau=3.3, theta=torch.tensor([0.1, 0.7], dtype=DOUBLE), learn=["tau"])
    assert layer.param_tau.item() == numpy.float32(3.3) and layer.param_tau.dtype == torch.float32
    layer.to(torch.bfloat16).double()
    assert layer.param_tau.item() == 3.3 and isinstance(layer.param_tau, torch.nn.Parameter)
    assert layer.param_theta.tolist() == [0.1, 0.7]
    assert copy.deepcopy(layer).float().param_tau.item() == numpy.float32(3.3)
    bounded = snnkit.ILIF(decay=1.0 + 1e-12).double()
    assert bounded.param_decay.item() == 1.0


def test_what_was_learnt_or_loaded_stays_when_the_type_changes() -> None:
    layer = snnkit.LIF(tau=[3.3, 3.3], theta=0.7, learn=("tau",))
    with torch.no_grad():
        layer.param_tau[0] += 0.5
    moved = layer.param_tau[0].item()
    layer.load_state_dict({**layer.state_dict(), "param_theta": torch.tensor(0.3)})
    layer.double()
    assert layer.param_tau.tolist() == [moved, 3.3]
    assert layer.param_theta.item() == numpy.float32(0.3)


def test_numpys_numbers_describe_neurons() -> None:
    typed = snnkit.neuron.Neuron(
        "typed", {"v": numpy.int64(0)}, {"k": numpy.float32(0.5)}, ["v = k * v + x"], "v - 1", ["v = v - s"]
    )
    assert typed.states["v"] == 0.0 and type(typed.params["k"].default) is float
    assert snnkit.neuron.Neuron.from_dict(typed.to_dict()) == typed


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("spike", ["1", "-theta"])
def test_a_spike_that_no_state_moves_comes_always_or_never(spike: str, backend: str) -> None:
    clock = snnkit.neuron.Neuron("clock", {"v": 0.0}, {"theta": 1.0}, ["v = v + x"], spike)
    y = snnkit.Spiking(clock, backend=backend)(torch.rand(4, 2, 3))
    assert y.shape == (4, 2, 3) and (y == (spike == "1")).all()


def test_if_counts_its_charge() -> None:
    current = torch.arange(1, 65) / 64
    T = 256
    spikes = snnkit.IF()(current.view(1, 1, -1).repeat(T, 1, 1))
    charge = torch.arange(1, T + 1).view(-1, 1, 1) * current
    assert torch.equal(spikes.cumsum(0), charge.floor())


def test_if_that_forgets_fires_at_whole_intervals() -> None:
    current = torch.arange(1, 65) / 64
    T = 256
    spikes = snnkit.IF(reset="hard")(current.view(1, 1, -1).repeat(T, 1, 1))
    assert torch.equal(spikes.sum((0, 1)), (T / (1 / current).ceil()).floor())


@pytest.mark.parametrize("input_decay", [True, False])
@pytest.mark.parametrize("tau", [1.5, 2.0, 5.0, 20.0])
def test_lif_below_threshold_charges_exponentially(tau: float, input_decay: bool) -> None:
    T, current = 100, 0.9 if input_decay else 0.9 / tau
    layer = exact(snnkit.LIF, {"input_decay": input_decay}, tau=tau)
    _, _, traces = layer.trace(constant(current, T))
    t = torch.arange(1, T + 1, dtype=DOUBLE)
    torch.testing.assert_close(traces["v"].flatten(), 0.9 * (1 - (1 - 1 / tau) ** t), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("tau", "v_rest", "v_reset"), [(2.0, 0.0, 0.0), (5.0, 0.2, -0.5), (20.0, -0.3, 0.4)])
def test_lif_fires_at_the_interval_of_the_formula(tau: float, v_rest: float, v_reset: float) -> None:
    theta, drive = 1.0, torch.linspace(1.03, 6.0, 41, dtype=DOUBLE)
    steps = torch.log((drive - theta) / (drive - v_reset)) / math.log(1 - 1 / tau)
    assert float((steps - steps.round()).abs().min()) > 1e-6
    layer = exact(snnkit.LIF, {"reset": "hard"}, tau=tau, theta=theta, v_rest=v_rest, v_reset=v_reset)
    spikes = layer(constant(drive - v_rest, 600))
    for k, interval in enumerate(steps.ceil().int().tolist()):
        assert set(intervals(spikes[:, 0, k])) == {interval}


def test_lif_needs_a_current_above_threshold() -> None:
    layer = exact(snnkit.LIF, {"reset": "hard"}, tau=10.0)
    below, above = layer(constant([0.999, 1.001], 500)).sum(0).flatten().tolist()
    assert below == 0
    assert above >= 1


def test_plif_is_lif_with_its_time_constant() -> None:
    x = torch.randn(80, 2, 7, dtype=DOUBLE) + 0.5
    w = 0.7
    tau = 1 + math.exp(-w)
    grads, outputs = [], []
    for make, name, value in ((snnkit.PLIF, "w", w), (snnkit.LIF, "tau", tau)):
        layer = exact(make, {"learn": (name,), "detach_reset": False}, **{name: value})
        y = layer(x)
        (y * x).sum().backward()
        outputs.append(y.detach())
        grads.append(float(getattr(layer, f"param_{name}").grad))
    assert torch.equal(*outputs)
    assert outputs[0].mean() > 0.1
    assert grads[0] == pytest.approx(grads[1] * -math.exp(-w), rel=1e-10)


@pytest.mark.parametrize("input_decay", [True, False])
def test_readout_answers_an_impulse_with_an_exponential(input_decay: bool) -> None:
    T, tau, at = 60, 7.0, 5
    v = exact(snnkit.Readout, {"input_decay": input_decay}, tau=tau)(impulse(T, at)).flatten()
    t = torch.arange(T - at, dtype=DOUBLE)
    torch.testing.assert_close(v[at:], (1 - 1 / tau) ** t / (tau if input_decay else 1), rtol=1e-13, atol=0)
    assert (v[:at] == 0).all()


@pytest.mark.parametrize("input_decay", [True, False])
@pytest.mark.parametrize(("tau_syn", "tau_mem"), [(3.0, 10.0), (10.0, 3.0), (5.0, 5.0)])
def test_cuba_lif_answers_an_impulse_with_two_exponentials(tau_syn: float, tau_mem: float, input_decay: bool) -> None:
    T = 80
    layer = exact(snnkit.CubaLIF, {"input_decay": input_decay}, tau_syn=tau_syn, tau_mem=tau_mem, theta=100.0)
    _, _, traces = layer.trace(impulse(T))
    a, b = 1 - 1 / tau_syn, 1 - 1 / tau_mem
    t = torch.arange(T, dtype=DOUBLE)
    expected = (t + 1) * a**t if a == b else (b ** (t + 1) - a ** (t + 1)) / (b - a)
    torch.testing.assert_close(traces["i"].flatten(), a**t, rtol=1e-12, atol=0)
    scale = tau_mem if input_decay else 1
    torch.testing.assert_close(traces["v"].flatten(), expected / scale, rtol=1e-11, atol=1e-15)


def test_alif_slows_down_to_the_rate_of_its_fixed_point() -> None:
    tau, tau_a, beta, current, T = 10.0, 50.0, 0.3, 3.0, 3000
    layer = exact(snnkit.ALIF, {"reset": "hard"}, tau=tau, tau_a=tau_a, beta=beta)
    spikes, _, traces = layer.trace(constant(current, T))
    found = intervals(spikes[:, 0, 0])
    assert all(later >= earlier for earlier, later in itertools.pairwise(found))
    assert found[-1] >= 2 * found[0]
    period = found[-1]
    assert found[-10:] == [period] * 10

    def surplus(n: int) -> float:
        """Return membrane minus threshold, n steps after a spike of a train of this period."""
        rise = 1 / (1 - (1 - 1 / tau_a) ** period)
        return current * (1 - (1 - 1 / tau) ** n) - 1 - beta * rise * (1 - 1 / tau_a) ** n

    assert surplus(period) >= 0
    assert all(surplus(n) < 0 for n in range(1, period))
    last = traces["a"][-period:].mean()
    assert float(last) == pytest.approx(tau_a / period, rel=1e-6)


def test_resonate_fire_turns_and_decays_exactly() -> None:
    T, omega, decay = 200, 0.37, 0.985
    layer = exact(snnkit.ResonateFire, omega=omega, decay=decay, theta=10.0)
    _, _, traces = layer.trace(impulse(T))
    t = torch.arange(T, dtype=DOUBLE)
    torch.testing.assert_close(traces["re"].flatten(), decay**t * torch.cos(omega * t), rtol=0, atol=1e-12)
    torch.testing.assert_close(traces["im"].flatten(), decay**t * torch.sin(omega * t), rtol=0, atol=1e-12)


def test_resonate_fire_prefers_its_own_frequency() -> None:
    T, omega, decay = 1200, 0.4, 0.97
    drive = torch.linspace(0.05, 1.0, 96, dtype=DOUBLE)
    x = 0.01 * torch.cos(torch.arange(T, dtype=DOUBLE).view(-1, 1, 1) * drive)
    _, _, traces = exact(snnkit.ResonateFire, omega=omega, decay=decay, theta=10.0).trace(x)

    def gain(frequency: Tensor) -> Tensor:
        return 1 / (1 - decay * torch.exp(1j * (omega - frequency)))

    t = torch.arange(T, dtype=DOUBLE).view(-1, 1) + 0j
    steady = 0.005 * (gain(drive) * torch.exp(1j * drive * t) + gain(-drive) * torch.exp(-1j * drive * t))
    torch.testing.assert_close(traces["im"][-200:, 0], steady[-200:].imag, rtol=0, atol=1e-12)
    amplitude = traces["im"][-400:, 0].abs().amax(0)
    assert abs(float(drive[amplitude.argmax()]) - omega) < 0.02


def error_of_steps(layer_of: Callable[[float], snnkit.Spiking], current: float, end: float, truth: float, dt: float):
    """Return the error of the membrane at time `end` after Euler steps of `dt`."""
    _, after = layer_of(dt).run(constant(current, round(end / dt)))
    return abs(float(after["v"].flatten()[0]) - truth)


def check_first_order(error: Callable[[float], float], dt: float) -> None:
    """Assert that halving the step halves the error."""
    errors = [error(dt / 2**k) for k in range(4)]
    assert errors[0] > 1e-6
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert all(1.7 < ratio < 2.35 for ratio in ratios), ratios
    assert ratios[-1] == pytest.approx(2, rel=0.06)


def solve(field: Callable[[float, numpy.ndarray], list[float]], start: list[float], end: float) -> float:
    """Return the first variable of a differential equation at time `end`."""
    solution = solve_ivp(field, (0.0, end), start, method="DOP853", rtol=1e-11, atol=1e-12)
    return float(solution.y[0, -1])


QIF = {"a0": 1.2, "v_rest": 0.1, "v_c": 0.9, "theta": 5.0, "v_reset": -0.4}


def test_quadratic_if_follows_its_equation() -> None:
    tau, current, end = 10.0, 0.5, 12.0
    a0, v_rest, v_c = QIF["a0"], QIF["v_rest"], QIF["v_c"]
    truth = solve(lambda t, v: [(current + a0 * (v[0] - v_rest) * (v[0] - v_c)) / tau], [0.0], end)
    assert 0.2 < truth < QIF["theta"]
    check_first_order(
        lambda dt: error_of_steps(lambda dt: exact(snnkit.QuadraticIF, tau=tau / dt, **QIF), current, end, truth, dt),
        0.25,
    )


def test_quadratic_if_starts_to_fire_at_any_low_rate() -> None:
    tau, dt = 10.0, 1 / 64
    a0, v_rest, v_c, theta, v_reset = QIF.values()
    rheobase = a0 * (v_c - v_rest) ** 2 / 4
    excess = torch.tensor([-0.002, 0.01, 0.04, 0.16, 0.64], dtype=DOUBLE)
    layer = exact(snnkit.QuadraticIF, tau=tau / dt, **QIF)
    spikes = layer(constant(rheobase + excess, round(800 / dt)))
    assert spikes[:, 0, 0].sum() == 0
    middle = (v_rest + v_c) / 2
    rates = []
    for k, more in enumerate(excess.tolist()[1:], start=1):
        root = math.sqrt(more / a0)
        period = tau / (a0 * root) * (math.atan((theta - middle) / root) - math.atan((v_reset - middle) / root))
        found = set(intervals(spikes[:, 0, k]))
        assert len(found) == 1
        assert found.pop() * dt == pytest.approx(period, rel=0.01)
        rates.append(1 / period)
    assert rates == sorted(rates)


EIF = {"delta_t": 0.2, "v_rest": 0.1, "v_t": 0.8, "theta": 3.0, "v_reset": -0.2}


def test_exponential_if_follows_its_equation() -> None:
    tau, current, end = 10.0, 0.9, 15.0
    delta, v_rest, v_t = EIF["delta_t"], EIF["v_rest"], EIF["v_t"]
    truth = solve(lambda t, v: [(current + v_rest - v[0] + delta * math.exp((v[0] - v_t) / delta)) / tau], [0.0], end)
    assert 0.5 < truth < EIF["theta"]
    check_first_order(
        lambda dt: error_of_steps(lambda dt: exact(snnkit.ExponentialIF, tau=tau / dt, **EIF), current, end, truth, dt),
        0.25,
    )


def test_exponential_if_fires_above_its_rheobase() -> None:
    rheobase = EIF["v_t"] - EIF["v_rest"] - EIF["delta_t"]
    layer = exact(snnkit.ExponentialIF, tau=160.0, **EIF)
    below, above = layer(constant([rheobase - 0.005, rheobase + 0.005], 8000)).sum(0).flatten().tolist()
    assert below == 0
    assert above >= 1


PATTERNS = {
    "regular spiking": {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0},
    "intrinsically bursting": {"a": 0.02, "b": 0.2, "c": -55.0, "d": 4.0},
    "chattering": {"a": 0.02, "b": 0.2, "c": -50.0, "d": 2.0},
    "fast spiking": {"a": 0.1, "b": 0.2, "c": -65.0, "d": 2.0},
    "low-threshold spiking": {"a": 0.02, "b": 0.25, "c": -65.0, "d": 2.0},
}
"""Parameters of Figure 2 of Izhikevich's paper of 2003; the tests give 10 units of current after rest."""


def rest(b: float) -> float:
    """Return the stable resting potential in mV of the model without current."""
    return (-(5 - b) - math.sqrt((5 - b) ** 2 - 0.16 * 140)) / 0.08


def izhikevich(currents: list[float], milliseconds: int, dt: float, **values: float) -> Tensor:
    """Return spikes [T, N] from rest."""
    layer = exact(snnkit.Izhikevich, dt=dt, **values)
    x = constant(currents, round(milliseconds / dt))
    v = torch.full((1, len(currents)), rest(values["b"]), dtype=DOUBLE)
    return layer.run(x, {"v": v, "u": values["b"] * v})[0][:, 0]


def pattern(name: str, current: float = 10.0) -> list[float]:
    """Return the intervals between spikes in ms during a second."""
    dt = 1 / 16
    return [n * dt for n in intervals(izhikevich([current], 1000, dt, **PATTERNS[name])[:, 0])]


def test_izhikevich_regular_spiking_adapts() -> None:
    found = pattern("regular spiking")
    assert found[-1] > 2 * found[0]
    assert max(found[2:]) < 1.02 * min(found[2:])
    assert 10 <= len(found) <= 50


def test_izhikevich_fast_spiking_does_not_adapt() -> None:
    found = pattern("fast spiking")
    assert max(found[2:]) < 1.15 * min(found[2:])
    assert found[-1] < 2 * found[0]
    assert len(found) > 3 * len(pattern("regular spiking"))


def test_izhikevich_intrinsically_bursting_bursts_once() -> None:
    found = pattern("intrinsically bursting")
    assert found[0] < 6
    first_pause = next(k for k, gap in enumerate(found) if gap > 3 * found[0])
    assert first_pause >= 1
    assert min(found[first_pause:]) > 5 * max(found[:first_pause])
    assert max(found[-20:]) < 1.02 * min(found[-20:])


def test_izhikevich_chattering_bursts_again_and_again() -> None:
    found = pattern("chattering")
    pauses = [gap for gap in found if gap > 20]
    short = [gap for gap in found if gap < 6]
    assert len(pauses) >= 8
    assert len(short) >= 2 * len(pauses)
    assert len(pauses) + len(short) > 0.8 * len(found)


def test_izhikevich_low_threshold_spiking_is_fast_and_adapts() -> None:
    found = pattern("low-threshold spiking")
    assert len(found) > 2 * len(pattern("regular spiking"))
    assert found[-1] > 3 * found[0]
    assert all(later > earlier for earlier, later in itertools.pairwise(found[:5]))


@pytest.mark.parametrize("name", ["regular spiking", "low-threshold spiking"])
def test_izhikevich_fires_where_its_rest_loses_stability(name: str) -> None:
    values = PATTERNS[name]
    v = (values["a"] - 5) / 0.08
    critical = -(0.04 * v**2 + (5 - values["b"]) * v + 140)
    spikes = izhikevich([0.85 * critical, 1.15 * critical], 4000, 0.125, **values)
    late = spikes[len(spikes) // 2 :].sum(0).tolist()
    assert late[0] == 0
    assert late[1] >= 4


def test_izhikevich_follows_its_equation() -> None:
    current, end = 10.0, 2.0
    a, b, *_ = PATTERNS["regular spiking"].values()

    def field(t: float, y: numpy.ndarray) -> list[float]:
        v, u = y
        return [0.04 * v**2 + 5 * v + 140 - u + current, a * (b * v - u)]

    truth = solve(field, [-65.0, -13.0], end)
    assert -60 < truth < 30
    check_first_order(
        lambda dt: error_of_steps(
            lambda dt: exact(snnkit.Izhikevich, dt=dt, **PATTERNS["regular spiking"]), current, end, truth, dt
        ),
        0.125,
    )


@pytest.mark.parametrize(("theta", "levels"), [(1.0, 4), (0.5, 4)])
def test_ilif_rounds_and_clips(theta: float, levels: int) -> None:
    x = torch.linspace(-2, 7, 1801, dtype=DOUBLE) + 1e-4
    layer = exact(snnkit.ILIF, {"levels": levels, "surrogate": surrogate.rectangle(theta)}, theta=theta)
    leaf = x.view(1, 1, -1).requires_grad_()
    y = layer(leaf)
    assert torch.equal(y.flatten(), (x / theta).round().clamp(0, levels))
    (slope,) = torch.autograd.grad(y.sum(), leaf)
    inside = (x > 0) & (x < levels * theta)
    torch.testing.assert_close(slope.flatten(), inside.double() / theta)


@pytest.mark.parametrize("period", [0.0, 1.0, 2.0, 5.0])
def test_refractory_lif_waits_for_its_period(period: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x = 1.0 + 4 * torch.randn(400, 1, 50, generator=generator, dtype=DOUBLE)
    layer = exact(snnkit.RefractoryLIF, tau=2.0, period=period)
    spikes = layer(x)
    found = [gap for k in range(50) for gap in intervals(spikes[:, 0, k])]
    assert min(found) == period + 1
    steady = layer(constant([10.0], 120 * int(period + 1)))
    assert steady.mean().item() == pytest.approx(1 / (period + 1))
    assert steady[0].item() == 1


def test_refractory_lif_without_period_is_lif() -> None:
    x = torch.randn(80, 2, 7, dtype=DOUBLE) + 0.8
    found = []
    for layer in (
        exact(snnkit.RefractoryLIF, {"detach_reset": False}, tau=3.0, period=0.0),
        exact(snnkit.LIF, {"detach_reset": False, "reset": "hard"}, tau=3.0),
    ):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        (grad,) = torch.autograd.grad((y * x).sum(), leaf)
        found.append((y, grad))
    (y, grad), (expected, wanted) = found
    assert expected.mean() > 0.1
    assert torch.equal(y, expected)
    torch.testing.assert_close(grad, wanted, rtol=1e-12, atol=1e-14)


def test_refractory_lif_learns_nothing_from_what_it_does_not_hear() -> None:
    period = 3
    x = (2 * torch.randn(80, 2, 7, dtype=DOUBLE) + 0.8).requires_grad_()
    spikes = exact(snnkit.RefractoryLIF, {"detach_reset": False}, tau=3.0, period=float(period))(x)
    (grad,) = torch.autograd.grad((spikes * x.detach()).sum(), x)
    waits = torch.zeros_like(spikes)
    for step in range(1, period + 1):
        waits[step:] += spikes[:-step]
    assert 0.2 < waits.mean() < 0.8
    assert torch.equal(grad == 0, waits == 1)


def test_refractory_lif_adds_its_period_to_the_interval() -> None:
    tau, theta, v_reset, period = 8.0, 1.0, -0.25, 3.0
    drive = torch.linspace(1.1, 4.0, 30, dtype=DOUBLE)
    steps = (torch.log((drive - theta) / (drive - v_reset)) / math.log(1 - 1 / tau)).ceil()
    layer = exact(snnkit.RefractoryLIF, tau=tau, theta=theta, v_reset=v_reset, period=period)
    spikes = layer(constant(drive, 400))
    for k, expected in enumerate((steps + period).int().tolist()):
        assert set(intervals(spikes[:, 0, k])) == {expected}


WIDTHS = (0.5, 1.0, 3.0)
SURROGATES = [
    pytest.param(make(width), id=f"{name}({width:g})")
    for name, make in surrogate.SURROGATES.items()
    for width in WIDTHS
]


def value(ours: Surrogate, z: Tensor, which: int) -> Tensor:
    """Return the derivative (0) or the primitive (1) at z."""
    scope = {"z": z, **{name: torch.full_like(z, number) for name, number in ours.params.items()}}
    return evaluate(ours.equations[which], scope, z)


@pytest.mark.parametrize("ours", SURROGATES)
def test_surrogate_has_the_mass_of_its_step(ours: Surrogate) -> None:
    expected = 2 / ours.params["alpha"] if ours.name == "fast_sigmoid" else 1.0

    def slope(z: float) -> float:
        return float(value(ours, torch.tensor(z, dtype=DOUBLE), 0))

    edges = [0.0, *(1 / w for w in ours.params.values()), *(w / 2 for w in ours.params.values())]
    inner = quad(slope, 0, 20, points=sorted(edges), limit=400)[0]
    outer = quad(slope, 20, math.inf, limit=400)[0]
    assert 2 * (inner + outer) == pytest.approx(expected, rel=1e-6)
    ends = value(ours, torch.tensor([-1e9, 0.0, 1e9], dtype=DOUBLE), 1)
    torch.testing.assert_close(ends, torch.tensor([0.5 - expected / 2, 0.5, 0.5 + expected / 2], dtype=DOUBLE))


@pytest.mark.parametrize("ours", SURROGATES)
def test_surrogate_is_the_slope_of_its_primitive(ours: Surrogate) -> None:
    z = torch.linspace(-5, 5, 2001, dtype=DOUBLE) + 0.00123
    h = 1e-6
    slopes = (value(ours, z + h, 1) - value(ours, z - h, 1)) / (2 * h)
    torch.testing.assert_close(value(ours, z, 0), slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("ours", SURROGATES)
def test_surrogate_is_even_and_highest_at_threshold(ours: Surrogate) -> None:
    z = torch.linspace(0, 6, 601, dtype=DOUBLE)
    slopes = value(ours, z, 0)
    torch.testing.assert_close(value(ours, -z, 0), slopes, rtol=1e-14, atol=1e-14)
    assert (slopes >= 0).all()
    assert (slopes.diff() <= 0).all()
    height = {
        **{"atan": 1 / 2, "sigmoid": 1 / 4, "triangle": 1, "erf": 1 / math.sqrt(math.pi)},
        **{"gaussian": 1 / math.sqrt(2 * math.pi), "rectangle": 1},
    }
    width = next(iter(ours.params.values()))
    scale = 1 / width if ours.name in ("gaussian", "rectangle") else width
    assert float(slopes[0]) == pytest.approx(1.0 if ours.name == "fast_sigmoid" else height[ours.name] * scale)


@pytest.mark.parametrize("ours", SURROGATES)
def test_surrogate_is_finite_at_any_distance(ours: Surrogate) -> None:
    z = torch.tensor([1e-30, 1.0, 1e2, 1e4, 1e10, 1e20, 3e38])
    for backend in ("cpu", "reference"):
        assert pointwise(torch.cat([-z, z]), ours, backend).isfinite().all()


ROOTS = {
    "power 3/2": ("1 / ((1 + z**2) * sqrt(1 + z**2))", lambda z: (1 + z**2) ** -1.5),
    "power 1/4": ("1 / sqrt(sqrt(1 + z**2))", lambda z: (1 + z**2) ** -0.25),
    "root of a square": ("exp(-sqrt(z**2))", lambda z: torch.exp(-z.abs())),
}


@pytest.mark.parametrize("name", ROOTS)
def test_surrogate_of_a_user_may_take_roots(name: str) -> None:
    text, formula = ROOTS[name]
    z = torch.linspace(-3, 3, 301, dtype=DOUBLE)
    found = pointwise(z, Surrogate("roots", {}, text, "z", "a user"), "cpu")
    torch.testing.assert_close(found, formula(z), rtol=1e-12, atol=0)
