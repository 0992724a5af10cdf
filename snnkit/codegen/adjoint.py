"""The reverse of a step, derived by SymPy: one rule per operation, then common subexpressions.

Every operation's partial derivatives come from SymPy, not from a table of ours. Functions that SymPy would turn
into distributions (steps, minima, choices) are given their one-sided derivative here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sympy

from snnkit.codegen.ir import Adjoint, Assign, Step, flatten, inline, live, reads, verify
from snnkit.codegen.lower import mangle, rename
from snnkit.neuron.expression import Call, Expression, Name, Number
from snnkit.neuron.surrogate import Surrogate


def _function(name: str, *partials: Callable[..., Any]) -> Any:
    """Make a SymPy function with these partial derivatives (none: constant almost everywhere)."""

    def fdiff(self: Any, argindex: int = 1) -> Any:
        return partials[argindex - 1](*self.args) if partials else sympy.Integer(0)

    return type(name, (sympy.Function,), {"fdiff": fdiff})


_GE, _GT, _LE, _LT = (_function(name) for name in ("ge", "gt", "le", "lt"))
_FLOOR, _SIGN = _function("floor"), _function("sign")
_WHERE = _function(
    "where", lambda c, a, b: sympy.Integer(0), lambda c, a, b: _WHERE(c, 1, 0), lambda c, a, b: _WHERE(c, 0, 1)
)
_MAX = _function("max", lambda a, b: _GE(a, b), lambda a, b: _LT(a, b))
_MIN = _function("min", lambda a, b: _LE(a, b), lambda a, b: _GT(a, b))
_ABS = _function("abs", lambda a: _SIGN(a))

_SYMPY: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "exp": sympy.exp,
    "log": sympy.log,
    "sqrt": sympy.sqrt,
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tanh": sympy.tanh,
    "atan": sympy.atan,
    "erf": sympy.erf,
    "abs": _ABS,
    "sign": _SIGN,
    "floor": _FLOOR,
    "min": _MIN,
    "max": _MAX,
    "where": _WHERE,
    "ge": _GE,
    "gt": _GT,
    "le": _LE,
    "lt": _LT,
}

_VALUE = sympy.Symbol("value", real=True)


@lru_cache
def partials(operation: str, arity: int) -> tuple[Any, ...]:
    """Return an operation's derivatives in symbols a0, a1, … and `value`, the operation's own result."""
    arguments = [sympy.Symbol(f"a{k}", real=True) for k in range(arity)]
    result = _SYMPY[operation](*arguments)
    return tuple(sympy.diff(result, a).xreplace({result: _VALUE}) for a in arguments)


def derive(step: Step, surrogate: Surrogate, *, detach_reset: bool, wanted: Sequence[str]) -> Adjoint:
    """Derive the reverse of one step.

    Args:
        step: the lowered step.
        surrogate: its derivative stands for the spike's.
        detach_reset: whether the spike in the reset counts as a constant.
        wanted: IR names of the parameters that need a gradient.
    Returns:
        The reverse step: it recomputes what it needs of the step, then makes every gradient.
    """
    flat = flatten(step.body)
    surrogate_names = mangle(surrogate.params, "q")
    slope = _SlopeOf(surrogate, surrogate_names)
    gradient: defaultdict[str, Any] = defaultdict(lambda: sympy.Integer(0))
    grad_output = "g_output"
    grad_after = tuple(f"g_{name}" for name in step.before)
    gradient[step.output] += sympy.Symbol(grad_output, real=True)
    for name, grad in zip(step.after, grad_after, strict=True):
        gradient[name] += sympy.Symbol(grad, real=True)
    named: list[tuple[Any, Any]] = []
    for line in reversed(flat):
        upstream = gradient.pop(line.target, sympy.Integer(0))
        if upstream == 0 or (detach_reset and line.target == step.held):
            continue
        if upstream.is_Add or upstream.is_Mul:
            symbol = sympy.Symbol(f"g{len(named)}", real=True)
            named.append((symbol, upstream))
            upstream = symbol
        for name, partial in _partials(line, slope):
            gradient[name] += upstream * partial
    outputs = [gradient["x"], *(gradient[name] for name in (*step.before, *wanted))]
    names = ["grad_x", *(f"grad_{name}" for name in (*step.before, *wanted))]
    body = [*flat, *_lower_all(named, names, outputs)]
    inputs = {"x", *step.before, *step.params, *surrogate_names.values(), grad_output, *grad_after}
    lines = inline(live(body, names), names)
    verify(lines, inputs, names)
    used = set(reads(lines))
    count = 1 + len(step.before)
    return Adjoint(
        before=tuple(name for name in step.before if name in used),
        params=step.params,
        surrogate_params=tuple(surrogate_names.values()),
        grad_output=grad_output,
        grad_after=grad_after,
        body=lines,
        grad_input=names[0],
        grad_before=tuple(names[1:count]),
        grad_params=tuple(names[count:]),
    )


class _SlopeOf:
    """The surrogate's derivative as a SymPy expression of a distance to threshold."""

    def __init__(self, surrogate: Surrogate, names: Mapping[str, str]) -> None:
        derivative, _ = surrogate.equations
        self.expression = to_sympy(rename(derivative, {"z": "z", **names}))

    def __call__(self, z: Any) -> Any:
        return self.expression.xreplace({sympy.Symbol("z", real=True): z})


def _partials(line: Assign, slope: _SlopeOf) -> list[tuple[str, Any]]:
    expression = line.expression
    if isinstance(expression, Name):
        return [(expression.name, sympy.Integer(1))]
    if not isinstance(expression, Call):
        return []
    values = [to_sympy(argument) for argument in expression.arguments]
    if expression.function == "spike":
        found = [slope(value) for value in values]
    else:
        symbols = {sympy.Symbol(f"a{k}", real=True): value for k, value in enumerate(values)}
        symbols[_VALUE] = sympy.Symbol(line.target, real=True)
        found = [partial.xreplace(symbols) for partial in partials(expression.function, len(values))]
    pairs = zip(expression.arguments, found, strict=True)
    return [(argument.name, partial) for argument, partial in pairs if isinstance(argument, Name) and partial != 0]


def _lower_all(named: Sequence[tuple[Any, Any]], names: Sequence[str], outputs: Sequence[Any]) -> list[Assign]:
    """Turn named intermediate gradients and final ones into assignments, sharing common subexpressions."""
    temporaries = (sympy.Symbol(f"k{j}", real=True) for j in range(10_000))
    found: Any = sympy.cse([e for _, e in named] + list(outputs), symbols=temporaries, order="none")
    shared, reduced = found
    goals = list(zip([symbol for symbol, _ in named], reduced, strict=False))
    goals += list(zip((sympy.Symbol(name, real=True) for name in names), reduced[len(named) :], strict=True))
    lines: list[Assign] = []
    done: set[Any] = set()
    pending = dict([*shared, *goals])

    def emit(symbol: Any) -> None:
        if symbol in done or symbol not in pending:
            return
        done.add(symbol)
        for other in sorted(pending[symbol].free_symbols, key=str):
            emit(other)
        lines.append(Assign(_rename_temporary(symbol.name), from_sympy(pending[symbol])))

    for symbol, _ in goals:
        emit(symbol)
    return [Assign(line.target, _with_temporaries(line.expression)) for line in lines]


def _rename_temporary(name: str) -> str:
    """Common subexpressions are temporaries that `inline` may move (prefix g)."""
    return f"gk{name[1:]}" if name[0] == "k" and name[1:].isdigit() else name


def _with_temporaries(expression: Expression) -> Expression:
    match expression:
        case Name(name):
            return Name(_rename_temporary(name))
        case Call(function, arguments):
            return Call(function, tuple(_with_temporaries(argument) for argument in arguments))
    return expression


def to_sympy(expression: Expression) -> Any:
    """Return a tree as a SymPy expression over real symbols."""
    match expression:
        case Name(name):
            return sympy.Symbol(name, real=True)
        case Number(value):
            return sympy.Integer(int(value)) if value == int(value) and abs(value) < 2**31 else sympy.Float(value)
        case Call(function, arguments):
            return _SYMPY[function](*(to_sympy(argument) for argument in arguments))
    raise TypeError(expression)


def from_sympy(expression: Any) -> Expression:
    """Return a SymPy expression as a tree, with quotients written as quotients."""
    if expression.is_Symbol:
        return Name(expression.name)
    if expression.is_number:
        return Number(float(expression))
    if expression.is_Add:
        return _sum([from_sympy(term) for term in expression.args])
    if expression.is_Mul:
        return _product(expression)
    if expression.is_Pow:
        return _power(*expression.args)
    return Call(type(expression).__name__.lower(), tuple(from_sympy(argument) for argument in expression.args))


def _sum(terms: list[Expression]) -> Expression:
    positive = [t for t in terms if _negated(t) is None]
    negative = [n for n in map(_negated, terms) if n is not None]
    if not positive:
        return Call("neg", (_sum(negative),))
    total = positive[0]
    for term in positive[1:]:
        total = Call("add", (total, term))
    for term in negative:
        total = Call("sub", (total, term))
    return total


def _negated(term: Expression) -> Expression | None:
    match term:
        case Call("neg", (inner,)):
            return inner
        case Number(value) if value < 0:
            return Number(-value)
    return None


def _product(expression: Any) -> Expression:
    coefficient, factors = expression.as_coeff_mul()
    above = [f for f in factors if not _is_reciprocal(f)]
    below = [1 / f for f in factors if _is_reciprocal(f)]
    number = float(coefficient)
    top: list[Expression] = [Number(abs(number))] if abs(number) != 1 or not above else []
    top += [from_sympy(f) for f in above]
    result = top[0]
    for factor in top[1:]:
        result = Call("mul", (result, factor))
    if below:
        bottom = from_sympy(sympy.Mul(*below))
        plain = isinstance(result, Number) and result.value == 1.0
        inverse = Call("div", (Number(1.0), bottom))
        result = inverse if plain else Call("mul", (result, inverse))
    return Call("neg", (result,)) if number < 0 else result


def _is_reciprocal(factor: Any) -> bool:
    return factor.is_Pow and factor.args[1].is_number and float(factor.args[1]) < 0


def _power(base: Any, exponent: Any) -> Expression:
    value = float(exponent) if exponent.is_number else math.nan
    if value < 0:
        return Call("div", (Number(1.0), from_sympy(1 / sympy.Pow(base, exponent))))
    if not value < math.inf:
        raise TypeError(f"{base}**{exponent}")
    root = from_sympy(base)
    factors, rest = [root] * int(value), value % 1
    while rest:
        root, rest = Call("sqrt", (root,)), 2 * rest
        if rest >= 1:
            factors, rest = [*factors, root], rest - 1
    result = factors[0]
    for factor in factors[1:]:
        result = Call("mul", (result, factor))
    return result
