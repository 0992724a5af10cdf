"""The 5-byte event files of the ATIS sensor, as N-MNIST and N-Caltech101 have them."""

from __future__ import annotations

import numpy as np

from snnkit.data.events import Recording, check
from snnkit.errors import DataError

_BYTES = 5
_OVERFLOW_ROW = 240
_OVERFLOW = 1 << 13


def events(data: bytes, shape: tuple[int, ...], where: str, *, sort: bool = False) -> Recording:
    """Return the events of one file.

    An event is 40 bits: 8 of the column, 8 of the row, 1 of the polarity, 23 of the time in microseconds. An event in
    row 240 is none: it says that the clock has wrapped by 2^13.

    Args:
        data: the file.
        shape: `(2, height, width)`; polarity 1 is brighter.
        where: what the file is called in an error.
        sort: put events out of order in order.
    Raises:
        DataError: a length that is no multiple of 5, times that run back, places out of range.

    Example:
        >>> times, addresses = events(bytes([2, 1, 0x80, 0, 9]), (2, 34, 34), "here")
        >>> times.tolist(), addresses.tolist() == [34 * 34 + 34 + 2]
        ([9], True)

    Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.
    """
    if len(data) % _BYTES:
        raise DataError(f"{where} has {len(data):,} bytes, which is no multiple of {_BYTES}: it is truncated")
    columns, rows, high, middle, low = np.frombuffer(data, np.uint8).reshape(-1, _BYTES).astype(np.int64).T
    wrapped = rows == _OVERFLOW_ROW
    times = ((high & 0x7F) << 16 | middle << 8 | low) + _OVERFLOW * np.cumsum(wrapped)
    times, columns, rows, high = (values[~wrapped] for values in (times, columns, rows, high))
    places = addresses(high >> 7, rows, columns, shape, where)
    return check(times, places, 2 * shape[1] * shape[2], where, sort=sort)


def addresses(
    polarity: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...], where: str
) -> np.ndarray:
    """Return flat indices into `(2, height, width)`; raises DataError where a place lies outside."""
    _, height, width = shape
    if len(rows) and (rows.max() >= height or columns.max() >= width):
        raise DataError(
            f"{where} has an event at row {rows.max()}, column {columns.max()}; the sensor has {height} rows and "
            f"{width} columns"
        )
    return (polarity * height + rows) * width + columns
