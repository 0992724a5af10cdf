"""Accuracy against the time steps that the network has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnkit import report
from snnkit.cli.demo.job import Run
from snnkit.cli.demo.section import NETWORKS, Demo, Section
from snnkit.report import page

_CLOSE = 0.01


def compute(run: Run) -> dict[str, Any]:
    """Return the test accuracy after each step, and the share of input spikes that had arrived."""
    x = run.spikes(run.data.test.images)
    arrived = x.flatten(1).sum(1).cumsum(0) / x.sum()
    accuracy = {name: {"accuracy": list(run.networks[name].test.accuracy_over_time)} for name in ("snn", "delays")}
    return {**accuracy, "arrived": arrived}


def render(demo: Demo) -> Sequence[str]:
    """Return the curve of every seed."""
    rows = _rows(demo, "snn")
    mean, late = _mean(rows), _mean(_rows(demo, "delays"))
    enough = next(t for t, value in enumerate(mean, 1) if value >= mean[-1] - _CLOSE)
    arrived = float(demo.results[0]["steps"]["arrived"][enough - 1])
    ann = demo.mean("summary", "ann", "accuracy")
    drawn = report.accuracy_over_time(
        {f"seed {run.seed}": row for run, row in zip(demo.runs, rows, strict=True)}, reference=("ANN", ann)
    )
    points = ", ".join(f"{t}: {value:.0%}" for t, value in enumerate(mean, 1))
    told = page.paragraph(
        f"Had the readout been asked earlier: after {enough} of {demo.plan.steps} steps, with {arrived:.0%} of the "
        "input spikes, the network is within a point of its final accuracy. It was trained to be right at the end, "
        "not early."
    )
    shown = page.figure(
        drawn,
        alt=f"Test accuracy of the spiking network by steps seen, {points}; the ANN reaches {ann:.1%}.",
        caption="Test accuracy by steps seen. The ANN sees the whole image at once.",
    )
    arrivals = [float(share) for share in demo.results[0]["steps"]["arrived"]]
    rows = [
        (str(t), f"{mean[t - 1]:.1%}", f"{late[t - 1]:.1%}", f"{arrivals[t - 1]:.0%}")
        for t in sorted({1, *range(2, demo.plan.steps + 1, 2), demo.plan.steps})
    ]
    numbers = page.table(("steps", NETWORKS["snn"], NETWORKS["delays"], "input spikes arrived"), rows)
    return [page.aside(told + numbers, shown)]


def _rows(demo: Demo, network: str) -> list[list[float]]:
    return [result["steps"][network]["accuracy"] for result in demo.results]


def _mean(rows: list[list[float]]) -> list[float]:
    return [sum(values) / len(rows) for values in zip(*rows, strict=True)]


SECTION = Section("steps", "Accuracy against time steps", compute, render)
