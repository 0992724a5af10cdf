"""AEDAT 3.1, the format of jAER and cAER, with tables of labels, as DVS128 Gesture has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from snnkit.data import sources
from snnkit.data.atis import addresses
from snnkit.data.card import Card, Part
from snnkit.data.events import Recording, check
from snnkit.data.recordings import Sample, options
from snnkit.errors import DataError

_END = b"#!END-HEADER\r\n"
_PACKET = np.dtype(
    [
        ("type", "<u2"),
        ("source", "<u2"),
        ("size", "<u4"),
        ("offset", "<u4"),
        ("overflow", "<u4"),
        ("capacity", "<u4"),
        ("number", "<u4"),
        ("valid", "<u4"),
    ]
)
_EVENT = np.dtype([("data", "<u4"), ("time", "<u4")])
_POLARITY = 1


def events(data: bytes, shape: tuple[int, ...], where: str, *, sort: bool = False) -> Recording:
    """Return the polarity events of one AEDAT 3.1 file, those marked invalid left out.

    Args:
        data: the file.
        shape: `(2, height, width)`; polarity 1 is brighter.
        where: what the file is called in an error.
        sort: put events out of order in order.
    Returns:
        Times in microseconds on the recording's clock, and addresses.
    Raises:
        DataError: another version, a packet cut short, times that run back, places out of range.
    """
    pieces = list(_packets(data, where))
    found = np.concatenate([np.empty(0, _EVENT), *(packet for packet, _ in pieces)])
    wraps = np.repeat([overflow for _, overflow in pieces], [len(packet) for packet, _ in pieces]).astype(np.int64)
    valid = (found["data"] & 1).astype(bool)
    word, times = found["data"][valid].astype(np.int64), (found["time"] + (wraps << 31))[valid]
    places = addresses(word >> 1 & 1, word >> 2 & 0x7FFF, word >> 17 & 0x7FFF, shape, where)
    return check(times.astype(np.int64), places, 2 * shape[1] * shape[2], where, sort=sort)


def _packets(data: bytes, where: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the events of every packet of polarity events, and how often its clock has wrapped."""
    first = data[: data.find(b"\n") + 1].strip()
    if first != b"#!AER-DAT3.1":
        raise DataError(f"{where} starts with {first[:20]!r}; an AEDAT 3.1 file starts with '#!AER-DAT3.1'")
    place = data.find(_END) + len(_END) if _END in data[: 1 << 16] else _after_comments(data)
    while place < len(data):
        header = np.frombuffer(data[place : place + _PACKET.itemsize].ljust(_PACKET.itemsize, b"\0"), _PACKET)[0]
        start = place + _PACKET.itemsize
        place = start + int(header["capacity"]) * int(header["size"])
        if start > len(data) or place > len(data):
            raise DataError(f"{where} is truncated: a packet ends at byte {place:,} of {len(data):,}")
        if header["type"] != _POLARITY:
            continue
        if header["size"] != _EVENT.itemsize or header["number"] > header["capacity"]:
            raise DataError(
                f"{where} has a packet of {header['number']} events of {header['size']} bytes; 8 are needed"
            )
        yield np.frombuffer(data, _EVENT, int(header["number"]), start), int(header["overflow"])


def _after_comments(data: bytes) -> int:
    """Return where the lines that begin with # end."""
    place = 0
    while data[place : place + 1] == b"#":
        place = data.find(b"\n", place) + 1 or len(data)
    return place


def samples(card: Card, part: Part, path: Path) -> Iterator[Sample]:
    """Yield the labelled stretches of a part's recordings.

    Args:
        card: classes, shape and the option `trials`: part name to the list of its recordings in the archive.
        part: which part.
        path: the archive.
    Raises:
        DataError: a recording, table or list that is missing or damaged.
    """
    chosen = options(card, trials=dict)
    trials = chosen["trials"].get(part.name, f"list of part {part.name!r}")
    texts = {PurePosixPath(name).name: data.decode() for name, data in sources.members(path, (".csv", ".txt"))}
    if trials not in texts:
        raise DataError(f"{path} holds no {trials}, which lists its recordings")
    wanted = {line.strip() for line in texts[trials].splitlines() if line.strip()}
    for name, data in sources.members(path, (".aedat",)):
        recording = PurePosixPath(name).name
        if recording in wanted:
            wanted.remove(recording)
            where = f"{path}: {recording}"
            table = texts.get(f"{recording.removesuffix('.aedat')}_labels.csv")
            if table is None:
                raise DataError(f"{where} has no table of labels beside it")
            found = events(data, card.shape, where, sort=chosen["sort"])
            yield from _stretches(found, table, recording.split("_")[0], where)
    if wanted:
        raise DataError(f"{path} lacks {', '.join(sorted(wanted))}, which {trials} lists")


def _stretches(recording: Recording, table: str, person: str, where: str) -> Iterator[Sample]:
    times, places = recording
    for number, line in enumerate(table.splitlines()[1:], 2):
        if not line.strip():
            continue
        try:
            label, start, end = (int(word) for word in line.split(","))
        except ValueError as error:
            raise DataError(f"{where}: line {number} of its labels is {line!r}; class, start and end needed") from error
        low, high = np.searchsorted(times, [start, end])
        yield Sample(label - 1, (times[low:high] - start, places[low:high]), person)
