"""Headline: the networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnkit.baseline import count_parameters
from snnkit.cli.demo.job import Run, Trained
from snnkit.cli.demo.section import NETWORKS, Demo, Row, Section
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
    """Return accuracy, size, spikes and time of every network."""
    x = run.spikes(run.data.test.images)
    found: dict[str, Any] = {}
    for name, trained in run.networks.items():
        found[name] = _measured(trained) | {"steps": 1}
        if name != "ann":
            spikes = {"spikes": trained.test.spikes_per_sample, "input_spikes": x.sum().item() / x.shape[1]}
            found[name] |= spikes | {"steps": run.plan.steps}
    return found


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
    accuracy, spikes = demo.written("summary", "accuracy"), demo.written("summary", "spikes")
    counted, joules = demo.written("operations", "accumulate"), demo.written("operations", "joules")
    products = demo.written("operations", "multiply_accumulate")
    neurons = f"from {demo.plan.hidden} neurons in {demo.plan.steps} steps"
    tiles = page.tiles(
        [
            ("Test accuracy", accuracy["snn"], f"with delays {accuracy['delays']}, ANN {accuracy['ann']}"),
            ("Hidden spikes per digit", spikes["snn"], f"{neurons}; with delays {spikes['delays']}"),
            ("Additions per digit", counted["snn"], f"with delays {counted['delays']}, ANN {products['ann']} products"),
            ("Energy per digit, estimated", joules["snn"], f"with delays {joules['delays']}, ANN {joules['ann']}"),
        ]
    )
    count = len(demo.runs)
    caption = "One seed." if count == 1 else f"Mean ± standard deviation of {count} seeds."
    told = _told(demo) + page.paragraph(_uncertainty(demo))
    if demo.plan.quick:
        told += page.paragraph(
            f"This was a quick run of {demo.plan.epochs} epochs: its figures are below what the full demo reaches."
        )
    if count > 1:
        told += _by_seed(demo)
    return [tiles, page.aside(told, page.table(("", *NETWORKS.values()), demo.table(), caption=caption))]


def _told(demo: Demo) -> str:
    parameters, plan = demo.written("summary", "parameters"), demo.plan
    return page.paragraph(
        f"SNN and ANN have {parameters['snn']} weights in the same two layers. The SNN with delays has "
        f"{parameters['delays']} parameters as well: a weight and a delay for each synapse of {plan.delays.hidden} "
        f"hidden neurons, not {plan.hidden}. All saw the same training digits in the same order, and were chosen by "
        "the same validation digits. The test digits were used at the end only."
    )


def _uncertainty(demo: Demo) -> str:
    """Say how finely the test digits can tell accuracies apart."""
    count, share = len(demo.runs[0].data.test), demo.mean("summary", "snn", "accuracy")
    error = (share * (1 - share) / count) ** 0.5
    return (
        f"With {count} test digits, one digit is {1 / count:.1%}, and the standard error of an accuracy about "
        f"{error:.1%}: the test cannot tell apart networks that are closer than that."
    )


def _by_seed(demo: Demo) -> str:
    """Return the accuracy of every seed."""
    rows = []
    for run, result in zip(demo.runs, demo.results, strict=True):
        shares = [f"{100 * result['summary'][name]['accuracy']:.1f}%" for name in NETWORKS]
        rows.append((f"seed {run.seed}", *shares))
    head = ("", "SNN", "with delays", "ANN")
    return page.table(head, rows, caption="Test accuracy of every seed; none was left out.")


SECTION = Section("summary", "Result", compute, render, ROWS)
