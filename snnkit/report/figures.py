"""Figures of spikes, states, learning and costs; each returns a matplotlib figure to show, save or put on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from snnkit.errors import InputError
from snnkit.report.theme import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SAND, WIDE, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    Values = Tensor | np.ndarray | Sequence[Any]

_CYCLE = (BLUE, ORANGE, GREEN, PURPLE)


def array(values: Values, rank: int, what: str) -> np.ndarray:
    """Return values as an array of this rank; raises InputError where they are of another."""
    given: Any = values
    result = np.asarray(given.detach().cpu().float() if hasattr(given, "detach") else given)
    if result.ndim != rank or result.size == 0:
        axes = {1: "[T]", 2: "[T, N]", 3: "[N, H, W]"}[rank]
        raise InputError(
            f"{what} takes {axes} with nothing empty and got shape {list(result.shape)}; "
            "choose a sample first, such as spikes[:, 0]"
        )
    return result


@styled
def raster(spikes: Values, *, unit: str = "neuron", title: str = "") -> Figure:
    """Draw which neurons fire when.

    Args:
        spikes: of one sample [T, N]; a mark where not 0.
        unit: what a row is.
        title: above the figure.
    Raises:
        InputError: spikes of another rank.

    Example:
        >>> figure = raster(torch.eye(5))
    """
    fired = array(spikes, 2, "raster")
    steps, neurons = fired.shape
    when, who = np.nonzero(fired)
    figure = Figure()
    axes = figure.add_subplot(title=title, xlabel="step", ylabel=unit)
    thick = max(1.3, 0.6 * 72 * figure.get_figheight() / neurons)
    half = max(0.36, steps / 700)
    axes.hlines(who, when + 1 - half, when + 1 + half, color=BLUE, linewidth=thick, capstyle="butt")
    axes.set_ylim(neurons - 0.5 + 0.02 * neurons, -0.5 - 0.02 * neurons)
    _steps(axes, steps)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


@styled
def trace(
    values: Values,
    *,
    names: Sequence[str] = (),
    emphasis: int | None = None,
    threshold: float | None = None,
    title: str = "",
    label: str = "membrane",
) -> Figure:
    """Draw how states change over time, one line per neuron, with the name of each at its end.

    Args:
        values: states of one sample [T, N], in the neuron's own units.
        names: of the N lines; lines without a name have no label.
        emphasis: number of the line to bring out; all are alike if None.
        threshold: a line to compare with.
        title: above the figure.
        label: of the vertical axis.
    Raises:
        InputError: values of another rank.

    Example:
        >>> figure = trace(torch.rand(10, 3).cumsum(0), names=("a", "b", "c"), threshold=1.0)
    """
    states = array(values, 2, "trace")
    steps, neurons = states.shape
    figure = Figure()
    axes = figure.add_subplot(title=title, xlabel="step", ylabel=label)
    time = np.arange(1, steps + 1)
    ends = {name: (float(state), MUTED) for name, state in zip(names, states[-1], strict=False)}
    if threshold is not None:
        axes.axhline(threshold, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        ends["threshold"] = threshold, MUTED
    for k in range(neurons):
        chosen = k == emphasis
        colour = BLUE if chosen else SAND if emphasis is not None else _CYCLE[k % len(_CYCLE)]
        axes.plot(time, states[:, k], color=colour, linewidth=2.4 if chosen else 1.4, zorder=3 if chosen else 2)
        if k < len(names) and colour != SAND:
            ends[names[k]] = float(states[-1, k]), colour
    _end_labels(axes, ends, bold="" if emphasis is None else names[emphasis])
    _steps(axes, steps)
    return figure


@styled
def curves(
    series: Mapping[str, Mapping[str, Values]], *, title: str = "", percent: bool = False, width: float = WIDE
) -> Figure:
    """Draw training curves: for each network a line for the validation data and a thin one for the training data.

    Args:
        series: name of a network to "train" and "validation", each a value per epoch.
        title: above the figure.
        percent: whether values are shares, 0..1.
        width: in inches.

    Example:
        >>> figure = curves({"SNN": {"train": [0.5, 0.9], "validation": [0.4, 0.8]}}, percent=True)
    """
    figure = Figure(figsize=(width, 0.72 * width))
    axes = figure.add_subplot(title=title, xlabel="epoch")
    for (name, parts), colour in zip(series.items(), _CYCLE, strict=False):
        for part, values in parts.items():
            y = array(values, 1, "curves")
            learnt = part == "train"
            axes.plot(
                np.arange(1, len(y) + 1),
                y,
                color=colour,
                linewidth=1.2 if learnt else 2.2,
                linestyle=(0, (3, 2)) if learnt else "-",
                label=f"{name}, {part}",
            )
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if percent:
        _percent(axes)
    axes.legend(loc="lower right" if percent else "upper right")
    return figure


@styled
def confusion(matrix: Values, *, classes: Sequence[str], title: str = "", width: float = WIDE) -> Figure:
    """Draw how often each class (rows) was named each class (columns); right answers are pale, errors strong.

    Args:
        matrix: counts [C, C].
        classes: their names.
        title: above the figure.
        width: in inches.

    Example:
        >>> figure = confusion(torch.eye(2), classes=("cat", "dog"))
    """
    counts = array(matrix, 2, "confusion").astype(int)
    size = len(counts)
    figure = Figure(figsize=(width, 0.96 * width))
    axes = figure.add_subplot(title=title, xlabel="named", ylabel="is")
    most = max(1, (counts - np.diag(np.diag(counts))).max())
    for row, column in zip(*np.nonzero(counts), strict=True):
        count, right = counts[row, column], row == column
        shade = 0.16 if right else 0.25 + 0.4 * count / most
        square = [(column - 0.47, row - 0.47), (column + 0.47, row - 0.47)]
        square += [(column + 0.47, row + 0.47), (column - 0.47, row + 0.47)]
        axes.fill(*zip(*square, strict=True), color=BLUE if right else ORANGE, alpha=shade, linewidth=0)
        axes.text(column, row, str(count), ha="center", va="center", color=INK, fontsize=9)
    axes.set(xlim=(-0.6, size - 0.4), ylim=(size - 0.4, -0.6), aspect="equal")
    axes.set_xticks(range(size), classes)
    axes.set_yticks(range(size), classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@styled
def accuracy_over_time(
    accuracy: Mapping[str, Values], *, reference: tuple[str, float] | None = None, title: str = ""
) -> Figure:
    """Draw the accuracy that the outputs would have had after 1, 2, … T steps.

    Args:
        accuracy: name of a network, or of a seed, to shares [T], 0..1.
        reference: name and accuracy of a network without time.
        title: above the figure.

    Example:
        >>> figure = accuracy_over_time({"SNN": [0.1, 0.5, 0.9]}, reference=("ANN", 0.92))
    """
    figure = Figure()
    axes = figure.add_subplot(title=title, xlabel="steps seen", ylabel="accuracy")
    rows = [array(values, 1, "accuracy_over_time") for values in accuracy.values()]
    steps = len(rows[0])
    if reference is not None:
        axes.axhline(reference[1], color=ORANGE, linewidth=1.6, linestyle=(0, (5, 3)))
        axes.annotate(reference[0], (1, reference[1]), (0, 4), textcoords="offset points", color=ORANGE)
    alone = len(rows) == 1
    for values in rows:
        look: dict[str, Any] = {"linewidth": 2.2, "marker": "o", "markersize": 4.5} if alone else {"linewidth": 1.4}
        axes.plot(np.arange(1, steps + 1), values, color=BLUE, clip_on=False, **look)
    axes.grid(axis="y")
    axes.set_ylim(0, 1.06)
    _steps(axes, steps)
    _percent(axes)
    return figure


@styled
def bars(
    groups: Mapping[str, Mapping[str, float]], *, title: str = "", label: str = "", note: str = "{:,.0f}"
) -> Figure:
    """Draw stacked horizontal bars, one per group, with its sum at the end.

    Args:
        groups: name of a bar to its parts, each with a name and a size; a part keeps its colour in all bars.
        title: above the figure.
        label: of the horizontal axis.
        note: how a sum is written.

    Example:
        >>> figure = bars({"SNN": {"accumulate": 9000}, "ANN": {"multiply-accumulate": 14000}})
    """
    parts = list(dict.fromkeys(part for group in groups.values() for part in group))
    figure = Figure(figsize=(WIDE, 0.56 * len(groups) + 1.3))
    axes = figure.add_subplot(title=title, xlabel=label)
    left = np.zeros(len(groups))
    for part, colour in zip(parts, (BLUE, ORANGE, GREEN, SAND), strict=False):
        sizes = np.array([group.get(part, 0.0) for group in groups.values()])
        axes.barh(list(groups), sizes, left=left, height=0.56, color=colour, label=part)
        left += sizes
    for place, total in enumerate(left):
        axes.annotate(note.format(total), (total, place), (5, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.2 * max(left.max(), 1e-12))
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.6g}"))
    figure.legend(loc="outside lower left", ncols=len(parts), fontsize=9, columnspacing=1.2, handlelength=1.0)
    return figure


def _steps(axes: Axes, steps: int) -> None:
    axes.set_xlim(0.4, steps + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(min(10, steps), integer=True, min_n_ticks=1))


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))


def _end_labels(axes: Axes, ends: Mapping[str, tuple[float, str]], *, bold: str) -> None:
    """Write names beside the ends of lines, in their colours, moved apart where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (high - low) / 15
    order = sorted(ends, key=lambda name: ends[name][0])
    places = np.array([ends[name][0] for name in order])
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + gap)
    places -= max(0.0, places[-1] - high)
    for place, name in zip(places, order, strict=True):
        axes.annotate(
            name,
            (1, place),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=ends[name][1],
            fontweight="bold" if name == bold else "normal",
        )
