"""What a kernel computes once for a neuron, and what in every step; the same for every target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from snnkit.codegen.ir import Adjoint, Assign, Step, hoist, reads, substitute
from snnkit.neuron.expression import Name, names


@dataclass(frozen=True)
class Part:
    """Assignments of one direction: `once` depends on parameters alone, `body` runs in every step."""

    once: tuple[Assign, ...] = ()
    body: tuple[Assign, ...] = ()


def forward(step: Step) -> Part:
    """Return the forward step."""
    return Part(*hoist(step.body, step.params, {*step.after, step.output}))


def replay(step: Step, adjoint: Adjoint) -> Part:
    """Return the forward step as the backward kernel runs it again; empty where the adjoint reads no state."""
    return Part(*hoist(step.body, step.params, step.after)) if adjoint.before else Part()


def reverse(adjoint: Adjoint) -> tuple[tuple[Assign, ...], Part]:
    """Return what depends on the surrogate's parameters alone, and the reverse step.

    Values computed once get names apart from those of the step that runs again beside it.
    """
    outputs = {adjoint.grad_input, *adjoint.grad_before, *adjoint.grad_params}
    once, body = hoist(adjoint.body, {*adjoint.params, *adjoint.surrogate_params}, outputs)
    marks = {line.target: f"d{line.target}" for line in once}
    scalars, rest = _split(_renamed(once, marks), adjoint.surrogate_params)
    return scalars, Part(rest, _renamed(body, marks))


def used(*bodies: Iterable[Assign]) -> set[str]:
    """Return every name that the assignments read."""
    return {name for body in bodies for name in reads(body)}


def _renamed(lines: Sequence[Assign], marks: dict[str, str]) -> tuple[Assign, ...]:
    values = {old: Name(new) for old, new in marks.items()}
    return tuple(Assign(marks.get(line.target, line.target), substitute(line.expression, values)) for line in lines)


def _split(once: Sequence[Assign], scalars: Sequence[str]) -> tuple[tuple[Assign, ...], tuple[Assign, ...]]:
    """Split values computed once into those of the surrogate alone, the same for all neurons, and the rest."""
    known = set(scalars)
    alone: list[Assign] = []
    rest: list[Assign] = []
    for line in once:
        if all(name in known for name in names(line.expression)):
            known.add(line.target)
            alone.append(line)
        else:
            rest.append(line)
    return tuple(alone), tuple(rest)
