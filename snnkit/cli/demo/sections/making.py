"""How the figures were made, so that they can be made again."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import snnkit
from snnkit.cli.demo.job import Run
from snnkit.cli.demo.section import Demo, Section
from snnkit.cli.machine import processor, system
from snnkit.report import page

_PACKAGES = ("torch", "numba", "numpy", "scikit-learn", "matplotlib")


def compute(run: Run) -> dict[str, Any]:
    """Return settings, versions and machine."""
    settings = dataclasses.asdict(run.plan) | {"seeds": list(run.plan.seeds)}
    return {"seed": run.seed, "settings": settings, "versions": versions(), "machine": processor()}


def versions() -> dict[str, str]:
    """Return package to version, Python and snnkit included."""
    installed = {name: metadata.version(name) for name in _PACKAGES}
    return {"snnkit": snnkit.__version__, "Python": platform.python_version(), **installed}


def render(demo: Demo) -> Sequence[str]:
    """Return what was run, on what, with which data."""
    plan, data = demo.plan, demo.runs[0].data
    splits = ", ".join(f"{len(getattr(data, name))} {name}" for name in ("train", "validation", "test"))
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    network = f"64 inputs, {plan.hidden} LIF neurons (tau {plan.tau:g} steps), readout of 10 (tau {plan.tau:g} steps)"
    return [
        page.facts(
            {
                "Command": demo.command,
                "Seeds": ", ".join(map(str, plan.seeds)),
                "Data": f"{data.card.title}: {splits}; {data.card.licence}",
                "Citation": data.card.citation,
                "About the data": data.card.notes,
                "Spike code": f"latency, {plan.steps} steps, one spike per pixel that is not dark",
                "Network": f"{network}; no biases",
                "Delays": f"in both layers, 0 to {plan.delays.longest} steps and rounded for the test; "
                f"{plan.delays.hidden} LIF neurons with {plan.delays.reset} reset; kernel {plan.delays.kernel}, "
                f"learning rate {plan.delays.lr:g}",
                "ANN": "the same layers, ReLU in place of neurons, the still image as input",
                "Training": f"{plan.epochs} epochs of {5 * len(data.train)} images, batches of {plan.batch_size}, "
                f"AdamW, learning rate {plan.lr:g} falling to 0, weight decay {plan.weight_decay:g}, "
                f"cross-entropy of outputs averaged over time, surrogate {demo.runs[0].snn.net[2].surrogate}",
                "Chosen by": "validation accuracy: every setting above, and each network's epoch",
                "Machine": f"{processor()}, {system()}; one thread was used",
                "Versions": packages,
                "Time": f"{demo.seconds:.0f} s for everything but this page",
            }
        )
    ]


SECTION = Section("making", "How this was made", compute, render)
