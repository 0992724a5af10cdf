"""Recorded speech that an inner ear turns into spikes, and the cards that say which recordings and which ear."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from snnkit.data import sources, wav
from snnkit.data.card import Card, Part
from snnkit.data.ear import Ear, hear
from snnkit.data.recordings import Sample, Source, options
from snnkit.errors import DataError

_NAME = re.compile(r"(?P<word>[^_]+)_(?P<speaker>.+)_\d+\.wav")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One spoken word: its class, who speaks, and what gives its samples and their rate."""

    label: int
    speaker: str
    sound: Callable[[], tuple[np.ndarray, float]]


def ear_wav(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Read `<class>_<speaker>_<number>.wav` from a folder or an archive of one, and turn each into spikes.

    The options of the card are `rate`, in samples per second, `speakers`, who is taken, `digest`, and the table `ear`.
    The digest is the SHA-256 of what `sha256sum` prints for the files of these speakers, sorted by name: a copy of
    other recordings, or of fewer, is refused before the first of them is heard.
    """
    settings = options(card, rate=int, speakers=list, digest=str, ear=dict)
    (file,) = part.files
    path, rate = paths[file.name], settings["rate"]
    found = _files(card, path, settings["speakers"])
    _check(card, part, path, found)

    def utterances() -> Iterator[Utterance]:
        for name, data in found:
            match = _NAME.fullmatch(name)
            if match is None or match["word"] not in card.classes:
                raise DataError(f"{path} holds {name}; <class of the card>_<speaker>_<number>.wav is needed")
            samples = wav.samples(data, rate, f"{path}: {name}")
            yield Utterance(card.classes.index(match["word"]), match["speaker"], lambda s=samples: (s, rate))

    return listen(card, utterances())


def listen(card: Card, utterances: Iterable[Utterance]) -> Source:
    """Return what the ear of a card's options hears, in the order of the utterances, on as many threads as processors.

    Raises:
        DataError: where the ear is impossible, or has not as many channels as the card's shape says.
    """
    ear = Ear.from_table(card.options["ear"], f"{card.name}: options.ear")
    if card.shape != (ear.channels,):
        raise DataError(
            f"{card.name} has the shape {list(card.shape)} and an ear of {ear.channels} channels; they must be the same"
        )
    pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="snnkit-ear")

    def heard(utterance: Utterance) -> Sample:
        samples, rate = utterance.sound()
        return Sample(utterance.label, hear(samples, rate, ear), utterance.speaker)

    return Source(pool.map(heard, utterances), close=lambda: pool.shutdown(cancel_futures=True))


def with_ear(card: Card, ear: Ear) -> Card:
    """Return a card of speech whose recordings are heard by another ear, such as one of fewer channels.

    Args:
        card: such as `snnkit.data.card.read("fsdd")`.
        ear: the ear.
    Returns:
        The card, for `snnkit.data.load`; what is prepared with it lies beside what is prepared without.
    Raises:
        DataError: where the card is not of speech.

    Example:
        >>> from snnkit.data.card import read
        >>> with_ear(read("fsdd"), Ear(channels=140)).shape
        (140,)
    """
    if "ear" not in card.options:
        raise DataError(f"{card.name} has no ear among its options; a card of speech, such as fsdd, is needed")
    return dataclasses.replace(
        card, shape=(ear.channels,), options=dict(card.options) | {"ear": dataclasses.asdict(ear)}
    )


def _files(card: Card, path: Path, speakers: list[Any]) -> list[tuple[str, bytes]]:
    """Return name and bytes of the speakers' files, sorted by name."""
    found = []
    for name, data in sources.members(path, (".wav",)):
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            raise DataError(f"{path} holds {name}; <class of the card>_<speaker>_<number>.wav is needed")
        if match["speaker"] in speakers:
            found.append((PurePosixPath(name).name, data))
    return sorted(found)


def _check(card: Card, part: Part, path: Path, found: list[tuple[str, bytes]]) -> None:
    """Raise DataError where recordings are missing or are not those of the card."""
    if len(found) != part.count:
        raise DataError(
            f"{path} holds {len(found):,} recordings of {', '.join(card.options['speakers'])}; its card says "
            f"{part.count:,}; fetch it again from {card.places}"
        )
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in found)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    if digest != card.options["digest"]:
        raise DataError(
            f"{path} holds other recordings than its card says: their digest is {digest[:12]}…, not "
            f"{card.options['digest'][:12]}…; fetch it again from {card.places}"
        )
