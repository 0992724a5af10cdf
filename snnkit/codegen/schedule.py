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


@dataclass(frozen=True)
class Backward:
    """What the backward kernel computes.

    Args:
        scalars: what depends on the surrogate's parameters alone.
        replay: the forward step as it runs again; empty where nothing of it is kept.
        kept: the values of every step that the replay leaves for the reverse: states before it or values in it.
        reverse: the reverse step.
    """

    scalars: tuple[Assign, ...]
    replay: Part
    kept: tuple[str, ...]
    reverse: Part


def forward(step: Step) -> Part:
    """Return the forward step."""
    return Part(*hoist(step.body, step.params, {*step.after, step.output}))


def backward(step: Step, adjoint: Adjoint) -> Backward:
    """Return both passes of the backward kernel over a stretch of time.

    The reverse either reads what the replay computed, or computes it again from other values or from the states before
    the step: whichever takes fewer numbers from memory, and keeps fewer where both take as many. Values computed once
    get names apart from those of the replay beside it.
    """
    values = [line.target for line in step.body if line.target.startswith("u")]
    outputs = {adjoint.grad_input, *adjoint.grad_before, *adjoint.grad_params}
    way = _cut(adjoint, outputs, set(values))
    for name in [value for value in reversed(values) if value in way.reads]:
        way = min(way, _cut(adjoint, outputs, way.reads - {name}))
    way = min(way, _cut(adjoint, outputs, set()))
    kept = tuple(name for name in (*step.before, *values) if name in way.reads)
    replay = Part(*hoist(step.body, step.params, {*step.after, *kept})) if kept else Part()
    once, lines = hoist(way.body, {*adjoint.params, *adjoint.surrogate_params}, outputs)
    marks = {line.target: f"d{line.target}" for line in once}
    scalars, rest = _split(_renamed(once, marks), adjoint.surrogate_params)
    return Backward(scalars, replay, kept, Part(rest, _renamed(lines, marks)))


@dataclass(frozen=True)
class _Way:
    """A reverse step, and what it reads of a step: its input, states before it, or values in it."""

    body: tuple[Assign, ...]
    reads: set[str]

    def __lt__(self, other: _Way) -> bool:
        return self._cost() < other._cost()

    def _cost(self) -> tuple[int, int]:
        return len(self.reads), len(self.reads - {"x"})


def _cut(adjoint: Adjoint, outputs: Iterable[str], values: set[str]) -> _Way:
    """Return what is left of the reverse step where some values of the step are known."""
    needed, lines = set(outputs), []
    for line in reversed(adjoint.body):
        if line.target in needed and line.target not in values:
            lines.append(line)
            needed.update(names(line.expression))
    return _Way(tuple(reversed(lines)), needed & {"x", *adjoint.before, *values})


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
