"""What the network with delays learnt: which synapses wait how long, and what that does to a digit's spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snnkit import report
from snnkit.cli.demo.job import Run
from snnkit.cli.demo.section import Demo, Row, Section
from snnkit.report import page
from snnkit.synapse import Delayed
from snnkit.synapse.taps import KERNELS, sigma_at

ROWS = (
    Row("delays learnt", "count"),
    Row("a delay moved by", "moved", "steps", digits=2),
)

_SHOWN = "3"
_FAR = 0.5
_LAYERS = {"1": "pixels to hidden neurons", "3": "hidden neurons to readout"}


def compute(run: Run) -> dict[str, Any]:
    """Return delays before and after training, the kernel's width by epoch, and one digit's way to one neuron."""
    layers, moves = {}, []
    for name in _LAYERS:
        layer, before = _layer(run, name), run.delays.first[f"{name}.delay"]
        after = layer.delay.detach()
        moves.append((after - before).abs().flatten())
        layers[name] = {
            "before": before.squeeze(-1),
            "after": after.squeeze(-1),
            "weight": layer.weight.detach()[..., 0],
        }
    moved = torch.cat(moves)
    return {
        "delays": {"count": len(moved), "moved": float(moved.mean())},
        "layers": layers,
        "sigma": _widths(run),
        "example": _example(run),
    }


def _layer(run: Run, name: str) -> Delayed:
    layer = run.delays.net.get_submodule(name)
    assert isinstance(layer, Delayed)
    return layer


def _widths(run: Run) -> list[float]:
    """Return the kernel's width in each epoch, in steps."""
    start = _layer(run, "1").widest
    return [sigma_at(epoch / run.plan.epochs, start=start) for epoch in range(run.plan.epochs)]


def _example(run: Run) -> dict[str, Any]:
    """Return the first validation digit of a class, and the synapses of the hidden neuron that fires most for it."""
    split, card, layer = run.data.validation, run.data.card, _layer(run, "1")
    x = run.spikes(split.images[(split.labels == card.classes.index(_SHOWN)).nonzero()[0]])
    neuron = int(run.delays.net.record(x, ["2"])["2"][:, 0].sum(0).argmax())
    return {
        "class": _SHOWN,
        "input": x[:, 0].flatten(1),
        "neuron": neuron,
        "weight": layer.weight.detach()[neuron, :, 0],
        "delay": layer.rounded()[neuron, :, 0],
    }


def render(demo: Demo) -> Sequence[str]:
    """Return histograms, the map of the first layer, the schedule and the example, all of the first seed."""
    found, plan = demo.results[0]["delays"], demo.plan
    count, accuracy = demo.written("delays", "count")["delays"], demo.written("summary", "accuracy")
    told = page.paragraph(
        f"Each of the {count} synapses has a weight and a delay of 0 to {plan.delays.longest} steps, and gradients "
        "move both. While training, a delay is spread over the steps around it, widely at first; for every figure on "
        "this page it is rounded to a whole step, which is also what delays.h5 is evaluated with. The network has "
        f"{plan.delays.hidden} hidden neurons in place of {plan.hidden} and names {accuracy['delays']} of the test "
        f"digits right; without delays it is {accuracy['snn']}."
    )
    narrowing = _narrowing(found["sigma"], plan.delays.kernel, plan.delays.longest)
    return [
        page.aside(told, narrowing),
        page.grid(
            *(_histogram(found["layers"][name], plan.delays.longest, what) for name, what in _LAYERS.items()),
            _map(found["layers"]["1"], plan.delays.longest),
            _arrivals(found["example"]),
        ),
    ]


def _histogram(layer: Mapping[str, Tensor], longest: int, what: str) -> str:
    before, after = layer["before"].flatten(), layer["after"].flatten()
    far = ((after - before).abs() > _FAR).double().mean().item()
    drawn = report.delay_histogram(before, after, longest=longest, title=f"Delays from {what}")
    said = f"{far:.0%} of {len(after):,} moved by more than half a step; the mean was {before.mean():.1f} steps and is "
    return page.figure(
        drawn,
        alt=f"Histogram of delays from {what}, before and after training; {said}{after.mean():.1f}.",
        caption=f"{said}{after.mean():.1f}.",
    )


def _map(layer: Mapping[str, Tensor], longest: int) -> str:
    drawn = report.delay_map(layer["weight"], layer["after"], shape=(8, 8), longest=longest)
    return page.figure(
        drawn,
        alt="Synapses from the 8 by 8 pixels to 48 hidden neurons, as pictures coloured by delay.",
        caption="Synapses from the pixels to 48 hidden neurons: the stronger, the larger the weight of either sign.",
    )


def _arrivals(example: Mapping[str, Any]) -> str:
    pixels, neuron = int((example["input"].sum(0) > 0).sum()), example["neuron"]
    drawn = report.arrivals(
        example["input"],
        example["weight"],
        example["delay"],
        title=f"A {example['class']} on its way to neuron {neuron}",
    )
    return page.figure(
        drawn,
        alt=f"When {pixels} pixels fire, when their spikes reach hidden neuron {neuron}, and the sum at each step.",
        caption="A pixel fires (ring), and its spike arrives later (dot: as large as the weight, orange inhibits), or "
        "too late to count (grey). Below, what the arriving weights add up to.",
    )


def _narrowing(widths: Sequence[float], kernel: str, longest: int) -> str:
    epochs = sorted({0, 1, min(2, len(widths) - 1), len(widths) - 1} & set(range(len(widths))))
    middle = round(longest / 2)
    shapes = {}
    for epoch in epochs:
        taps = KERNELS[kernel](torch.tensor([float(middle)]), longest, widths[epoch])
        shapes[f"epoch {epoch + 1}"] = torch.zeros(longest + 1).scatter_add(0, taps.lags[0], taps.values[0])
    drawn = report.narrowing(widths, shapes, title="Width of the kernel")
    return page.figure(
        drawn,
        alt=f"Kernel width by epoch, from {widths[0]:.2g} to {widths[-1]:.2g} steps, and kernels of some epochs.",
        caption=f"How a delay of {middle} steps is spread while training: sigma falls from {widths[0]:.2g} to "
        f"{widths[-1]:.2g} steps in the first quarter of training.",
    )


SECTION = Section("delays", "Delays", compute, render, ROWS)
