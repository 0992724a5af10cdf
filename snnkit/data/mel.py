"""Mel spectrograms in decibels, and the reader of Google's Speech Commands that makes them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from snnkit import cards
from snnkit.data import sources, wav
from snnkit.data.card import Card, Part
from snnkit.data.recordings import Sample, Source
from snnkit.errors import DataError

_QUIET = 1e-10


@dataclass(frozen=True)
class Mel:
    """How a sound becomes a spectrogram; the values here are those of Hammouamri et al. 2024 for Speech Commands.

    Attributes:
        rate: samples per second of the sound.
        resample: samples per second that it is brought to first.
        seconds: length that it is cut or padded with silence to.
        window: samples of one Fourier transform, under a Hann window.
        hop: samples between two of them: 80 at 8,000 a second are 10 ms.
        bands: mel bands; one that lies above half of `resample` is silent.
        low, high: frequencies in Hz where the lowest band begins and the highest ends.
    """

    rate: int = 16000
    resample: int = 8000
    seconds: float = 1.0
    window: int = 256
    hop: int = 80
    bands: int = 140
    low: float = 50.0
    high: float = 14000.0


def spectrogram(sound: np.ndarray, settings: Mel) -> np.ndarray:
    """Return the power in mel bands over time, in decibels.

    Args:
        sound: samples [N] at `settings.rate`, -1..1.
        settings: how.
    Returns:
        float32 [T, bands]; T is 1 + samples // hop, windows centred on their step and the sound mirrored at its ends.
        Bands without power are at -100 dB.

    Example:
        >>> spectrogram(np.zeros(16000, np.float32), Mel()).shape
        (101, 140)
    """
    from scipy.signal import resample_poly

    count = round(settings.seconds * settings.rate)
    whole = np.pad(sound[:count], (0, max(0, count - len(sound)))).astype(np.float64)
    brought = resample_poly(whole, settings.resample, settings.rate)
    mirrored = np.pad(brought, settings.window // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, settings.window)[:: settings.hop]
    hann = np.hanning(settings.window + 1)[:-1]
    power = np.abs(np.fft.rfft(windows * hann)) ** 2
    return (10 * np.log10(np.maximum(power @ filterbank(settings), _QUIET))).astype(np.float32)


@functools.lru_cache(maxsize=8)
def filterbank(settings: Mel) -> np.ndarray:
    """Return the triangular filters [window // 2 + 1, bands], evenly spaced on the mel scale 2595 log10(1 + f / 700).

    Source: O'Shaughnessy, Speech communication: human and machine, 1987, for the scale.
    """
    frequencies = np.linspace(0, settings.resample / 2, settings.window // 2 + 1)
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (settings.low, settings.high))
    edges = 700 * (10 ** (np.linspace(low, high, settings.bands + 2) / 2595) - 1)
    rising = (frequencies[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequencies[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling))


def mel_wav_tar(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Read a tar of `<class>/<speaker>_nohash_<n>.wav` with the lists of its splits, as Speech Commands is.

    `validation_list.txt` and `testing_list.txt` name the samples of those splits; all others are for training. The
    options of the card are the settings of the spectrogram. Folders that are no class of the card are left out.
    """
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Mel)}
    cards.check(card.options, kinds, f"{card.name}: options", optional=tuple(kinds))
    settings = Mel(**card.options)
    if card.shape != (settings.bands,):
        raise DataError(
            f"{card.name} has the shape {list(card.shape)} and {settings.bands} bands; they must be the same"
        )
    (file,) = part.files
    return Source(_spoken(card, paths[file.name], settings))


def _spoken(card: Card, path: Path, settings: Mel) -> Iterator[Sample]:
    texts: dict[str, Any] = {}
    for name, data in sources.members(path, ("_list.txt",)):
        texts[PurePosixPath(name).name] = data.decode().split()
    lists = {"validation": texts.get("validation_list.txt"), "test": texts.get("testing_list.txt")}
    if None in lists.values():
        raise DataError(f"{path} lacks validation_list.txt or testing_list.txt, which say how it is split")
    split = {name: key for key, names in lists.items() for name in names or ()}
    labels = {word: label for label, word in enumerate(card.classes)}
    for name, data in sources.members(path, (".wav",)):
        place = PurePosixPath(name)
        word = place.parent.name
        if word in labels:
            sound = wav.samples(data, settings.rate, f"{path}: {name}")
            speaker = place.name.split("_")[0]
            columns = (spectrogram(sound, settings),)
            yield Sample(labels[word], columns, speaker, split.get(f"{word}/{place.name}", "train"))
