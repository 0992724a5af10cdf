"""From a neuron's equations to one `Step`, in the order of the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snnkit.codegen.ir import Assign, Step, flatten_repeating, verify
from snnkit.neuron import Neuron
from snnkit.neuron.expression import Call, Expression, Name


def safe(name: str) -> str:
    """Return a symbol spelt with ASCII letters, digits and underscores."""
    return "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)


def mangle(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Return the IR name of each symbol: prefix, position, and the symbol itself for the reader."""
    return {name: f"{prefix}{k}_{safe(name)}" for k, name in enumerate(names)}


def lower(neuron: Neuron) -> Step:
    """Lower one step of a neuron.

    The spike that the reset reads is a copy under its own name: cutting its gradient is leaving that copy out.
    """
    before = mangle(neuron.states, "h")
    params = mangle(neuron.params, "p")
    scope = {"x": "x", **before, **params}
    body: list[Assign] = []

    def assign(symbol: str, expression: Expression) -> None:
        target = f"u{len(body)}_{safe(symbol)}"
        body.append(Assign(target, rename(expression, scope)))
        scope[symbol] = target

    for symbol, expression in neuron.equations.update:
        assign(symbol, expression)
    spike = held = None
    if neuron.spiking:
        distances = []
        for expression in neuron.equations.spike:
            body.append(Assign(f"u{len(body)}_z", rename(expression, scope)))
            distances.append(Name(body[-1].target))
        spike, held = f"u{len(body)}_s", f"u{len(body) + 1}_s"
        body += [Assign(spike, Call("spike", tuple(distances))), Assign(held, Name(spike))]
        scope["s"] = held
        for symbol, expression in neuron.equations.reset:
            assign(symbol, expression)
    after = tuple(scope[name] for name in neuron.states)
    output = spike or after[-1]
    lines = flatten_repeating(body)
    verify(lines, {"x", *before.values(), *params.values()}, {*after, output})
    return Step(tuple(before.values()), tuple(params.values()), lines, after, output, spike, held)


def rename(expression: Expression, scope: Mapping[str, str]) -> Expression:
    """Return the expression with every symbol replaced by its name in the IR."""
    match expression:
        case Name(name):
            return Name(scope[name])
        case Call(function, arguments):
            return Call(function, tuple(rename(argument, scope) for argument in arguments))
    return expression
