"""Neurons as data. A new one is a file of its own and a line in FAMILIES; every suite then runs it."""

import itertools
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from snnkit.errors import NeuronError, nearest
from snnkit.neuron import surrogate
from snnkit.neuron.alif import alif
from snnkit.neuron.cuba_lif import cuba_lif
from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.exponential_if import exponential_if
from snnkit.neuron.ilif import ilif
from snnkit.neuron.integrate_fire import integrate_fire
from snnkit.neuron.izhikevich import izhikevich
from snnkit.neuron.lif import lif
from snnkit.neuron.plif import plif
from snnkit.neuron.quadratic_if import quadratic_if
from snnkit.neuron.readout import readout
from snnkit.neuron.refractory_lif import refractory_lif
from snnkit.neuron.resonate_fire import resonate_fire
from snnkit.neuron.surrogate import Surrogate

FAMILIES: Mapping[str, Callable[..., Neuron]] = {
    "IF": integrate_fire,
    "LIF": lif,
    "PLIF": plif,
    "CubaLIF": cuba_lif,
    "ALIF": alif,
    "ResonateFire": resonate_fire,
    "QuadraticIF": quadratic_if,
    "ExponentialIF": exponential_if,
    "Izhikevich": izhikevich,
    "ILIF": ilif,
    "RefractoryLIF": refractory_lif,
    "Readout": readout,
}
"""Layer name to the function that makes its neuron; `snnkit.LIF` and the rest come from here."""


def family(name: str) -> Callable[..., Neuron]:
    """Return a neuron family by the name of its layer or of its function; raises NeuronError where unknown."""
    known = {**FAMILIES} | {function.__name__: function for function in FAMILIES.values()}
    if name not in known:
        raise NeuronError(f"no neuron {name!r}{nearest(name, known)}; known: {', '.join(FAMILIES)}")
    return known[name]


def variants(function: Callable[..., Neuron]) -> Iterator[tuple[dict[str, Any], Neuron]]:
    """Yield a family's options and neuron for every combination of its on/off and named choices."""
    choices: dict[str, tuple[Any, ...]] = {}
    for name, hint in typing.get_type_hints(function).items():
        if typing.get_origin(hint) is typing.Literal:
            choices[name] = typing.get_args(hint)
        elif hint is bool:
            choices[name] = (True, False)
    for values in itertools.product(*choices.values()):
        options = dict(zip(choices, values, strict=True))
        yield options, function(**options)


__all__ = ["FAMILIES", "Neuron", "Param", "Surrogate", "family", "surrogate", "variants"]
__all__ += [function.__name__ for function in FAMILIES.values()]
