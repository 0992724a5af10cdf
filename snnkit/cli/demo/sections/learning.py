"""How the networks learnt, and what the first layer looks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnkit import report
from snnkit.cli.demo.job import Run, Trained
from snnkit.cli.demo.section import NETWORKS, Demo, Section
from snnkit.report import page
from snnkit.report.theme import NARROW

_CURVES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")


def compute(run: Run) -> dict[str, Any]:
    """Return losses and accuracies by epoch, and the weights from pixels to hidden neurons."""
    weights = run.snn.net[1].get_parameter("weight").detach()
    return {**{name: _curves(trained) for name, trained in run.networks.items()}, "weights": weights}


def _curves(trained: Trained) -> dict[str, Any]:
    return {name: trained.history[name] for name in _CURVES}


def render(demo: Demo) -> Sequence[str]:
    """Return training curves and receptive fields of the first seed."""
    found, seed = demo.results[0]["learning"], demo.runs[0].seed
    figures = [_curve(found, what, seed) for what in ("accuracy", "loss")]
    networks = demo.runs[0].networks
    epochs = ", ".join(f"{networks[name].history.best} ({heading})" for name, heading in NETWORKS.items())
    fields = page.figure(
        report.weights(found["weights"], shape=(8, 8), width=NARROW),
        alt="Weights from the 8 by 8 pixels to 48 hidden neurons, as pictures of strokes and edges.",
        caption="What 48 neurons of the SNN look for: ink excites them where blue and inhibits them where orange.",
    )
    return [
        page.paragraph(
            f"Lines are the validation digits, dashes the training digits, which include copies moved by half a pixel. "
            f"The weights kept are those of each network's best epoch on the validation digits: {epochs}."
        ),
        page.grid(*figures, fields, narrow=True),
    ]


def _curve(found: Any, what: str, seed: int) -> str:
    series = {
        NETWORKS[network]: {part: found[network][f"{part}_{what}"] for part in ("validation", "train")}
        for network in ("snn", "ann", "delays")
    }
    ends = ", ".join(f"{name} {parts['validation'][-1]:.3g}" for name, parts in series.items())
    drawn = report.curves(series, title=what.capitalize(), percent=what == "accuracy", width=NARROW)
    alt = f"Curves of {what} over epochs for all networks; validation {what} at the end: {ends}."
    return page.figure(drawn, alt=alt, caption=f"{what.capitalize()} by epoch, seed {seed}.")


SECTION = Section("learning", "How they learnt", compute, render)
