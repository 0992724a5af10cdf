"""`snnkit neuron`: equations and kernels to read."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from snnkit.cli.console import standard
from snnkit.errors import NeuronError, nearest
from snnkit.neuron import FAMILIES, Neuron, Param, family, surrogate

KERNELS = ("reference", "cpu", "cuda")


def neuron(name: str | None, *, reset: str | None, kernel: str | None, backward: bool) -> None:
    """Print the catalogue, or one neuron, or one of its kernels."""
    console = standard()
    if name is None:
        console.print(_catalogue())
        return
    found = _built(name, reset)
    if kernel is None:
        _describe(console, found)
    else:
        print(_source(found, kernel, backward))


def _built(name: str, reset: str | None) -> Neuron:
    make = family(name)
    if reset is None:
        return make()
    if "reset" not in inspect.signature(make).parameters:
        raise NeuronError(f"{name} has one kind of reset only; leave --reset out")
    if reset not in ("soft", "hard"):
        raise NeuronError(f"--reset is soft or hard, not {reset!r}")
    return make(reset=reset)


def _catalogue() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("layer", "states", "parameters", "what it is"):
        table.add_column(column)
    for name, make in FAMILIES.items():
        found = make()
        first = (inspect.getdoc(make) or "").splitlines()[0].removeprefix("Return the ")
        table.add_row(name, ", ".join(found.states), ", ".join(found.params), first)
    return table


def _describe(console: Console, found: Neuron) -> None:
    console.print(f"[bold]{found.name}[/bold]  [dim]{found.reference}[/dim]", highlight=False)
    console.print("\n[bold]one step[/bold]")
    spikes: Sequence[str] = found.spike or ()
    test = " + ".join(f"({text} >= 0)" for text in spikes)
    lines = [*found.update, *([f"s = {test}"] if spikes else []), *found.reset]
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)
    console.print(f"  output: {'s' if spikes else list(found.states)[-1]}", highlight=False)
    console.print("\n[bold]states[/bold]")
    for name, start in found.states.items():
        console.print(f"  {name} starts at {start:g}", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 2), title="parameters", title_justify="left", title_style="bold")
    for column in ("name", "default", "bounds", "learnt unless told otherwise"):
        table.add_column(column)
    for name, p in found.params.items():
        table.add_row(name, f"{p.default:g}", _bounds(p), "yes" if p.learn else "no")
    console.print(table)


def _bounds(p: Param) -> str:
    low, high = math.isfinite(p.low), math.isfinite(p.high)
    if low and high:
        return f"{p.low:g} to {p.high:g}"
    return f"at least {p.low:g}" if low else f"at most {p.high:g}" if high else "none"


def _source(found: Neuron, kernel: str, backward: bool) -> str:
    if kernel not in KERNELS:
        raise NeuronError(f"no kernel {kernel!r}{nearest(kernel, KERNELS)}; known: {', '.join(KERNELS)}")
    if kernel == "reference":
        from snnkit.codegen import reference

        return inspect.getsource(reference)
    from snnkit.codegen.kernel import Kernel

    wanted: Any = (True,) * len(found.params) if backward else None
    text = Kernel(found, surrogate.atan(), True)
    if kernel == "cpu":
        from snnkit.codegen.cpu_source import source

        return source(text, "float32", wanted=wanted, shared=True)
    from snnkit.codegen import c_source

    return c_source.source(text, "float32", wanted=wanted)
