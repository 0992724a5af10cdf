"""Expressions as text of a target language: one table per target, one printer for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from snnkit.codegen.ir import Assign
from snnkit.neuron.expression import Expression, Name, Number

_INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}
_COMPARE = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class Target:
    """A target language: how it writes numbers, calls, choices and assignments."""

    number: Callable[[float], str]
    choice: str
    calls: Mapping[str, str]
    assign: str

    def expression(self, tree: Expression) -> str:
        """Return the text of an expression; infix operators keep the order of the tree."""
        return self._text(tree, 0)

    def lines(self, body: Iterable[Assign]) -> list[str]:
        """Return one line of text per assignment."""
        return [self.assign.format(line.target, self.expression(line.expression)) for line in body]

    def _text(self, tree: Expression, level: int) -> str:
        if isinstance(tree, Name):
            return tree.name
        if isinstance(tree, Number):
            return self.number(tree.value)
        if tree.function in _INFIX:
            symbol, own = _INFIX[tree.function]
            left, right = tree.arguments
            text = f"{self._text(left, own)} {symbol} {self._text(right, own + 1)}"
            return f"({text})" if own < level else text
        function = tree.function
        values = [self._text(argument, 0) for argument in tree.arguments]
        one, zero = self.number(1.0), self.number(0.0)
        if function == "neg":
            return f"(-{self._text(tree.arguments[0], 3)})"
        if function in _COMPARE:
            return self._choose(f"{values[0]} {_COMPARE[function]} {values[1]}", one, zero)
        if function == "spike":
            counted = [self._choose(f"{value} >= {zero}", one, zero) for value in values]
            return counted[0] if len(counted) == 1 else f"({' + '.join(counted)})"
        if function == "where":
            return self._choose(f"{values[0]} != {zero}", values[1], values[2])
        if function in ("max", "min"):
            return self._choose(f"{values[0]} {'>=' if function == 'max' else '<='} {values[1]}", *values)
        if function == "sign":
            negative = self._choose(f"{values[0]} < {zero}", self.number(-1.0), zero)
            return self._choose(f"{values[0]} > {zero}", one, negative)
        return f"{self.calls[function]}({values[0]})"

    def _choose(self, condition: str, yes: str, no: str) -> str:
        return self.choice.format(condition=condition, yes=yes, no=no)


_LIBRARY = ("exp", "log", "sqrt", "sin", "cos", "tanh", "atan", "erf")

PYTHON = Target(
    number=lambda value: f"real({value!r})",
    choice="({yes} if {condition} else {no})",
    calls={**{name: f"math.{name}" for name in _LIBRARY}, "abs": "abs", "floor": "np.floor"},
    assign="{} = {}",
)
"""Python as numba compiles it; `real` is the type of the arithmetic."""

C = Target(
    # Two minus signs in a row would be a decrement.
    number=lambda value: f"({value!r}f)" if repr(value).startswith("-") else f"{value!r}f",
    choice="({condition} ? {yes} : {no})",
    calls={**{name: f"{name}f" for name in _LIBRARY}, "abs": "fabsf", "floor": "floorf"},
    assign="const float {} = {};",
)
"""C for every C-like target: CUDA C and the host's C++."""
