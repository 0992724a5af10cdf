"""Readers of event and signal formats: files of a data set's part in, one sample after the other out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from snnkit.data import aedat, atis, sources
from snnkit.data.card import Card, Part
from snnkit.data.events import check
from snnkit.data.mel import mel_wav_tar
from snnkit.data.motif_recordings import motif_events
from snnkit.data.recordings import EVENTS, SIGNALS, Reader, Sample, Source, options
from snnkit.data.speech import ear_wav
from snnkit.data.synthetic_speech import espeak
from snnkit.errors import DataError


def hdf5_spikes(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Read spikes of the Heidelberg data sets: `spikes/times` in seconds, `spikes/units`, `labels`, `extra/speaker`.

    The times are half-precision numbers of seconds, so that they are a multiple of about half a millisecond near 1 s.
    Names of classes are those of `extra/keys`, in its order. The file may lie there unpacked or as `.gz` or `.zip`.
    """
    (file,) = part.files
    path, sort = paths[file.name], options(card)["sort"]
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_opened(stack.enter_context(sources.unpacked(path)), path))
        missing = [name for name in ("spikes/times", "spikes/units", "labels") if name not in store]
        if missing:
            raise DataError(f"{path} lacks {', '.join(missing)}; spikes/times, spikes/units and labels are needed")
        classes = _class_names(store, card, path)
        return Source(_spikes(store, card, path, sort), classes, stack.pop_all().close)


def _opened(path: Path, original: Path) -> Any:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{original} is truncated or no HDF5 file ({error}); fetch it again") from error


def _class_names(store: Any, card: Card, path: Path) -> tuple[str, ...]:
    """Return the names in the file; raises DataError where they are not as many as the card has."""
    if "extra/keys" not in store:
        return ()
    names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in store["extra/keys"][()])
    if len(names) != len(card.classes):
        raise DataError(f"{path.name} names {len(names)} classes; its card names {len(card.classes)}")
    return names


def _spikes(store: Any, card: Card, path: Path, sort: bool) -> Iterator[Sample]:
    times, units, labels = store["spikes/times"], store["spikes/units"], store["labels"]
    speakers = store["extra/speaker"][()] if "extra/speaker" in store else None
    if not len(times) == len(units) == len(labels):
        raise DataError(f"{path} has {len(times)} times, {len(units)} units and {len(labels)} labels")
    for index in range(len(labels)):
        where = f"{path}: recording {index}"
        try:
            seconds, channels, label = times[index], units[index], int(labels[index])
        except OSError as error:
            raise DataError(f"{where} is truncated or damaged ({error}); fetch the file again") from error
        columns = check(microseconds(seconds, where), channels, card.shape[0], where, sort=sort)
        yield Sample(label, columns, "" if speakers is None else str(speakers[index]))


def microseconds(seconds: Any, where: str) -> np.ndarray:
    """Return times in seconds as whole microseconds; raises DataError where one is no finite number.

    Example:
        >>> microseconds([0.5, 0.0000014], "here").tolist()
        [500000, 1]
    """
    found = np.asarray(seconds, np.float64)
    if not np.isfinite(found).all():
        raise DataError(f"{where} has a time that is no finite number")
    return np.rint(found * 1e6).astype(np.int64)


def atis_zip(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Read a zip of `<part>/<class>/<name>.bin`, 5 bytes an event, as N-MNIST has them; sorted by path."""
    (file,) = part.files
    path = paths[file.name]
    labels = {word: label for label, word in enumerate(card.classes)}
    sort = options(card)["sort"]

    def samples() -> Iterator[Sample]:
        for name, data in sources.members(path, (".bin",)):
            where = f"{path}: {name}"
            folder = PurePosixPath(name).parent.name
            if folder not in labels:
                raise DataError(f"{where} lies in the folder {folder!r}; a class of the card is needed")
            yield Sample(labels[folder], atis.events(data, card.shape, where, sort=sort))

    return Source(samples())


def aedat_tar(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Read a tar of AEDAT 3.1 recordings with a table of labels beside each, as DVS128 Gesture has them.

    The option `trials` of the card names the list of the part's recordings, such as `trials_to_train.txt`. Each row of
    a table is a sample: the class counted from 1, and first and last time in microseconds. Its times start at 0.
    """
    (file,) = part.files
    return Source(aedat.samples(card, part, paths[file.name]))


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "hdf5-spikes": Reader(hdf5_spikes, EVENTS),
        "atis-zip": Reader(atis_zip, EVENTS),
        "aedat-tar": Reader(aedat_tar, EVENTS),
        "mel-wav-tar": Reader(mel_wav_tar, SIGNALS),
        "ear-wav": Reader(ear_wav, EVENTS),
        "espeak": Reader(espeak, EVENTS),
        "motifs": Reader(motif_events, EVENTS),
    }
)
"""The `format` of a card to its reader."""

MADE = frozenset({"espeak", "motifs"})
"""Formats whose data are made on the spot: no files and no root."""
