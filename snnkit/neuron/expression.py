"""Equations as text, parsed once into small trees; only the names and functions listed here exist."""

from __future__ import annotations

import ast
import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from snnkit.errors import NeuronError, nearest

FUNCTIONS: Mapping[str, int] = {
    "exp": 1,
    "log": 1,
    "sqrt": 1,
    "abs": 1,
    "sin": 1,
    "cos": 1,
    "tanh": 1,
    "atan": 1,
    "erf": 1,
    "floor": 1,
    "sigmoid": 1,
    "min": 2,
    "max": 2,
    "where": 3,
}
"""Functions that an equation may call, with their number of arguments."""

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_COMPARE = {ast.GtE: "ge", ast.Gt: "gt", ast.LtE: "le", ast.Lt: "lt"}
_MAX_CHARACTERS = 2000
_MAX_DEPTH = 64
_MAX_EXPONENT = 16
_MAX_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Name:
    """A symbol: the input, the spike, a state, a parameter or a local."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A finite literal."""

    value: float


@dataclass(frozen=True, slots=True)
class Call:
    """An operation on sub-expressions; the evaluation order is the order of the text."""

    function: str
    arguments: tuple[Expression, ...]


Expression = Name | Number | Call


def normalise(name: str) -> str:
    """Return a symbol as Python itself would spell it (NFKC)."""
    return unicodedata.normalize("NFKC", name)


def parse(text: str) -> Expression:
    """Parse one expression, such as `"v + (x - v) / tau"`.

    Args:
        text: arithmetic, comparisons (1 where true, else 0), the functions of `FUNCTIONS`, names.
    Returns:
        The expression tree, in the order of the text.
    Raises:
        NeuronError: where the text is anything else.
    """
    try:
        expression = _convert(_python(text), text, 0)
    except RecursionError:
        raise NeuronError(f"expression {text[:60]!r}… is nested too deep; use a local variable") from None
    if _size(expression, {}) > _MAX_SIZE:
        raise NeuronError(f"{text[:60]!r}… comes to more than {_MAX_SIZE} operations; use a local variable for a power")
    return expression


def parse_assignment(text: str) -> tuple[str, Expression]:
    """Parse `"name = expression"` into its two sides; raises NeuronError as `parse` does."""
    if not isinstance(text, str):
        raise NeuronError(f"an equation is text such as 'v = v + x', not {text!r}")
    target, equals, expression = text.partition("=")
    name = normalise(target.strip())
    if not equals or expression.startswith("=") or not name.isidentifier():
        raise NeuronError(f"equation {text!r} is not an assignment; write 'name = expression'")
    return name, parse(expression)


def names(expression: Expression) -> Iterator[str]:
    """Yield every symbol of an expression, in the order of the text."""
    match expression:
        case Name(name):
            yield name
        case Call(_, arguments):
            for argument in arguments:
                yield from names(argument)


def _python(text: str) -> ast.expr:
    if not isinstance(text, str):
        raise NeuronError(f"an expression is text such as 'v - theta', not {text!r}")
    if len(text) > _MAX_CHARACTERS:
        raise NeuronError(f"an expression of {len(text)} characters is too long; the limit is {_MAX_CHARACTERS}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NeuronError(f"expression {text!r} cannot be read: {error}") from None


def _convert(node: ast.expr, text: str, depth: int) -> Expression:
    if depth > _MAX_DEPTH:
        raise NeuronError(f"expression {text[:60]!r}… is nested deeper than {_MAX_DEPTH}; use a local variable")

    def inner(child: ast.expr) -> Expression:
        return _convert(child, text, depth + 1)

    match node:
        case ast.Name(id=name):
            return Name(normalise(name))
        case ast.Constant(value=bool()):
            raise NeuronError(f"{text!r} holds {node.value}; write 1 or 0")
        case ast.Constant(value=int() | float() as value):
            return _number(value, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(inner(left), inner(right), text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return Call(_BINARY[type(op)], (inner(left), inner(right)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = inner(operand)
            return Number(-value.value) if isinstance(value, Number) else Call("neg", (value,))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return inner(operand)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return Call(_COMPARE[type(op)], (inner(left), inner(right)))
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            return _call(function, [inner(argument) for argument in arguments], text)
    raise NeuronError(
        f"{text!r} holds {ast.unparse(node)!r}, which an equation cannot; "
        f"use + - * / **, one comparison, and {', '.join(FUNCTIONS)}"
    )


def _size(expression: Expression, known: dict[int, int]) -> int:
    """Return the number of symbols, numbers and operations; a power's base counts as often as it is multiplied."""
    if not isinstance(expression, Call):
        return 1
    if id(expression) not in known:
        known[id(expression)] = 1 + sum(_size(argument, known) for argument in expression.arguments)
    return known[id(expression)]


def _number(value: float, text: str) -> Number:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > 3e38:
        raise NeuronError(f"{text[:60]!r} holds a number that float32 cannot; use a smaller one")
    return Number(number)


def _power(base: Expression, exponent: Expression, text: str) -> Expression:
    power = exponent.value if isinstance(exponent, Number) else 0.0
    if power != int(power) or not 1 <= power <= _MAX_EXPONENT:
        raise NeuronError(
            f"{text!r} raises to a power that is not a whole number from 1 to {_MAX_EXPONENT}; use exp or sqrt"
        )
    result = base
    for _ in range(int(power) - 1):
        result = Call("mul", (result, base))
    return result


def _call(function: str, arguments: list[Expression], text: str) -> Expression:
    if function not in FUNCTIONS:
        raise NeuronError(
            f"{text!r} calls {function!r}, which is not known{nearest(function, FUNCTIONS)}; "
            f"known: {', '.join(FUNCTIONS)}"
        )
    if len(arguments) != FUNCTIONS[function]:
        raise NeuronError(f"{text!r}: {function} takes {FUNCTIONS[function]} arguments, not {len(arguments)}")
    if function == "sigmoid":
        return Call("div", (Number(1.0), Call("add", (Number(1.0), Call("exp", (Call("neg", tuple(arguments)),))))))
    return Call(function, tuple(arguments))
