"""The network with delays in a chip's integers: what that changes, what it takes, and whether Lava agrees."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import snnkit
from snnkit.cli.demo.job import Run
from snnkit.cli.demo.section import Demo, Row, Section
from snnkit.data import encode
from snnkit.deploy import Emulated, IntegerNetwork, energy, lava, quantise_report
from snnkit.report import page
from snnkit.train import evaluate

ROWS = (
    Row("test accuracy on the chip, 8-bit weights", "accuracy_8", "%", scale=100, digits=1),
    Row("… 6-bit weights", "accuracy_6", "%", scale=100, digits=1),
    Row("hidden spikes that the chip fires alike", "alike", "%", scale=100, digits=1),
    Row("cores of Loihi 2", "cores"),
    Row("energy per digit, Loihi 1 model, lower bound", "joules", "nJ", scale=1e9, digits=1),
    Row("energy per digit in 8-bit integers, estimated", "joules_int8", "nJ", scale=1e9, digits=1),
)

BITS = (8, 6, 4)
COMPARED = 20
"""Test digits that run on Lava, of the first seed."""

_CALIBRATION = 256
_HIDDEN = "2"


def compute(run: Run) -> dict[str, Any]:
    """Return accuracies, agreement, cores and energy of the chip, its layers, and the comparison with Lava."""
    data, net = run.data, copy.deepcopy(run.delays.net).eval()
    calibration = run.spikes(data.train.images[:_CALIBRATION])
    test, x = (data.test.images, data.test.labels), run.spikes(data.test.images)

    def spikes(images: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return encode.latency(images, steps=run.plan.steps)

    found: dict[str, Any] = {"steps": run.plan.steps}
    reports = {bits: quantise_report(net, calibration=calibration, bits=bits) for bits in BITS}
    for bits, report in reports.items():
        found[f"accuracy_{bits}"] = evaluate(Emulated(report.chip), test, encode=spikes).accuracy
    chip = reports[BITS[0]].chip
    fitted = snnkit.deploy.fit(chip, strict=False)
    cost = energy(chip, x, chip="loihi1")
    found |= {"alike": _alike(net, chip, x), "cores": fitted.total("cores"), "joules": float(cost.joules)}
    assert cost.here is not None and cost.ann is not None
    found["joules_int8"] = float(cost.here.joules)
    cores = {layer.name: layer.cores for layer in fitted.layers}
    layers = {
        part.name: {"synapses": part.synapses[0], "clipped": part.clipped, "difference": part.difference}
        | {"cores": cores[part.name]}
        for part in reports[BITS[0]].layers
    }
    return {
        "delays": found,
        "ann": {"joules_int8": float(cost.ann.joules)},
        "layers": layers,
        "label": cost.label,
        "card": f"{cost.ann.chip} {cost.ann.precision}",
        "lava": _lava(chip, x) if run.seed == run.plan.seeds[0] else {"said": "compared for the first seed only"},
    }


def _alike(net: snnkit.Network, chip: IntegerNetwork, x: torch.Tensor) -> float:
    """Return the share of the network's hidden spikes, and the chip's, that both fire."""
    late = chip.latency[_HIDDEN]
    ours = net.record(x, [_HIDDEN])[_HIDDEN]
    silent = torch.zeros_like(x[:late])
    theirs = chip.record(torch.cat([x, silent]), [_HIDDEN])[_HIDDEN][late:]
    both, either = (ours * theirs).sum(), torch.maximum(ours, theirs.float()).sum()
    return float(both / either)


def _lava(chip: IntegerNetwork, x: torch.Tensor) -> dict[str, Any]:
    python, reason = lava.available()
    if python is None:
        return {"said": f"not compared with Lava: {reason}"}
    report = lava.check(chip, x[:, :COMPARED])
    said = f"compared with Lava on {COMPARED} test digits: {report}"
    return {"said": said, "compared": report.compared, "mismatches": report.mismatches}


def render(demo: Demo) -> Sequence[str]:
    """Return what the chip does, beside tables of its layers and of its accuracy by bits."""
    found, float_accuracy = demo.results[0]["chip"], demo.written("summary", "accuracy")["delays"]
    written = {row.key: demo.written("chip", row.key)["delays"] for row in ROWS}
    ann = demo.written("chip", "joules_int8")["ann"]
    told = page.paragraph(
        "Chips such as Loihi compute in integers: weights of 8 bits, membranes of 24, decays of 12, one step from a "
        "layer to the next. The network with delays, put into those integers, was run on an emulator of that "
        f"arithmetic. It names {written['accuracy_8']} of the test digits right; in real numbers it is "
        f"{float_accuracy}. Of the hidden spikes that either fires, both fire {written['alike']} in the same step."
    )
    told += page.paragraph(f"{_sentence(found['lava']['said'])}.")
    cores = "1 core" if written["cores"] == "1" else f"{written['cores']} cores"
    told += page.paragraph(
        f"It takes {cores} of Loihi 2, and {written['joules']} for a digit by the costs that are published for "
        f"Loihi 1: {found['label']}. That card has no cost of a multiplication; on {found['card']}, the chip's "
        f"operations cost {written['joules_int8']}, and one pass of an ANN with the same connections {ann}."
    )
    return [page.aside(told, page.grid(_bits(demo, float_accuracy), _layers(found)))]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bits(demo: Demo, float_accuracy: str) -> str:
    rows = [("real numbers", float_accuracy)]
    for bits in BITS:
        share = Row("", "", "%", scale=100, digits=1).written(demo.numbers("chip", "delays", f"accuracy_{bits}"))
        rows.append((f"{bits} bits", share))
    return page.table(("weights", "test accuracy"), rows, caption="Without training again.")


def _layers(found: Mapping[str, Any]) -> str:
    rows = [
        (name, layer["synapses"], f"{layer['clipped']:.2%}", f"{layer['difference']:.1%}", f"{layer['cores']}")
        for name, layer in found["layers"].items()
    ]
    caption = (
        "Layers with 8-bit weights: weights that were too large, spikes that differ from the network's (of the "
        "readout, its membranes), cores."
    )
    return page.table(("layer", "synapses", "clipped", "differs", "cores"), rows, caption=caption)


SECTION = Section("chip", "On a chip", compute, render, ROWS)
