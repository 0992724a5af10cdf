"""One digit on its way through the spiking network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnkit import report
from snnkit.cli.demo.job import Run
from snnkit.cli.demo.section import Demo, Section
from snnkit.report import page

_SHOWN = "3"
_TRACES = 4


def compute(run: Run) -> dict[str, Any]:
    """Return image, spikes and membranes for the first validation digit of a class."""
    split, card = run.data.validation, run.data.card
    index = (split.labels == card.classes.index(_SHOWN)).nonzero()[0]
    image = split.images[index]
    x = run.spikes(image)
    inside = run.snn.net.record(x, ["2", "2.v", "4"])
    spikes, membrane, outputs = (inside[name][:, 0] for name in ("2", "2.v", "4"))
    busiest = spikes.sum(0).topk(_TRACES).indices
    return {
        "class": _SHOWN,
        "named": card.classes[int(outputs.mean(0).argmax())],
        "image": image[0, 0],
        "input": x[:, 0].flatten(1),
        "hidden": spikes,
        "membrane": membrane[:, busiest],
        "neurons": busiest,
        "outputs": outputs,
    }


def render(demo: Demo) -> Sequence[str]:
    """Return rasters of input and hidden layer, and membranes of hidden neurons and readout."""
    found = demo.results[0]["digit"]
    classes = demo.runs[0].data.card.classes
    neurons, firing = found["hidden"].shape[1], int((found["hidden"].sum(0) > 0).sum())
    order = (found["hidden"].cumsum(0) == 0).sum(0).argsort(stable=True)
    pixels, spikes = int(found["input"].sum()), int(found["hidden"].sum())
    told = page.paragraph(
        f"A validation digit, a {found['class']}. A pixel fires once, the brighter the earlier, and the dark ones "
        "never. Hidden neurons add up what arrives, forget it slowly, and fire at their threshold. The readout does "
        "not fire: the class with the highest mean membrane is the answer."
    )
    drawn = page.figure(
        report.gallery(found["image"][None], width=1.6),
        alt=f"The digit {found['class']} in 8 by 8 grey pixels.",
        caption="The digit, 8 × 8 pixels.",
    )
    return [
        page.aside(told, drawn),
        page.grid(
            page.figure(
                report.raster(found["input"], unit="pixel", title="Input spikes"),
                alt=f"Raster of {pixels} input spikes of 64 pixels over {demo.plan.steps} steps.",
                caption=f"{pixels} of 64 pixels fire, row by row from the top of the digit.",
            ),
            page.figure(
                report.raster(found["hidden"][:, order], title="Hidden spikes"),
                alt=f"Raster of {spikes} spikes of {neurons} hidden neurons.",
                caption=f"{spikes} spikes, by the first of each neuron; {neurons - firing} of {neurons} stay silent.",
            ),
            _membranes(found),
            page.figure(
                report.trace(
                    found["outputs"],
                    title="Membranes of the readout",
                    names=classes,
                    emphasis=classes.index(found["named"]),
                ),
                alt=f"Ten readout membranes over time; that of class {found['named']} has the highest mean.",
                caption=f"Ten classes; the network says {found['named']}.",
            ),
        ),
    ]


def _membranes(found: Any) -> str:
    names = [f"no. {int(k)}" for k in found["neurons"]]
    drawn = report.trace(
        found["membrane"], threshold=1.0, title="Membranes of hidden neurons", label="membrane v", names=names
    )
    return page.figure(
        drawn,
        alt=f"Membranes of {_TRACES} hidden neurons over time, after each step's reset.",
        caption="The busiest neurons, after each step: a spike has already taken the threshold off.",
    )


SECTION = Section("digit", "One digit, step by step", compute, render)
