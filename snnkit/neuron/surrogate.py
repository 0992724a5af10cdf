"""Surrogate derivatives as data: one expression in `z`, the distance to threshold, with its primitive.

Each function makes the surrogate for one width. `snnkit.surrogate` is this module.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from snnkit.errors import NeuronError, nearest
from snnkit.neuron.expression import Expression, names, parse


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The derivative used for the step function in the backward pass.

    Args:
        name: a word for messages and files.
        params: parameter name to a positive number.
        derivative: expression in `z` and the parameters.
        primitive: its integral, the smooth step that the derivative belongs to; used to verify gradients.
        reference: where it comes from (paper, year).
    Raises:
        NeuronError: where an expression cannot be read or a name does not resolve.
    """

    name: str
    params: Mapping[str, float]
    derivative: str
    primitive: str
    reference: str = ""

    def __post_init__(self) -> None:
        for name, value in dict(self.params).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise NeuronError(f"surrogate {self.name!r}: {name} is a positive number, not {value!r}")
        object.__setattr__(self, "params", MappingProxyType({k: float(v) for k, v in dict(self.params).items()}))
        known = {"z", *self.params}
        for text in (self.derivative, self.primitive):
            for name in names(parse(text)):
                if name not in known:
                    raise NeuronError(
                        f"surrogate {self.name!r}: {name!r} is not defined{nearest(name, known)}; "
                        f"known: {', '.join(sorted(known))}"
                    )

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{v:g}' for v in self.params.values())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Surrogate.from_dict, (self.to_dict(),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Surrogate) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.digest, tuple(self.params.values())))

    @cached_property
    def digest(self) -> str:
        """A hash of the derivative's text; the values of the parameters do not enter."""
        facts = [list(self.params), self.derivative]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @cached_property
    def equations(self) -> tuple[Expression, Expression]:
        """The parsed derivative and primitive."""
        return parse(self.derivative), parse(self.primitive)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which `from_dict` makes an equal surrogate."""
        return {
            "name": self.name,
            "params": dict(self.params),
            "derivative": self.derivative,
            "primitive": self.primitive,
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Surrogate:
        """Make a surrogate from the plain data of `to_dict`; raises NeuronError where it is not well-formed."""
        try:
            return cls(**data)
        except (TypeError, ValueError, AttributeError) as error:
            raise NeuronError(f"the description of a surrogate is not well-formed: {error}") from None


def atan(alpha: float = 2.0) -> Surrogate:
    """Return the arc-tangent surrogate, alpha / 2 at threshold (Fang et al. 2021)."""
    return Surrogate(
        "atan",
        {"alpha": alpha},
        derivative="alpha / 2 / (1 + (1.5707963267948966 * alpha * z)**2)",
        primitive="0.3183098861837907 * atan(1.5707963267948966 * alpha * z) + 0.5",
        reference="Fang et al., Incorporating learnable membrane time constant, ICCV 2021",
    )


def sigmoid(alpha: float = 4.0) -> Surrogate:
    """Return the logistic surrogate, alpha / 4 at threshold (Zenke & Ganguli 2018 discuss it)."""
    return Surrogate(
        "sigmoid",
        {"alpha": alpha},
        derivative="alpha * sigmoid(alpha * z) * (1 - sigmoid(alpha * z))",
        primitive="sigmoid(alpha * z)",
        reference="Zenke & Ganguli, SuperSpike, Neural Computation 2018",
    )


def fast_sigmoid(alpha: float = 25.0) -> Surrogate:
    """Return the SuperSpike surrogate, 1 at threshold (Zenke & Ganguli 2018)."""
    return Surrogate(
        "fast_sigmoid",
        {"alpha": alpha},
        derivative="1 / (1 + alpha * abs(z))**2",
        primitive="z / (1 + alpha * abs(z)) + 0.5",
        reference="Zenke & Ganguli, SuperSpike, Neural Computation 2018",
    )


def triangle(alpha: float = 1.0) -> Surrogate:
    """Return the triangular surrogate of height alpha and half-width 1 / alpha (Esser et al. 2016)."""
    return Surrogate(
        "triangle",
        {"alpha": alpha},
        derivative="alpha * max(0, 1 - alpha * abs(z))",
        primitive="where(z >= 0, 1 - max(0, 1 - alpha * abs(z))**2 / 2, max(0, 1 - alpha * abs(z))**2 / 2)",
        reference="Esser et al., Convolutional networks for fast, energy-efficient neuromorphic computing, PNAS 2016",
    )


def gaussian(sigma: float = 0.5) -> Surrogate:
    """Return the normal density of standard deviation sigma (Yin et al. 2021)."""
    return Surrogate(
        "gaussian",
        {"sigma": sigma},
        derivative="0.3989422804014327 / sigma * exp(-(z / sigma)**2 / 2)",
        primitive="0.5 + 0.5 * erf(0.7071067811865476 * z / sigma)",
        reference="Yin, Corradi & Bohte, Accurate and efficient time-domain classification, Nature MI 2021",
    )


def erf(alpha: float = 2.0) -> Surrogate:
    """Return the derivative of the error function's step, alpha / sqrt(pi) at threshold (Esser et al. 2015)."""
    return Surrogate(
        "erf",
        {"alpha": alpha},
        derivative="0.5641895835477563 * alpha * exp(-(alpha * z)**2)",
        primitive="0.5 + 0.5 * erf(alpha * z)",
        reference="Esser et al., Backpropagation for energy-efficient neuromorphic computing, NeurIPS 2015",
    )


def rectangle(width: float = 1.0) -> Surrogate:
    """Return the box of this width and unit area around the threshold (Wu et al. 2018)."""
    return Surrogate(
        "rectangle",
        {"width": width},
        derivative="(abs(z) <= width / 2) / width",
        primitive="min(max(z / width + 0.5, 0), 1)",
        reference="Wu et al., Spatio-temporal backpropagation, Frontiers in Neuroscience 2018",
    )


SURROGATES: Mapping[str, Callable[..., Surrogate]] = {
    function.__name__: function for function in (atan, sigmoid, fast_sigmoid, triangle, gaussian, erf, rectangle)
}
"""Every surrogate of the package by name; the conformance suites run all of them."""
