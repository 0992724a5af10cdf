"""Neurons in the terms of NIR: which of ours is which node, and how its parameters are written in time units.

NIR's neurons are differential equations. An Euler step of dt makes of them, with times in steps (tau = time / dt),

    LIF, LI         v += (v_leak - v + r * x) / tau
    CubaLIF, CubaLI i += (w_in * x - i) / tau_syn, then v += (v_leak - v + r * i) / tau_mem with the new i
    IF, I           v += dt * r * x
    Threshold       v = x

followed by a spike where v > v_threshold and v = v_reset there. We fire at or above `theta`, so `theta` is the next
float32 above `v_threshold`, and the same on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from snnkit.errors import InputError
from snnkit.neuron import Neuron, Param, cuba_lif, integrate_fire, lif, readout

Values = dict[str, np.ndarray]
"""Parameter to its values, float64, one for each neuron or one for all; times in steps."""

_SAME = 1e-6
_HARD = "v = (1 - s) * v + s * v_reset"
_SOURCE = "Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024; Euler steps"

FIELDS: Mapping[str, tuple[str, ...]] = {
    "LIF": ("tau", "r", "v_leak", "theta", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "theta", "v_reset", "w_in"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "IF": ("r", "theta", "v_reset"),
    "I": ("r",),
    "Threshold": ("theta",),
    "Scale": ("scale",),
}
"""Node to its parameters; `theta` is NIR's `v_threshold`, and `threshold` of its Threshold."""


@dataclass(frozen=True)
class Form:
    """One of our neurons as a node.

    Args:
        neuron: ours.
        node: the kind of node.
        names: our parameter to that of the node, where they differ.
        implied: parameter of the node that our equations fix, to its value, or to the parameter that it equals.
    """

    neuron: Neuron
    node: str
    names: Mapping[str, str] = field(default_factory=dict)
    implied: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def soft(self) -> bool:
        """Whether a spike subtracts the threshold, which NIR cannot say."""
        return any("s * theta" in line for line in self.neuron.reset)

    def write(self, ours: Mapping[str, np.ndarray]) -> Values:
        """Return the node's parameters for ours."""
        found = {self.names.get(name, name): value for name, value in ours.items()}
        for name, value in self.implied.items():
            found[name] = found[value] if isinstance(value, str) else np.asarray(value)
        return {name: found.get(name, np.zeros(())) for name in FIELDS[self.node]}

    def read(self, values: Values) -> Values | None:
        """Return our parameters for the node's, or None where they are not what our equations fix."""
        for name, value in self.implied.items():
            expected = values[value] if isinstance(value, str) else value
            if not np.allclose(values[name], expected, rtol=_SAME, atol=0.0 if isinstance(value, str) else _SAME):
                return None
        return {name: values[self.names.get(name, name)] for name in self.neuron.params}


def _general(kind: str, states: tuple[str, ...], update: list[str], *, spike: bool = True) -> Form:
    """Return the neuron with all the parameters of a node, for those that no neuron of the catalogue has."""
    times = {name: Param(2.0, low=1.0) for name in FIELDS[kind] if name.startswith("tau")}
    others = {name: Param(1.0 if name in ("r", "w_in", "theta", "scale") else 0.0) for name in FIELDS[kind]}
    neuron = Neuron(
        name=f"nir_{kind.lower()}",
        states=dict.fromkeys(states, 0.0),
        params={name: times.get(name, param) for name, param in others.items()},
        update=update,
        spike="v - theta" if spike else None,
        reset=[_HARD] if "v_reset" in FIELDS[kind] else [],
        reference=_SOURCE,
    )
    return Form(neuron, kind)


def _catalogue() -> list[Form]:
    forms = []
    for reset in ("hard", "soft"):
        for decay in (True, False):
            rest = {"v_rest": "v_leak"}
            forms.append(Form(lif(reset=reset, input_decay=decay), "LIF", rest, {"r": 1.0 if decay else "tau"}))
            fixed = {"r": 1.0 if decay else "tau_mem", "w_in": "tau_syn", "v_leak": 0.0}
            forms.append(Form(cuba_lif(reset=reset, input_decay=decay), "CubaLIF", implied=fixed))
        forms.append(Form(integrate_fire(reset=reset), "IF", implied={"r": 1.0}))
    for decay in (True, False):
        forms.append(Form(readout(input_decay=decay), "LI", implied={"r": 1.0 if decay else "tau", "v_leak": 0.0}))
    return forms


_LEAK = "v = v + (v_leak - v + r * x) / tau"
_CUBA = ["i = i + (w_in * x - i) / tau_syn", "v = v + (v_leak - v + r * i) / tau_mem"]

FORMS: tuple[Form, ...] = (
    *_catalogue(),
    _general("LIF", ("v",), [_LEAK]),
    _general("LI", ("v",), [_LEAK], spike=False),
    _general("CubaLIF", ("i", "v"), _CUBA),
    _general("CubaLI", ("i", "v"), _CUBA, spike=False),
    _general("IF", ("v",), ["v = v + r * x"]),
    _general("I", ("v",), ["v = v + r * x"], spike=False),
    _general("Threshold", ("v",), ["v = x"]),
    _general("Scale", ("v",), ["v = scale * x"], spike=False),
)
"""Every neuron that NIR has a node for; the first that fits a node is taken."""

_BY_EQUATIONS = {form.neuron.digest: form for form in FORMS}


def form_of(neuron: Neuron) -> Form | None:
    """Return how a neuron is written, or None where NIR has no node for its equations."""
    return _BY_EQUATIONS.get(neuron.digest)


def neuron_of(kind: str, values: Values, *, soft: bool) -> tuple[Neuron, Values]:
    """Return our neuron, and its parameters, for a node's.

    Raises:
        InputError: a soft reset of a node for which we have none.
    """
    for form in FORMS:
        if form.node == kind and form.soft == soft:
            found = form.read(values)
            if found is not None:
                return form.neuron, found
    raise InputError(f"no neuron of ours resets softly with the parameters of this {kind}")


def below(theta: np.ndarray) -> np.ndarray:
    """Return the largest float32 below each, as float64: v > it where v >= theta."""
    return np.nextafter(theta.astype(np.float32), np.float32(-np.inf)).astype(np.float64)


def above(threshold: np.ndarray) -> np.ndarray:
    """Return the smallest float32 above each, as float64: v >= it where v > threshold."""
    rounded = threshold.astype(np.float32)
    # a float64 that lies between two float32 is passed by the upper one already
    higher = np.nextafter(rounded, np.float32(np.inf))
    return np.where(rounded.astype(np.float64) > threshold, rounded, higher).astype(np.float64)


def to_time(kind: str, values: Values, dt: float) -> dict[str, np.ndarray]:
    """Return a node's fields for parameters in steps."""
    found = {}
    for name, value in values.items():
        if name == "theta":
            found["threshold" if kind == "Threshold" else "v_threshold"] = below(value)
        elif name.startswith("tau"):
            found[name] = value * dt
        else:
            found[name] = value / dt if kind in ("IF", "I") and name == "r" else value
    return found


def to_steps(kind: str, fields: Mapping[str, np.ndarray], dt: float, *, at_threshold: bool = False) -> Values:
    """Return parameters in steps for a node's fields.

    Args:
        kind: the node's kind.
        fields: as they are in the graph.
        dt: the step, in the graph's unit of time.
        at_threshold: whether the writer fires at its threshold, as SpikingJelly does, and not only above.
    Raises:
        InputError: a time constant shorter than a step.
    """
    found: Values = {}
    for name in FIELDS[kind]:
        written = ("threshold" if kind == "Threshold" else "v_threshold") if name == "theta" else name
        value = np.asarray(fields[written], np.float64)
        if name == "theta":
            value = value if at_threshold else above(value)
        elif name.startswith("tau"):
            value = value / dt
            if (value < 1 - _SAME).any():
                raise InputError(
                    f"{name} is {float(value.min()) * dt:g} and a step is {dt:g}: an Euler step needs time constants "
                    "of at least dt; give the dt of the network's writer"
                )
            value = np.maximum(value, 1.0)
        elif kind in ("IF", "I") and name == "r":
            value = value * dt
        found[name] = value
    return found
