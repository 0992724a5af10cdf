"""What the demo prints and writes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import snnkit
from snnkit.cli.demo.section import NETWORKS, Demo
from snnkit.files import save_results
from snnkit.report import page

if TYPE_CHECKING:
    from rich.table import Table


def table(demo: Demo) -> Table:
    """Return the printed table of all sections' rows."""
    from rich.table import Table

    seeds = len(demo.runs)
    samples = len(demo.runs[0].data.test)
    title = f"{samples} test digits, " + ("one seed" if seeds == 1 else f"mean ± standard deviation of {seeds} seeds")
    shown = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 3, 0, 0))
    shown.add_column("")
    for name, heading in NETWORKS.items():
        shown.add_column(heading, justify="right", style="cyan" if name == "snn" else None)
    for row in demo.table():
        shown.add_row(*row)
    return shown


def write(demo: Demo, folder: Path) -> list[Path]:
    """Write the first seed's spiking networks, all results, and the report; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("network.h5", "delays.h5", "results.h5", "results.csv", "report.html")
    network, delays, results, rows, report = paths = [folder / name for name in names]
    first = demo.runs[0]
    notes = {"data": "digits", "encoder": "latency", "steps": demo.plan.steps, "read": "rate", "seed": first.seed}
    snnkit.save(first.snn.net, network, metadata=notes)
    snnkit.save(first.delays.net, delays, metadata=notes)
    seeds = {f"seed_{run.seed}": result for run, result in zip(demo.runs, demo.results, strict=True)}
    save_results(results, seeds, metadata={"command": demo.command})
    rows.write_text(_csv(demo), encoding="utf-8")
    report.write_text(_page(demo), encoding="utf-8")
    return list(paths)


def _csv(demo: Demo) -> str:
    """Return one row for each seed and network, with the numbers of the printed table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [(section.key, row.key) for section in demo.sections for row in section.rows]
    writer.writerow(["seed", "network", *(key for _, key in columns)])
    for run, result in zip(demo.runs, demo.results, strict=True):
        for network in NETWORKS:
            values: list[Any] = [result[section].get(network, {}).get(key, "") for section, key in columns]
            writer.writerow([run.seed, network, *values])
    return text.getvalue()


def _page(demo: Demo) -> str:
    snn, delays, ann = (demo.mean("summary", network, "accuracy") for network in NETWORKS)
    spikes = demo.mean("summary", "snn", "spikes")
    added = demo.mean("operations", "snn", "accumulate")
    products = demo.mean("operations", "ann", "multiply_accumulate")
    lead = (
        f"Of the test digits, the spiking network names {snn:.1%} right and the ANN of the same size {ann:.1%}. "
        f"The spiking network does it with {spikes:.0f} hidden spikes and {added:,.0f} additions per digit; the ANN "
        f"multiplies and adds {products:,.0f} times. Half of the neurons, with delays to learn, name {delays:.1%}."
    )
    parts = [page.Part(section.key, section.title, tuple(section.render(demo))) for section in demo.sections]
    return page.document(
        title="A spiking network and its ANN counterpart on real digits",
        lead=lead,
        parts=parts,
        eyebrow=f"snnkit {snnkit.__version__} · demo" + (" · quick run" if demo.plan.quick else ""),
        foot=f"Written by {demo.command}. One file: no script, nothing loaded from elsewhere.",
    )
