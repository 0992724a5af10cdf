"""Which digits are taken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from snnkit import report
from snnkit.cli.demo.job import Run
from snnkit.cli.demo.section import Demo, Section
from snnkit.report import page
from snnkit.report.theme import NARROW
from snnkit.train.losses import predictions

_SHOWN = 12


def compute(run: Run) -> dict[str, Any]:
    """Return the confusion of every network on the test digits, and the digits that the first one got wrong."""
    split = run.data.test
    with torch.no_grad():
        named = predictions(run.snn.net(run.spikes(split.images)))
    wrong = (named != split.labels).nonzero()[:, 0]
    return {
        **{name: {"confusion": trained.test.confusion} for name, trained in run.networks.items()},
        "images": split.images[wrong, 0],
        "is": split.labels[wrong],
        "named": named[wrong],
    }


def render(demo: Demo) -> Sequence[str]:
    """Return both confusion matrices, and the digits of the first seed that were named wrongly."""
    classes = demo.runs[0].data.card.classes
    matrices = [
        page.figure(
            report.confusion(_summed(demo, network), classes=classes, title=name, width=NARROW),
            alt=f"{name}: {_described(demo, network, classes)}",
            caption=f"{name}: {_described(demo, network, classes)}",
        )
        for network, name in (("snn", "Spiking network"), ("ann", "ANN"))
    ]
    seeds = "" if len(demo.runs) == 1 else f" Counts are those of all {len(demo.runs)} seeds together."
    return [
        page.paragraph(f"Rows are what a test digit is, columns what it was named; only errors are strong.{seeds}"),
        page.grid(*matrices, *_gallery(demo, classes), narrow=True),
    ]


def _summed(demo: Demo, network: str) -> torch.Tensor:
    return torch.stack([result["errors"][network]["confusion"] for result in demo.results]).sum(0)


def _described(demo: Demo, network: str, classes: Sequence[str]) -> str:
    """Say how many are wrong, and what is confused most."""
    matrix = _summed(demo, network)
    wrong = matrix - torch.diag(matrix.diag())
    if not wrong.any():
        return f"all {int(matrix.sum())} right."
    row, column = divmod(int(wrong.argmax()), len(classes))
    return (
        f"{int(wrong.sum())} of {int(matrix.sum())} wrong; most often a {classes[row]} "
        f"named {classes[column]}, {int(wrong[row, column])} times."
    )


def _gallery(demo: Demo, classes: Sequence[str]) -> list[str]:
    found = demo.results[0]["errors"]
    count = len(found["is"])
    if not count:
        return []
    titles = [
        f"{classes[a]} → {classes[b]}" for a, b in zip(found["is"][:_SHOWN], found["named"][:_SHOWN], strict=True)
    ]
    which = f"the {count}" if count <= _SHOWN else f"{_SHOWN} of the {count}"
    caption = (
        f"Seed {demo.runs[0].seed}: {which} test digits that the spiking network got wrong, what they are → named."
    )
    drawn = report.gallery(found["images"][:_SHOWN], titles=titles, columns=4, width=NARROW)
    return [page.figure(drawn, alt=f"{caption} {', '.join(titles)}.", caption=caption)]


SECTION = Section("errors", "What it gets wrong", compute, render)
