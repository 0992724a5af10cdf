"""Which method runs each layer with delays, why, and what every method would cost."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from rich.table import Table
from torch import Tensor, nn

from snnkit.errors import BackendError
from snnkit.synapse import Delayed, Recurrent
from snnkit.synapse.delayed import METHODS, Problem, choose, costs

ACTIVITY = 0.08
"""Spikes per input and step that costs are estimated for."""


def table(net: nn.Module, title: str, *, batch: int, steps: int) -> Table | None:
    """Return a table of a network's layers with delays; None where it has none.

    Args:
        net: the network, which is not changed.
        title: what the network is called.
        batch, steps: size of the input that costs are estimated for.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    one = "one GPU" if device.type == "cuda" else "one thread"
    head = f"delays in {title}: estimated ms on {one}, batch {batch}, {steps} steps, {ACTIVITY:.0%} of inputs firing"
    found = Table(title=head, title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="bold")
    for column in ("layer", "sizes, delays", "while", "method", "why"):
        found.add_column(column, overflow="fold", no_wrap=column == "while")
    for name in METHODS:
        found.add_column(name, justify="right", no_wrap=True)
    stepped = {id(module.connection) for module in net.modules() if isinstance(module, Recurrent)}
    lacking: set[str] = set()
    for path, module in net.named_modules():
        if not isinstance(module, Delayed):
            continue
        layer = copy.deepcopy(module).to(device)
        alone = id(module) in stepped
        named = path, _what(layer, alone)
        size, past = (1, layer.max_delay) if alone else (steps, 0)
        for phase, problem in _phases(layer, batch, size, past=past):
            estimates = costs(problem)
            lacking |= METHODS.keys() - estimates
            shown = [f"{1e3 * steps / size * estimates[m]:.3g}" if m in estimates else "–" for m in METHODS]
            found.add_row(*named, phase, *_choice(layer.backend, problem), *shown)
            named = "", ""
    if not found.row_count:
        return None
    found.caption = "\n".join(f"– {name}: {METHODS[name].lack}" for name in METHODS if name in lacking)
    found.caption_justify = "left"
    return found


def _phases(layer: Delayed, batch: int, steps: int, *, past: int) -> Iterator[tuple[str, Problem]]:
    """Yield what a layer computes at the start of training, at its end, and in evaluation."""
    x = _spikes(layer, past + steps, batch)
    widths = {"gauss": (0.0, 1.0), "triangle": (0.0, 1.0)}.get(layer.kernel, (1.0,)) if layer.learn else (1.0,)
    layer.train()
    for progress in widths:
        layer.anneal(progress)
        width = f", sigma {float(layer.sigma):.3g}" if len(widths) > 1 else ""
        with torch.enable_grad():
            yield f"training{width}", layer.problem(x, past)
    layer.eval()
    with torch.no_grad():
        yield "evaluating", layer.problem(x, past)


def _spikes(layer: Delayed, steps: int, batch: int) -> Tensor:
    """Return random spikes for one place of a layer's output."""
    sizes, padding = getattr(layer, "kernel_size", ()), getattr(layer, "padding", ())
    space = [max(1, size - 2 * around) for size, around in zip(sizes, padding, strict=True)]
    draws = torch.rand(steps, batch, layer.n_inputs, *space, generator=torch.Generator().manual_seed(0))
    return (draws < ACTIVITY).float().to(layer.weight.device)


def _choice(backend: str, problem: Problem) -> tuple[str, str]:
    """Return the method that runs, and why it does."""
    try:
        name = choose(backend, problem)
    except BackendError:
        return "cannot run", f"asked for, but {backend} does not apply"
    if backend != "auto":
        return name, "asked for"
    order = costs(problem)
    others = [other for other in order if other != name]
    return name, f"{others[0]} takes {order[others[0]] / order[name]:.1f}x" if others else "no other applies"


def _what(layer: Delayed, alone: bool) -> str:
    """Return the size of a layer in words."""
    place = ", for one place" if layer.axes else ""
    return f"{layer.n_inputs} to {layer.n_outputs}, 0..{layer.max_delay}{place}" + (", step by step" * alone)
