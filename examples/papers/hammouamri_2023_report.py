"""What came of the runs on delays: a table beside the published figures, a CSV, an HDF5 file and plots."""

from __future__ import annotations

import csv
import io
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hammouamri_2023_networks import ARMS
from matplotlib.figure import Figure

import snnkit
from snnkit.files import save_results
from snnkit.report.theme import BLUE, MUTED, ORANGE, SAND, styled
from snnkit.synapse.taps import OFFSET, sigma_at

Record = Mapping[str, Any]

TITLES = {
    "none": "no delays",
    "fixed": "fixed delays, random",
    "learned": "learnt delays, one per synapse",
    "axonal": "learnt delays, one per input",
    "recurrent": "learnt delays, recurrent",
    "convolution": "ANN: temporal convolution",
    "lstm": "ANN: LSTM",
    "gru": "ANN: GRU",
    "bag": "ANN: sum over time",
}
"""Every arm by what it is called in the table."""

PUBLISHED = """\
Published, for other data and sizes (test accuracy, %):
  SHD     learnt delays, 2 x 256, 0.2M   95.07 +- 0.24  (epoch chosen on the test set)
  SHD     the same, clean split          93.77 +- 0.68  (0.22M, with augmentation; DelRec, table 2)
  SHD     dense temporal convolution     93.44          (2.7M)
  SSC     learnt delays, 2 x 512, 0.7M   79.77 +- 0.09
  SSC     dense temporal convolution     77.86          (10.9M)
  GSC-35  learnt delays, 2 x 512, 0.7M   94.91 +- 0.09
  GSC-35  dense temporal convolution     92.97          (10.9M)
  The paper's order of arms: learnt above fixed above none. No figures are published for the tasks measured here."""

COLUMNS = (
    *("task", "arm", "fold", "held_out", "seed", "accuracy", "samples", "validation_accuracy", "best_epoch"),
    *("epochs", "parameters", "hidden", "dropout", "lr", "batch", "threads", "seconds", "processor_seconds"),
)
"""What the table of runs has of each."""

LEARNT = ("recovered_before", "recovered", "error", "steps", "seconds", "planted", "before", "after")
"""What the results have of each student of planted delays."""


def write(out: Path, records: Sequence[Record]) -> str:
    """Write `table.txt`, `runs.csv`, `results.h5` and the plots, and return the table.

    Args:
        out: a folder.
        records: of the runs, as their files hold them.
    """
    lessons = [r for r in records if r["task"] == "teacher"]
    order = list(ARMS)
    records = [r for r in records if r["task"] != "teacher"]
    records = sorted(records, key=lambda r: (r["task"], order.index(r["arm"]), r["fold"], r["seed"]))
    text = table(records, lessons)
    (out / "table.txt").write_text(text + "\n", encoding="utf-8")
    (out / "runs.csv").write_text(_csv(records), encoding="utf-8")
    save_results(
        out / "results.h5", _results(records, lessons), metadata={"machine": machine(), "versions": versions()}
    )
    for task in dict.fromkeys(r["task"] for r in records):
        own = [r for r in records if r["task"] == task]
        _save(accuracies(own), out / f"{task}_accuracy.png")
        learnt = next((r for r in own if r["arm"] == "learned"), None)
        if learnt is not None:
            _save(histograms(learnt), out / f"{task}_delays.png")
    _save(schedule(), out / "sigma.png")
    return text


def table(records: Sequence[Record], lessons: Sequence[Record] = ()) -> str:
    """Return the table: for each task and arm its accuracies, their spread and interval; then the planted delays."""
    lines = [f"Machine: {machine()}", f"Versions: {versions()}", ""]
    for task in dict.fromkeys(r["task"] for r in records):
        own = [r for r in records if r["task"] == task]
        lines += [*_task(task, own), ""]
    if lessons:
        lines += [*_teacher(lessons), ""]
    return "\n".join([*lines, PUBLISHED])


def interval(right: int, samples: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share.

    Example:
        >>> [round(end, 3) for end in interval(80, 100)]
        [0.711, 0.867]
    """
    z, share = 1.96, right / samples
    centre = (share + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z / (1 + z * z / samples) * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples**2))
    return centre - half, centre + half


@styled
def accuracies(records: Sequence[Record]) -> Figure:
    """Draw the test accuracy of every arm: a dot for each fold, a ring for each further seed, a line at the mean."""
    arms = list(dict.fromkeys(r["arm"] for r in records))
    figure = Figure(figsize=(6.4, 0.42 * len(arms) + 1.0))
    label = "test accuracy in %; dot: a fold, ring: a further seed"
    axes = figure.add_subplot(title=records[0]["task"], xlabel=label)
    for place, arm in enumerate(arms):
        own = [r for r in records if r["arm"] == arm]
        colour = ORANGE if TITLES[arm].startswith("ANN") else BLUE
        folds = _folds(own)
        heights = place + (np.linspace(-0.25, 0.25, len(folds)) if len(folds) > 1 else np.zeros(1))
        axes.plot([100 * r["accuracy"] for r in folds], heights, "o", color=colour, markersize=4)
        others = [100 * r["accuracy"] for r in own if not any(r is fold for fold in folds)]
        axes.plot(others, [heights[0]] * len(others), "o", color=colour, markersize=4, fillstyle="none")
        middle = 100 * statistics.mean(r["accuracy"] for r in folds)
        axes.plot([middle, middle], [place - 0.34, place + 0.34], color=colour, linewidth=2.2)
    axes.set_yticks(range(len(arms)), [TITLES[arm] for arm in arms])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(axis="x")
    return figure


@styled
def histograms(record: Record) -> Figure:
    """Draw how many synapses of each layer have which delay, before training and after."""
    layers = list(record["after"])
    figure = Figure(figsize=(2.7 * len(layers), 2.6))
    longest = max(float(np.max(record["before"][name])) for name in layers)
    edges = np.linspace(-0.5, round(longest) + 0.5, round(longest) + 2)
    for place, name in enumerate(layers):
        axes = figure.add_subplot(1, len(layers), place + 1, title=name, xlabel="delay in steps")
        axes.hist(record["before"][name], edges, color=SAND, label="before")
        axes.hist(record["after"][name], edges, histtype="step", color=BLUE, linewidth=1.6, label="after")
        if place == 0:
            axes.set_ylabel("synapses")
            axes.legend(loc="upper center", ncols=2)
        axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    return figure


@styled
def schedule(max_delay: int = 24) -> Figure:
    """Draw the width of the Gaussian over training, offset included."""
    figure = Figure(figsize=(4.4, 2.6))
    axes = figure.add_subplot(title="width of the delays' kernel", xlabel="share of training", ylabel="steps")
    done = np.linspace(0, 1, 201)
    widths = [sigma_at(share, start=(max_delay + 1) // 2) + OFFSET for share in done]
    axes.plot(done, widths, color=BLUE)
    axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(0, None)
    axes.grid(axis="y")
    return figure


def machine() -> str:
    """Return what the figures were measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return f"{cpu or platform.machine()}, {platform.system()} {platform.release()}"


def versions() -> str:
    """Return the versions that matter."""
    return f"snnkit {snnkit.__version__}, torch {torch.__version__}, Python {platform.python_version()}"


def _task(task: str, records: Sequence[Record]) -> list[str]:
    """Return the lines of one task."""
    any_run = records[0]
    chance = 1 / len(any_run["confusion"])
    lines = [
        f"{task}: python examples/papers/hammouamri_2023.py --task {task}",
        f"  up to {any_run['epochs']} epochs, batch {any_run['batch']}, highest rate {any_run['lr']:g}, dropout "
        f"{any_run['dropout']:g}; epoch chosen on validation data; tested once; chance {chance:.0%}",
        "  folds: mean of one run per fold (first seed) +- standard deviation over folds; interval: Wilson's, 95 %, "
        "over all their test samples;",
        "  seeds: mean +- standard deviation over the seeds of fold 0; over none: mean difference in the same folds",
        f"  {'arm':32} {'numbers':>8} {'folds':>5} {'accuracy, %':>14} {'test':>6} {'interval':>14} {'over none':>16} "
        f"{'seeds':>5} {'fold 0, %':>14} {'epochs':>6}",
    ]
    plain = {r["fold"]: r["accuracy"] for r in _folds([r for r in records if r["arm"] == "none"])}
    for arm in dict.fromkeys(r["arm"] for r in records):
        lines.append(_row([r for r in records if r["arm"] == arm], plain))
    return lines


def _teacher(lessons: Sequence[Record]) -> list[str]:
    """Return the lines of the planted delays."""
    return [
        "teacher: python examples/papers/hammouamri_2023.py --task teacher",
        f"  planted delays found within one step, {lessons[0]['steps']:,} optimiser steps; error: of the answers after "
        "rounding, over their mean square",
        *(
            f"  seed {r['seed']}: {r['recovered']:6.1%} of {r['synapses']} (at random {r['recovered_before']:.1%}), "
            f"error {r['error']:.3f}, {r['seconds']:.0f} s"
            for r in lessons
        ),
    ]


def _row(own: Sequence[Record], plain: Mapping[int, float]) -> str:
    folds, seeds = _folds(own), [r for r in own if r["fold"] == own[0]["fold"]]
    samples = sum(r["samples"] for r in folds)
    low, high = interval(round(sum(r["accuracy"] * r["samples"] for r in folds)), samples)
    gains = [r["accuracy"] - plain[r["fold"]] for r in folds if r["fold"] in plain]
    over = _spread(gains, sign="+") if gains and own[0]["arm"] != "none" else ""
    return (
        f"  {TITLES[own[0]['arm']]:32} {own[0]['parameters']:8,} {len(folds):5} "
        f"{_spread([r['accuracy'] for r in folds]):>14} {samples:6,} {100 * low:6.1f} to {100 * high:4.1f} {over:>16} "
        f"{len(seeds):5} {_spread([r['accuracy'] for r in seeds]):>14} {own[0]['epochs']:6}"
    )


def _folds(own: Sequence[Record]) -> list[Record]:
    """Return one run of each fold, that with the first seed."""
    first: dict[int, Record] = {}
    for record in own:
        first.setdefault(record["fold"], record)
    return list(first.values())


def _spread(shares: Sequence[float], *, sign: str = "") -> str:
    """Write mean and standard deviation in percent."""
    mean = f"{100 * statistics.mean(shares):{sign}.1f}"
    return f"{mean} +- {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else mean


def _csv(records: Sequence[Record]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_short(record[name]) for name in COLUMNS] for record in records)
    return text.getvalue()


def _short(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value


def _results(records: Sequence[Record], lessons: Sequence[Record]) -> dict[str, Any]:
    """Return the runs as a table, and of each arm's first run how it learnt and how long its delays were."""
    found: dict[str, Any] = {"runs": {name: [record[name] for record in records] for name in COLUMNS}}
    for record in records:
        details = found.setdefault(record["task"], {})
        if record["arm"] not in details:
            delays = {
                when: {name: np.bincount(np.round(values).astype(int)) for name, values in record[when].items()}
                for when in ("before", "after")
            }
            details[record["arm"]] = {"confusion": record["confusion"], "history": record["history"], **delays}
    if lessons:
        found["teacher"] = {f"seed {r['seed']}": {name: r[name] for name in LEARNT} for r in lessons}
    return found


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=90, facecolor="white", transparent=False)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
