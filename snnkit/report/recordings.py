"""Recordings: events over time, as a raster or as slices of a scene, and spectrograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnkit.errors import InputError
from snnkit.report.figures import array
from snnkit.report.theme import BLUE, INK, MUTED, ORANGE, WIDE, styled

if TYPE_CHECKING:
    from snnkit.data.events import Events
    from snnkit.report.figures import Values

_SLICES = 5
_QUANTILE = 0.99


@styled
def events(recordings: Events, index: int = 0, *, title: str = "") -> Figure:
    """Draw one recording: channels over time, or for an event camera what it saw in slices of equal time.

    Of a camera's slices, blue is brighter and orange darker, the stronger the more events.

    Args:
        recordings: a set of them.
        index: which one.
        title: above the figure; its class unless given.
    Raises:
        InputError: a shape of another rank than channels, or polarity, row and column.

    Example:
        >>> from snnkit.data import Events
        >>> recordings = Events.build([([0, 1500], [2, 0])], [1], shape=(3,), classes=("no", "yes"))
        >>> figure = events(recordings)
    """
    times, addresses = recordings.recording(index)
    title = title or recordings.classes[int(recordings.labels[index])]
    if len(recordings.shape) == 1:
        return _raster(times, addresses, recordings.shape[0], title)
    if len(recordings.shape) == 3 and recordings.shape[0] == 2:
        return _scene(times, np.stack(np.unravel_index(addresses, recordings.shape)), recordings.shape, title)
    raise InputError(
        f"events draws recordings of shape (channels,) or (2, height, width) and got {recordings.shape}; "
        "type snnkit.report.raster(frames[:, 0].flatten(1)) instead"
    )


def _raster(times: np.ndarray, channels: np.ndarray, count: int, title: str) -> Figure:
    figure = Figure(figsize=(1.4 * WIDE, 3.6))
    axes = figure.add_subplot(title=title, xlabel="time, ms", ylabel="channel")
    size = np.clip(180 / count, 1.2, 5.0)
    axes.plot(times / 1000, channels, linestyle="", marker="o", markersize=size, markeredgewidth=0, color=BLUE)
    axes.set_ylim(-0.02 * count - 0.5, 1.02 * count - 0.5)
    axes.set_xlim(0, max(1.0, 1.02 * times[-1] / 1000) if len(times) else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.annotate(
        f"{len(times):,} events", (1, 1), (0, 8), xycoords="axes fraction", textcoords="offset points",
        ha="right", color=MUTED, fontsize=9,
    )  # fmt: skip
    return figure


def _scene(times: np.ndarray, place: np.ndarray, shape: tuple[int, ...], title: str) -> Figure:
    """Draw counts of the events of each polarity, slice after slice."""
    _, high, wide = shape
    end = int(times[-1]) + 1 if len(times) else 1
    slices = np.minimum(times * _SLICES // end, _SLICES - 1)
    counts = np.zeros((_SLICES, *shape))
    np.add.at(counts, (slices, *place), 1)
    difference = counts[:, 1] - counts[:, 0]
    most = max(1.0, float(np.quantile(np.abs(difference[difference != 0]), _QUANTILE)) if difference.any() else 1.0)
    figure = Figure(figsize=(1.4 * WIDE, 1.4 * WIDE / _SLICES * high / wide + 0.75))
    for number, axes in enumerate(figure.subplots(1, _SLICES)):
        colours = np.where((difference[number] >= 0)[..., None], to_rgb(BLUE), to_rgb(ORANGE))
        strength = np.minimum(np.abs(difference[number]) / most, 1)[..., None]
        axes.imshow(np.concatenate([colours, strength], axis=-1), interpolation="none")
        first, last = (end * part / _SLICES / 1000 for part in (number, number + 1))
        axes.set_title(f"{first:,.0f} to {last:,.0f} ms", loc="center", fontsize=9, color=MUTED, pad=4)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, linewidth=0.6)
    figure.suptitle(f"{title}: {len(times):,} events", x=0.01, ha="left", fontsize=10, color=INK)
    return figure


@styled
def spectrogram(values: Values, *, title: str = "", unit: str = "band", label: str = "dB") -> Figure:
    """Draw values over time and bands, the larger the darker.

    Args:
        values: [T, bands].
        title: above the figure.
        unit: what a row is.
        label: of the values.
    Raises:
        InputError: values of another rank.

    Example:
        >>> figure = spectrogram(torch.rand(10, 4))
    """
    levels = array(values, 2, "spectrogram").T
    figure = Figure(figsize=(1.4 * WIDE, 3.2))
    axes = figure.add_subplot(title=title, xlabel="step", ylabel=unit)
    drawn = axes.imshow(levels, origin="lower", aspect="auto", cmap="Blues", interpolation="none")
    figure.colorbar(drawn, ax=axes, label=label, pad=0.01).outline.set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


@styled
def photograph(image: Values, *, title: str = "", width: float = 0.6 * WIDE) -> Figure:
    """Draw one colour picture.

    Args:
        image: [3, H, W], red, green and blue, 0..1.
        title: above it.
        width: in inches.
    Raises:
        InputError: another rank, or other than three colours.

    Example:
        >>> figure = photograph(torch.rand(3, 8, 8))
    """
    colours = array(image, 3, "photograph")
    if len(colours) != 3:
        raise InputError(
            f"photograph takes [3, H, W] and got {list(colours.shape)}; gallery draws pictures of one channel"
        )
    figure = Figure(figsize=(width, width * colours.shape[1] / colours.shape[2] + 0.3))
    axes = figure.add_subplot(title=title)
    axes.imshow(colours.transpose(1, 2, 0).clip(0, 1), interpolation="none")
    axes.set_axis_off()
    return figure
