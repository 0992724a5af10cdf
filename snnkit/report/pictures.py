"""Pictures: inputs as they are, and weights as the inputs that they answer to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from snnkit.errors import InputError
from snnkit.report.figures import array
from snnkit.report.theme import WIDE, styled

if TYPE_CHECKING:
    from snnkit.report.figures import Values

_MORE, _LESS = "#3f8fd0", "#e07a2f"
"""Positive and negative weights: tones between light and dark, for a picture cannot change with the page."""


@styled
def gallery(images: Values, *, titles: Sequence[str] = (), columns: int = 6, width: float = WIDE) -> Figure:
    """Draw small pictures in rows.

    Args:
        images: [N, H, W], 0..1; 1 is ink.
        titles: of the N pictures.
        columns: pictures in a row.
        width: of all, in inches.

    Example:
        >>> figure = gallery(torch.rand(3, 8, 8), titles=("a", "b", "c"))
    """
    pictures = array(images, 3, "gallery")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(width, rows * (width / columns + (0.26 if titles else 0.0))))
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if place < len(pictures):
            picture = _ink(pictures[place])
            axes.imshow(picture, interpolation="none").set_gid(f"ink{place}")
            if place < len(titles):
                axes.set_title(titles[place], loc="center", fontsize=9, pad=3)
    return figure


@styled
def weights(matrix: Values, *, shape: tuple[int, int], most: int = 48, columns: int = 8, width: float = WIDE) -> Figure:
    """Draw the weights into each neuron as a picture: blue where input excites it, orange where it inhibits it.

    Args:
        matrix: weights [N, inputs], such as `nn.Linear.weight`.
        shape: height and width of the input.
        most: neurons drawn, those with the largest weights first.
        columns: neurons in a row.
        width: of the figure, in inches.
    Raises:
        InputError: inputs that do not have the shape.

    Example:
        >>> figure = weights(torch.randn(16, 64), shape=(8, 8))
    """
    values = array(matrix, 2, "weights")
    high, wide = shape
    if values.shape[1] != high * wide:
        raise InputError(
            f"weights come from {values.shape[1]} inputs, which are not {high} x {wide}; give shape=(height, width)"
        )
    order = np.argsort(-np.linalg.norm(values, axis=1), kind="stable")[:most]
    chosen = values[order].reshape(-1, high, wide)
    columns = min(columns, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    mosaic = np.zeros((rows * (high + 1) - 1, columns * (wide + 1) - 1))
    for place, tile in enumerate(chosen):
        top, left = place // columns * (high + 1), place % columns * (wide + 1)
        mosaic[top : top + high, left : left + wide] = tile / np.abs(tile).max().clip(1e-12)
    figure = Figure(figsize=(width, width * mosaic.shape[0] / mosaic.shape[1]))
    axes = figure.add_subplot()
    colours = np.where((mosaic >= 0)[..., None], to_rgb(_MORE), to_rgb(_LESS))
    axes.imshow(np.concatenate([colours, np.abs(mosaic)[..., None]], axis=-1), interpolation="none")
    axes.set_axis_off()
    return figure


def _ink(picture: np.ndarray) -> np.ndarray:
    """Return a picture as black with the values for its opacity."""
    colours = np.zeros((*picture.shape, 4))
    colours[..., 3] = picture.clip(0, 1)
    return colours
