"""Headline: the two networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnkit.baseline import count_parameters
from snnkit.cli.demo.job import Run, Trained
from snnkit.cli.demo.section import Demo, Row, Section
from snnkit.report import page

ROWS = (
    Row("test accuracy", "accuracy", "%", scale=100, digits=1),
    Row("validation accuracy", "validation", "%", scale=100, digits=1),
    Row("parameters", "parameters"),
    Row("time steps", "steps"),
    Row("spikes per digit, input", "input_spikes"),
    Row("spikes per digit, hidden layer", "spikes"),
    Row("training", "seconds", "s", digits=1),
)


def compute(run: Run) -> dict[str, Any]:
    """Return accuracy, size, spikes and time of both networks."""
    x = run.spikes(run.data.test.images)
    snn = _measured(run.snn) | {
        "steps": run.plan.steps,
        "spikes": run.snn.test.spikes_per_sample,
        "input_spikes": x.sum().item() / x.shape[1],
    }
    return {"snn": snn, "ann": _measured(run.ann) | {"steps": 1}}


def _measured(trained: Trained) -> dict[str, Any]:
    return {
        "accuracy": trained.test.accuracy,
        "validation": trained.validation.accuracy,
        "parameters": count_parameters(trained.net),
        "seconds": trained.seconds,
        "epoch": trained.history.best,
    }


def render(demo: Demo) -> Sequence[str]:
    """Return the large figures and the table."""
    from snnkit.cli.demo.sections import SECTIONS

    accuracy, _, parameters, _, _, spikes, _ = (demo.written("summary", row) for row in ROWS)
    additions = demo.written("operations", Row("", "accumulate"))
    joules = demo.written("operations", Row("", "joules", "nJ", scale=1e9, digits=1))
    tiles = page.tiles(
        [
            ("Test accuracy", accuracy[1], f"ANN {accuracy[2]}"),
            ("Hidden spikes per digit", spikes[1], f"from {demo.plan.hidden} neurons in {demo.plan.steps} steps"),
            ("Additions per digit", additions[1], f"ANN {_products(demo)} products"),
            ("Energy per digit, estimated", joules[1], f"ANN {joules[2]}"),
        ]
    )
    rows = [demo.written(section.key, row) for section in SECTIONS for row in section.rows]
    count = len(demo.runs)
    caption = "One seed." if count == 1 else f"Mean ± standard deviation of {count} seeds."
    told = page.paragraph(
        f"Both networks have {parameters[1]} weights in the same two layers, saw the same training digits in the "
        "same order, and were chosen by the same validation digits. The test digits were used once, at the end."
    )
    if demo.plan.quick:
        told += page.paragraph(
            f"This was a quick run of {demo.plan.epochs} epochs: its figures are below what the full demo reaches."
        )
    if count > 1:
        told += _by_seed(demo)
    return [tiles, page.aside(told, page.table(("", "SNN", "ANN"), rows, caption=caption))]


def _products(demo: Demo) -> str:
    return demo.written("operations", Row("", "multiply_accumulate"))[2]


def _by_seed(demo: Demo) -> str:
    """Return the accuracy of every seed."""
    rows = []
    for run, result in zip(demo.runs, demo.results, strict=True):
        snn, ann = result["summary"]["snn"], result["summary"]["ann"]
        rows.append((
            f"seed {run.seed}",
            *(f"{100 * network['accuracy']:.1f}%" for network in (snn, ann)),
            f"{snn['spikes']:.0f}",
        ))  # fmt: skip
    head = ("", "SNN", "ANN", "hidden spikes")
    return page.table(head, rows, caption="Test accuracy of every seed; none was left out.")


SECTION = Section("summary", "Result", compute, render, ROWS)
