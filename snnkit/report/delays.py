"""Delays: how they are spread, where they lie in a layer, what they do to spikes, and how their kernel narrows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnkit.errors import InputError
from snnkit.report.figures import array
from snnkit.report.theme import BLUE, GREEN, MUTED, ORANGE, PURPLE, SAND, WIDE, styled

if TYPE_CHECKING:
    from snnkit.report.figures import Values

_EARLY_TO_LATE = LinearSegmentedColormap.from_list("delays", ["#1f9e88", "#5f7fd8", "#d1439a"])
"""Tones between light and dark, for a picture cannot change with the page."""

_BINS = 4
_KERNEL_COLOURS = (SAND, PURPLE, BLUE, GREEN)


@styled
def delay_histogram(before: Values, after: Values, *, longest: int, title: str = "") -> Figure:
    """Draw how many synapses have which delay, before training and after.

    Args:
        before, after: delays in steps [N].
        longest: end of the axis, in steps.
        title: above the figure.

    Example:
        >>> figure = delay_histogram(torch.rand(100) * 4, torch.rand(100) ** 2 * 4, longest=4)
    """
    figure = Figure()
    axes = figure.add_subplot(title=title, xlabel="delay, steps", ylabel="synapses")
    bins = np.linspace(0, longest, max(1, min(_BINS * longest, 60)) + 1).tolist()
    start, end = (array(values, 1, "delay_histogram") for values in (before, after))
    axes.hist(start, bins, color=SAND, label="before training")
    axes.hist(end, bins, histtype="step", color=GREEN, linewidth=2, label="after")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlim(-0.02 * longest, 1.02 * max(longest, 1))
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(loc="upper right", ncols=2)
    return figure


@styled
def delay_map(
    weight: Values, delay: Values, *, shape: tuple[int, int], longest: int, most: int = 48, columns: int = 8
) -> Figure:
    """Draw the synapses of each neuron as a picture of its inputs: hue is the delay, strength the weight's size.

    Args:
        weight: [N, inputs].
        delay: in steps [N, inputs]; rounded here.
        shape: height and width of the input.
        longest: the longest delay, in steps.
        most: neurons drawn, those with the largest weights first.
        columns: neurons in a row.
    Raises:
        InputError: inputs that do not have the shape, or delays of another shape than the weights.

    Example:
        >>> figure = delay_map(torch.randn(16, 64), torch.rand(16, 64) * 4, shape=(8, 8), longest=4)
    """
    sizes, steps = np.abs(array(weight, 2, "delay_map")), np.rint(array(delay, 2, "delay_map"))
    high, wide = shape
    if sizes.shape != steps.shape or sizes.shape[1] != high * wide:
        raise InputError(
            f"delay_map got weights {list(sizes.shape)}, delays {list(steps.shape)} and inputs of {high} x {wide}; "
            "needed are two of [N, height * width]"
        )
    order = np.argsort(-np.linalg.norm(sizes, axis=1), kind="stable")[:most]
    columns = min(columns, len(order))
    rows = math.ceil(len(order) / columns)
    hues = _EARLY_TO_LATE(np.linspace(0, 1, longest + 1))
    mosaic = np.zeros((rows * (high + 1) - 1, columns * (wide + 1) - 1, 4))
    for place, neuron in enumerate(order):
        top, left = place // columns * (high + 1), place % columns * (wide + 1)
        tile = hues[steps[neuron].astype(int).clip(0, longest)]
        tile[:, 3] = sizes[neuron] / sizes[neuron].max().clip(1e-12)
        mosaic[top : top + high, left : left + wide] = tile.reshape(high, wide, 4)
    figure = Figure(figsize=(WIDE, WIDE * mosaic.shape[0] / mosaic.shape[1] + 0.5))
    axes = figure.add_subplot()
    axes.imshow(mosaic, interpolation="none")
    axes.set_axis_off()
    _scale(figure, hues)
    return figure


@styled
def arrivals(spikes: Values, weight: Values, delay: Values, *, title: str = "") -> Figure:
    """Draw when the spikes of one sample are sent and when they reach one neuron, and what they add up to there.

    Rings are spikes that are sent, dots those that arrive: blue excites, orange inhibits, the larger the weight. What
    would arrive after the last step is grey, beyond a line.

    Args:
        spikes: of one sample [T, inputs]; an input's first spike is drawn.
        weight: from each input to the neuron [inputs].
        delay: of each input on its way to the neuron, in whole steps [inputs].
        title: above the figure.
    Raises:
        InputError: a sample without spikes.

    Example:
        >>> figure = arrivals(torch.eye(5), torch.randn(5), torch.tensor([0, 2, 1, 0, 0]))
    """
    fired, by, late = array(spikes, 2, "arrivals"), array(weight, 1, "arrivals"), array(delay, 1, "arrivals")
    inputs = np.flatnonzero(fired.any(0))
    if not len(inputs):
        raise InputError("arrivals got a sample without spikes; choose another")
    sent = fired.argmax(0)[inputs] + 1
    order = np.lexsort((sent, sent + late[inputs]))
    inputs, sent = inputs[order], sent[order]
    came, size = sent + late[inputs], np.abs(by[inputs]) / np.abs(by[inputs]).max().clip(1e-12)
    figure = Figure(figsize=(WIDE, 4.6))
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1.3))
    rows = np.arange(len(inputs))
    seen = came <= len(fired)
    top.hlines(rows, sent, came, color=SAND, linewidth=1)
    top.scatter(sent, rows, s=9, facecolor="none", edgecolor=MUTED, linewidth=0.8)
    for colour, chosen in ((BLUE, seen & (by[inputs] >= 0)), (ORANGE, seen & (by[inputs] < 0)), (SAND, ~seen)):
        top.scatter(came[chosen], rows[chosen], s=3 + 32 * size[chosen], color=colour, linewidth=0)
    for axes in (top, bottom):
        axes.axvline(len(fired) + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    top.set(title=title, ylabel="input that fires", yticks=[], ylim=(len(inputs), -1))
    _add_up(bottom, fired, by, late)
    figure.align_ylabels()
    return figure


@styled
def narrowing(widths: Values, kernels: Mapping[str, Values], *, title: str = "") -> Figure:
    """Draw how the width of a delay's kernel falls during training, and the kernels of some epochs.

    Args:
        widths: one for each epoch, in steps.
        kernels: name to the weight of each step [1 + longest], at most four of them.
        title: above the figure.

    Example:
        >>> figure = narrowing([2.0, 0.5, 0.2], {"epoch 1": [0.3, 0.4, 0.3], "epoch 3": [0.0, 1.0, 0.0]})
    """
    figure = Figure(figsize=(WIDE, 2.9))
    left, right = figure.subplots(1, 2)
    values = array(widths, 1, "narrowing")
    left.plot(np.arange(1, len(values) + 1), values, color=GREEN, marker="o", markersize=3.5)
    left.set(title=title, xlabel="epoch", ylabel="sigma, steps", ylim=(0, None))
    left.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for (name, kernel), colour in zip(kernels.items(), _KERNEL_COLOURS[-len(kernels) :], strict=True):
        heights = array(kernel, 1, "narrowing")
        right.plot(np.arange(len(heights)), heights, color=colour, marker="o", markersize=3.5, label=name)
    right.set(title="Weight of each step", xlabel="delay, steps", ylim=(0, None))
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.legend(loc="upper left", fontsize=8)
    right.set_ylim(0, 1.6 * right.get_ylim()[1])
    return figure


def _add_up(axes, fired: np.ndarray, weight: np.ndarray, delay: np.ndarray) -> None:
    """Draw the weights that reach the neuron at each step, with the delays and without."""
    steps = np.arange(1, len(fired) + 1)
    late = np.zeros(len(fired))
    for when, which in zip(*np.nonzero(fired), strict=True):
        if when + delay[which] < len(fired):
            late[int(when + delay[which])] += weight[which] * fired[when, which]
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.step(steps, fired @ weight, where="mid", color=SAND, linewidth=1.6, label="without delays")
    axes.step(steps, late, where="mid", color=GREEN, linewidth=2.2, label="with delays")
    axes.set(xlabel="step", ylabel="input current")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))
    axes.legend(loc="upper left", ncols=2, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(min(10, len(fired)), integer=True))


def _scale(figure: Figure, hues: np.ndarray) -> None:
    """Draw which hue is which delay, below the axes."""
    import matplotlib.cm

    count = len(hues)
    norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    mappable = matplotlib.cm.ScalarMappable(norm, ListedColormap(hues))
    ticks = np.arange(0, count, max(1, math.ceil(count / 12)))
    bar = figure.colorbar(
        mappable, ax=figure.axes[0], location="bottom", ticks=ticks, shrink=0.6, aspect=30, pad=0.02,
        label="delay, steps",
    )  # fmt: skip
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
