"""A neuron is data: states, parameters and equations in discrete time, checked when it is built."""

from __future__ import annotations

import hashlib
import json
import keyword
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from types import MappingProxyType
from typing import Any

from snnkit.errors import NeuronError, nearest
from snnkit.neuron.expression import Call, Expression, names, normalise, parse, parse_assignment

RESERVED = ("x", "s")
"""Symbols with a fixed meaning: the input of the step, and the spike that it just emitted."""


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter's default, its closed bounds, and whether layers learn it unless told otherwise."""

    default: float
    low: float = -math.inf
    high: float = math.inf
    learn: bool = False

    def __post_init__(self) -> None:
        for name in ("default", "low", "high"):
            value = getattr(self, name)
            if not _number(value) or math.isnan(value):
                raise NeuronError(f"Param takes numbers, not {value!r}")
            object.__setattr__(self, name, float(value))
        if not self.low <= self.default <= self.high:
            raise NeuronError(f"default {self.default} is outside the bounds [{self.low}, {self.high}]")


@dataclass(frozen=True, slots=True)
class Equations:
    """The parsed text of a neuron."""

    update: tuple[tuple[str, Expression], ...]
    spike: tuple[Expression, ...]
    reset: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, eq=False)
class Neuron:
    """One step of a neuron: `update` in order, `s = spike >= 0`, then `reset` in order.

    Args:
        name: a word for messages and files.
        states: state name to start value, a number.
        params: parameter name to `Param`; plain numbers are taken as defaults without bounds.
        update: assignments to states, or to locals that later equations use; `x` is the input.
        spike: the neuron fires where this is >= 0. Several expressions make an integer spike that counts
            those that are >= 0. None makes a readout, whose output is its last state.
        reset: assignments to states, written with `s`, so that one formula serves hard and soft reset.
        reference: where the equations come from (paper, year).
    Raises:
        NeuronError: where a name does not resolve, an equation cannot be read, or a bound does not hold.

    Example:
        >>> Neuron("mine", {"v": 0.0}, {"tau": Param(2.0, low=1.0)}, ["v = v + (x - v) / tau"], "v - 1", ["v = v - s"])
        Neuron(mine)
    """

    name: str
    states: Mapping[str, float]
    params: Mapping[str, Param] = field(default_factory=dict)
    update: Sequence[str] = ()
    spike: str | Sequence[str] | None = None
    reset: Sequence[str] = ()
    reference: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise NeuronError(f"a neuron's name is a word such as 'lif', not {self.name!r}")
        for what, values in (("states", self.states), ("params", self.params)):
            if not isinstance(values, Mapping):
                raise NeuronError(f"{what} are a dict such as {{'v': 0.0}}, from names to values, not {values!r:.60}")
        states = {self._symbol(name): self._start(name, value) for name, value in dict(self.states).items()}
        params = {
            self._symbol(name): value if isinstance(value, Param) else Param(value)
            for name, value in dict(self.params).items()
        }
        spike = (self.spike,) if isinstance(self.spike, str) else tuple(self.spike or ())
        object.__setattr__(self, "states", MappingProxyType(states))
        object.__setattr__(self, "params", MappingProxyType(params))
        object.__setattr__(self, "update", _lines(self.update))
        object.__setattr__(self, "reset", _lines(self.reset))
        object.__setattr__(self, "spike", spike)
        self._check()

    def __repr__(self) -> str:
        return f"Neuron({self.name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Neuron.from_dict, (self.to_dict(),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Neuron) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def spiking(self) -> bool:
        """Whether the output is a spike; a readout's output is its last state."""
        return bool(self.spike)

    @cached_property
    def equations(self) -> Equations:
        """The parsed equations."""
        return Equations(
            tuple(parse_assignment(line) for line in self.update),
            tuple(parse(text) for text in self.spike or ()),
            tuple(parse_assignment(line) for line in self.reset),
        )

    @cached_property
    def digest(self) -> str:
        """A hash of the equations; names of the neuron and of its source do not enter."""
        facts = [list(self.states), list(self.params), list(self.update), list(self.spike or ()), list(self.reset)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which `from_dict` makes an equal neuron."""
        return {
            "name": self.name,
            "states": dict(self.states),
            "params": {
                name: {"default": p.default, "low": _finite(p.low), "high": _finite(p.high), "learn": p.learn}
                for name, p in self.params.items()
            },
            "update": list(self.update),
            "spike": list(self.spike or ()),
            "reset": list(self.reset),
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Neuron:
        """Make a neuron from the plain data of `to_dict`; raises NeuronError where a key is missing or unknown."""
        keys = ("name", "states", "params", "update", "spike", "reset", "reference")
        for key in data:
            if key not in keys:
                raise NeuronError(f"a neuron has no {key!r}{nearest(key, keys)}; known: {', '.join(keys)}")
        missing = [key for key in keys if key not in data]
        if missing:
            raise NeuronError(f"a neuron needs {', '.join(missing)}")
        try:
            params = {
                name: Param(
                    p["default"],
                    -math.inf if p["low"] is None else p["low"],
                    math.inf if p["high"] is None else p["high"],
                    bool(p["learn"]),
                )
                for name, p in data["params"].items()
            }
            return cls(**{**data, "params": params})
        except (KeyError, TypeError, AttributeError) as error:
            raise NeuronError(f"the description of neuron {data['name']!r} is not well-formed: {error!r}") from None

    def _symbol(self, name: str) -> str:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise NeuronError(f"neuron {self.name!r}: {name!r} is not a name; use a word such as 'v'")
        name = normalise(name)
        if name in RESERVED:
            raise NeuronError(f"neuron {self.name!r}: {name!r} is the {'input' if name == 'x' else 'spike'}; rename it")
        return name

    def _start(self, name: str, value: float) -> float:
        if not _number(value) or not math.isfinite(value):
            raise NeuronError(f"neuron {self.name!r}: state {name!r} needs a start value, a number, not {value!r}")
        return float(value)

    def _check(self) -> None:
        where = f"neuron {self.name!r}"
        if not self.states:
            raise NeuronError(f"{where} has no state; give at least one, such as states={{'v': 0.0}}")
        twice = set(self.states) & set(self.params)
        if twice:
            raise NeuronError(f"{where}: {sorted(twice)} are both states and parameters; rename one")
        if self.reset and not self.spike:
            raise NeuronError(f"{where} has a reset and no spike; give spike='v - theta' or drop the reset")
        known = {"x", *self.states, *self.params}
        for target, expression in self.equations.update:
            self._resolve(target, expression, known)
            known.add(target)
        for text, expression in zip(self.spike or (), self.equations.spike, strict=True):
            self._resolve(None, expression, known)
            if isinstance(expression, Call) and expression.function in ("ge", "gt", "le", "lt"):
                raise NeuronError(
                    f"{where}: spike {text!r} is 0 or 1, and a neuron fires where it is >= 0, which would be always; "
                    "write a difference such as 'v - theta'"
                )
        known.add("s")
        for target, expression in self.equations.reset:
            self._resolve(target, expression, known)
            known.add(target)
        assigned = {target for target, _ in self.equations.update + self.equations.reset}
        still = [name for name in self.states if name not in assigned]
        if still:
            raise NeuronError(f"{where}: state {still[0]!r} is never assigned; make it a parameter")

    def _resolve(self, target: str | None, expression: Expression, known: set[str]) -> None:
        for name in names(expression):
            if name not in known:
                hint = nearest(name, known)
                raise NeuronError(
                    f"neuron {self.name!r}: {name!r} is not defined{hint}; known: {', '.join(sorted(known))}"
                )
        if target is not None and (target in self.params or target in RESERVED):
            raise NeuronError(f"neuron {self.name!r}: {target!r} cannot be assigned; only states and locals can")


def _number(value: object) -> bool:
    """Return whether a value is a real number, numpy's included."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _lines(text: str | Sequence[str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
