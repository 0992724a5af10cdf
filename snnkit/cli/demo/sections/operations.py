"""Operations and energy, against the ANN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from snnkit import report
from snnkit.cli.demo.job import Run, Trained
from snnkit.cli.demo.section import NETWORKS, Demo, Row, Section
from snnkit.deploy.chip import read
from snnkit.deploy.estimate import NOT_COUNTED
from snnkit.report import page

ROWS = (
    Row("accumulates per digit", "accumulate"),
    Row("multiply-accumulates per digit", "multiply_accumulate"),
    Row("neuron updates per digit", "updates"),
    Row("energy per digit, estimated", "joules", "nJ", scale=1e9, digits=1),
    Row("… with zero inputs skipped for free", "joules_skipping_zeros", "nJ", scale=1e9, digits=1),
)


def compute(run: Run) -> dict[str, Any]:
    """Return operations and energy of every network for a test digit, and what one operation costs."""
    cost = run.snn.cost
    constants = {name: figure.value for name, figure in cost.constants.items()}
    card = {"chip": cost.chip, "precision": cost.precision, "picojoules": constants}
    return {
        **{name: _counted(trained) for name, trained in run.networks.items()},
        "constants": card,
        "joules_by_precision": {name: _by_precision(trained) for name, trained in run.networks.items()},
    }


def _counted(trained: Trained) -> dict[str, Any]:
    cost = trained.cost
    names = ("accumulate", "multiply_accumulate", "updates", "joules", "joules_skipping_zeros")
    return {name: float(getattr(cost, name)) for name in names}


def _by_precision(trained: Trained) -> dict[str, float]:
    """Return the energy of the same operations at every precision of the card."""
    costs = read(trained.cost.chip).costs
    return {
        name: replace(trained.cost, precision=name, constants={k: figures[k] for k in trained.cost.constants}).joules
        for name, figures in costs.items()
    }


def render(demo: Demo) -> Sequence[str]:
    """Return bars of operations and of energy, and the constants behind the energy."""
    cost = demo.runs[0].snn.cost
    card = read(cost.chip)
    return [
        page.paragraph(
            "A spike that arrives costs one addition per connection; an analogue value costs a multiplication as well. "
            "What every step costs, spikes or not, is the update of each membrane, and it is counted here too. A delay "
            "adds no arithmetic; the memory in which a spike waits is not counted."
        ),
        page.grid(_operations(demo), _energy(demo)),
        page.table(
            ("operation", "cost", "known by", "source"),
            [(_name(name), f"{f.value:g} {f.unit}", f.how, f.source) for name, f in cost.constants.items()],
            caption=f"Constants of the estimate: {card.title}, {cost.precision}. {card.citation}.",
        ),
        _precisions(demo),
        page.paragraph(f"An estimate of the arithmetic alone. Not counted: {NOT_COUNTED}."),
    ]


def _operations(demo: Demo) -> str:
    names = {"accumulate": "accumulates", "multiply_accumulate": "multiply-accumulates", "updates": "neuron updates"}
    groups = {
        heading: {label: demo.mean("operations", network, key) for key, label in names.items()}
        for network, heading in NETWORKS.items()
    }
    drawn = report.bars(groups, title="Operations per digit")
    said = "; ".join(f"{net}: " + ", ".join(f"{v:,.0f} {k}" for k, v in parts.items()) for net, parts in groups.items())
    return page.figure(drawn, alt=f"Bars of operations per digit. {said}.", caption="Mean over the test digits.")


def _energy(demo: Demo) -> str:
    groups: dict[str, dict[str, float]] = {}
    for network, heading in NETWORKS.items():
        costs = [run.networks[network].cost for run in demo.runs]
        adds, products, updates = (
            1e9 * sum(part(cost) for cost in costs) / len(costs) for part in (_additions, _products, _updates)
        )
        groups[heading] = {"accumulates": adds, "multiply-accumulates": products, "neuron updates": updates}
    drawn = report.bars(groups, title="Energy per digit, estimated", label="nJ", note="{:.1f} nJ")
    said = "; ".join(f"{net}: {sum(parts.values()):.1f} nJ" for net, parts in groups.items())
    return page.figure(drawn, alt=f"Bars of estimated energy per digit. {said}.", caption=f"{said}.")


def _additions(cost: Any) -> float:
    return cost.accumulate * cost.constants["accumulate"].si


def _products(cost: Any) -> float:
    return cost.multiply_accumulate * cost.constants["multiply_accumulate"].si


def _updates(cost: Any) -> float:
    return cost.neuron_joules


def _precisions(demo: Demo) -> str:
    rows = []
    for name in demo.results[0]["operations"]["joules_by_precision"]["snn"]:
        joules = {
            network: fmean(result["operations"]["joules_by_precision"][network][name] for result in demo.results)
            for network in NETWORKS
        }
        ratio = joules["ann"] / joules["snn"]
        rows.append((name, *(f"{1e9 * value:.2f} nJ" for value in joules.values()), f"{ratio:.1f}"))
    caption = "The same operations at other precisions of the card; the networks were trained and tested in fp32."
    return page.table(("precision", *NETWORKS.values(), "ANN / SNN"), rows, caption=caption)


def _name(operation: str) -> str:
    return operation.replace("multiply_accumulate", "multiply-accumulate").replace("_", " ")


SECTION = Section("operations", "Operations and energy", compute, render, ROWS)
