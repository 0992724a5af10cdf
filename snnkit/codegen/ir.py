"""The one small IR: a list of assignments in single-assignment form, over the trees of `neuron.expression`.

Names carry a prefix for their kind, so no name of a user's can meet a keyword or a function of a target language:
`x` the input, `h*` a state before the step, `u*` a value of the step, `p*` a parameter, `q*` a parameter of the
surrogate, `c*` a value that does not change over time, `g*` a gradient, `t*` a temporary.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from snnkit.errors import NeuronError
from snnkit.neuron.expression import FUNCTIONS, Call, Expression, Name, names

OPERATIONS = {
    **{name: arity for name, arity in FUNCTIONS.items() if name != "sigmoid"},
    **dict.fromkeys(("add", "sub", "mul", "div", "ge", "gt", "le", "lt"), 2),
    "neg": 1,
    "sign": 1,
}
"""Every operation that a backend renders, with its number of arguments; `spike` takes any number."""

REPEATING = frozenset({"max", "min", "sign", "where", "spike"})
"""Operations that a target writes with an argument repeated, so their arguments stay names."""


@dataclass(frozen=True, slots=True)
class Assign:
    """`target = expression`; every target is assigned once."""

    target: str
    expression: Expression


@dataclass(frozen=True)
class Step:
    """One time step: from input and states before it to output and states after it."""

    before: tuple[str, ...]
    params: tuple[str, ...]
    body: tuple[Assign, ...]
    after: tuple[str, ...]
    output: str
    spike: str | None
    held: str | None
    """The spike as the reset reads it where its gradient is cut; the same value as `spike`."""


@dataclass(frozen=True)
class Adjoint:
    """One time step in reverse: what it reads, and the gradients that it makes."""

    before: tuple[str, ...]
    params: tuple[str, ...]
    surrogate_params: tuple[str, ...]
    grad_output: str
    grad_after: tuple[str, ...]
    body: tuple[Assign, ...]
    grad_input: str
    grad_before: tuple[str, ...]
    grad_params: tuple[str, ...]


def verify(body: Sequence[Assign], inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Check that every name is assigned once, before it is read, by an operation that exists."""
    known = set(inputs)
    for line in body:
        for name in names(line.expression):
            if name not in known:
                raise NeuronError(f"generated code reads {name!r} before it is assigned")
        if line.target in known:
            raise NeuronError(f"generated code assigns {line.target!r} twice")
        _verify_operations(line.expression)
        known.add(line.target)
    for name in outputs:
        if name not in known:
            raise NeuronError(f"generated code never assigns {name!r}")


def _verify_operations(expression: Expression) -> None:
    if isinstance(expression, Call):
        arity = OPERATIONS.get(expression.function)
        if expression.function != "spike" and arity != len(expression.arguments):
            raise NeuronError(
                f"generated code calls {expression.function!r} with {len(expression.arguments)} arguments"
            )
        for argument in expression.arguments:
            _verify_operations(argument)


def flatten(body: Iterable[Assign], prefix: str = "t") -> tuple[Assign, ...]:
    """Return the same assignments with one operation each."""
    flat: list[Assign] = []

    def atom(expression: Expression) -> Expression:
        if not isinstance(expression, Call):
            return expression
        call = Call(expression.function, tuple(atom(argument) for argument in expression.arguments))
        name = f"{prefix}{len(flat)}"
        flat.append(Assign(name, call))
        return Name(name)

    for line in body:
        if isinstance(line.expression, Call):
            arguments = tuple(atom(argument) for argument in line.expression.arguments)
            flat.append(Assign(line.target, Call(line.expression.function, arguments)))
        else:
            flat.append(line)
    return tuple(flat)


def live(body: Sequence[Assign], outputs: Iterable[str]) -> tuple[Assign, ...]:
    """Drop the assignments that no output needs."""
    needed = set(outputs)
    kept = []
    for line in reversed(body):
        if line.target in needed:
            kept.append(line)
            needed.update(names(line.expression))
    return tuple(reversed(kept))


def inline(body: Sequence[Assign], outputs: Iterable[str]) -> tuple[Assign, ...]:
    """Put temporaries that are read once back where they are read, so that generated code reads as it was typed."""
    uses = Counter(name for line in body for name in names(line.expression))
    fixed = set(outputs)
    pending: dict[str, Expression] = {}
    lines = []
    for line in body:
        expression = substitute(line.expression, pending)
        if line.target not in fixed and uses[line.target] == 1 and line.target.startswith(("t", "g")):
            pending[line.target] = expression
        else:
            lines.append(Assign(line.target, expression))
    return flatten_repeating(lines)


def flatten_repeating(body: Iterable[Assign]) -> tuple[Assign, ...]:
    """Name the arguments of operations that a target language writes twice."""
    body = tuple(body)
    taken = {line.target for line in body}
    fresh = (name for name in (f"r{k}" for k in itertools.count()) if name not in taken)
    lines: list[Assign] = []

    def visit(expression: Expression, repeated: bool) -> Expression:
        if not isinstance(expression, Call):
            return expression
        inside = expression.function in REPEATING
        call = Call(expression.function, tuple(visit(argument, inside) for argument in expression.arguments))
        if not repeated:
            return call
        name = next(fresh)
        lines.append(Assign(name, call))
        return Name(name)

    for line in body:
        expression = visit(line.expression, False)
        lines.append(Assign(line.target, expression))
    return tuple(lines)


def hoist(
    body: Sequence[Assign], constant: Iterable[str], outputs: Iterable[str]
) -> tuple[tuple[Assign, ...], tuple[Assign, ...]]:
    """Split off what depends on parameters alone, and drop copies: (computed once, computed every step)."""
    fixed, kept = set(constant), set(outputs)
    once: dict[Expression, str] = {}
    values: dict[str, Expression] = {}
    lines = []

    def visit(expression: Expression) -> Expression:
        if not isinstance(expression, Call):
            return expression
        if {*names(expression)} and all(name in fixed for name in names(expression)):
            name = once.setdefault(expression, f"c{len(once)}")
            fixed.add(name)
            return Name(name)
        return Call(expression.function, tuple(visit(argument) for argument in expression.arguments))

    for line in flatten_repeating(body):
        expression = visit(substitute(line.expression, values))
        if line.target not in kept and not isinstance(expression, Call):
            values[line.target] = expression
        else:
            lines.append(Assign(line.target, expression))
    return tuple(Assign(name, expression) for expression, name in once.items()), tuple(lines)


def reads(body: Iterable[Assign]) -> Iterator[str]:
    """Yield every name that the assignments read."""
    for line in body:
        yield from names(line.expression)


def substitute(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """Return the expression with these names replaced."""
    match expression:
        case Name(name):
            return values.get(name, expression)
        case Call(function, arguments):
            return Call(function, tuple(substitute(argument, values) for argument in arguments))
    return expression
