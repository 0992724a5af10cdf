"""Speech made on the spot by Debian's espeak-ng: any words, many voices, no licence to mind."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from snnkit import cards
from snnkit.data import wav
from snnkit.data.card import Card, Part
from snnkit.data.recordings import Source, options
from snnkit.data.speech import Utterance, listen
from snnkit.errors import DataError, MissingPackageError, nearest

RATE = 22050
"""Samples per second of what espeak-ng makes."""

_PROGRAM = "espeak-ng"
_SILENT = 1e-3


def speak(text: str, *, language: str = "en-us", voice: str = "m1", speed: int = 175, pitch: int = 50) -> np.ndarray:
    """Return the sound of a text; the same arguments give the same sound.

    Args:
        text: what is said.
        language: as espeak-ng calls it, such as `en-us` or `de`.
        voice: a variant of espeak-ng, such as `m1` or `f2`; `voices()` names them.
        speed: words per minute, 80 to 450.
        pitch: 0 to 99.
    Returns:
        Samples float32 `[N]`, -1..1, 22,050 a second, without the silence before and after.
    Raises:
        MissingPackageError: where espeak-ng is not installed.
        DataError: where it does not know the language, or makes no sound.
    """
    if not 80 <= speed <= 450 or not 0 <= pitch <= 99:
        raise DataError(f"speed is {speed} and pitch {pitch}; 80 to 450 words a minute and 0 to 99 are needed")
    with tempfile.TemporaryDirectory(prefix="snnkit-speech-") as folder:
        path = Path(folder) / "speech.wav"
        _run("-v", f"{language}+{voice}", "-s", str(speed), "-p", str(pitch), "-b", "1", "-w", str(path), "--", text)
        if not path.is_file():
            raise DataError(f"espeak-ng makes no sound of {text!r} in the language {language!r}")
        samples = wav.samples(path.read_bytes(), RATE, f"espeak-ng's {text!r}")
    heard = np.flatnonzero(np.abs(samples) > _SILENT)
    if not len(heard):
        raise DataError(f"espeak-ng makes no sound of {text!r} in the language {language!r}")
    return samples[heard[0] : heard[-1] + 1]


def voices() -> tuple[str, ...]:
    """Return the names of the voices that the installed espeak-ng has; MissingPackageError where there is none."""
    lines = _run("--voices=variant").splitlines()[1:]
    return tuple(sorted({word[3:] for line in lines for word in line.split() if word.startswith("!v/")}))


def version() -> str:
    """Return the version of the installed espeak-ng; MissingPackageError where there is none."""
    return _run("--version").split(":")[-2].split()[0]


@dataclass(frozen=True)
class Plan:
    """What is spoken, by whom and how: the options of a card of synthetic speech.

    Attributes:
        words: language to the classes that are said in it.
        accents: language to its varieties, as espeak-ng calls them; each recording draws one.
        voices: each says every word.
        repeats: how often each voice says each word.
        speeds: words per minute, lowest and highest.
        pitches: lowest and highest of 0 to 99.
        seed: what the draws follow from.
    """

    words: Mapping[str, list[str]]
    accents: Mapping[str, list[str]]
    voices: tuple[str, ...]
    repeats: int
    speeds: tuple[int, int]
    pitches: tuple[int, int]
    seed: int


def espeak(card: Card, part: Part, paths: Mapping[str, Path]) -> Source:
    """Speak what the options of the card say, and turn each word into spikes.

    Accent, speed and pitch of a recording follow from the seed, the voice, the word and which repeat it is, so that
    more voices, words or repeats leave the others as they are.
    """
    plan = _plan(card, part)
    known = voices()
    for voice in plan.voices:
        if voice not in known:
            raise DataError(
                f"{card.name}: espeak-ng {version()} has no voice {voice!r}{nearest(voice, known)}; "
                "snnkit.data.synthetic_speech.voices() names those that it has"
            )
    return listen(card, _utterances(card, plan))


def _plan(card: Card, part: Part) -> Plan:
    """Return the plan of a card; raises DataError where it does not hold together."""
    where = f"{card.name}: options"
    kinds: dict[str, type] = {"words": dict, "accents": dict, "voices": list, "repeats": int}
    found = options(card, **kinds, speeds=list, pitches=list, seed=int, ear=dict)
    languages = dict.fromkeys(found["words"], list)
    for name in ("words", "accents"):
        cards.check(found[name], languages, f"{where}.{name}")
    said = [word for words in found["words"].values() for word in words]
    if sorted(said) != sorted(card.classes):
        raise DataError(f"{where}.words say {sorted(said)}; each class of the card is needed once")
    for name in ("speeds", "pitches"):
        bounds = found[name]
        if len(bounds) != 2 or not all(isinstance(bound, int) for bound in bounds) or bounds[0] > bounds[1]:
            raise DataError(f"{where} has {name} = {bounds}; the lowest and the highest, whole numbers, are needed")
    count = len(said) * len(found["voices"]) * found["repeats"]
    if count != part.count:
        raise DataError(
            f"{where} make {count:,} recordings: {len(found['voices'])} voices say {len(said)} words "
            f"{found['repeats']} times; the card's part {part.name!r} counts {part.count:,}"
        )
    fields: dict[str, Any] = {name: tuple(found[name]) for name in ("voices", "speeds", "pitches")}
    return Plan(**fields, **{name: found[name] for name in ("words", "accents", "repeats", "seed")})


def _utterances(card: Card, plan: Plan) -> Iterator[Utterance]:
    spoken = [(language, word) for language, words in plan.words.items() for word in words]
    for voice in plan.voices:
        for language, word in spoken:
            for repeat in range(plan.repeats):
                facts = f"{plan.seed}/{voice}/{word}/{repeat}".encode()
                draw = np.random.default_rng(list(hashlib.sha256(facts).digest()))
                how: dict[str, Any] = {"language": str(draw.choice(plan.accents[language])), "voice": voice}
                how["speed"] = int(draw.integers(*plan.speeds, endpoint=True))
                how["pitch"] = int(draw.integers(*plan.pitches, endpoint=True))
                yield Utterance(card.classes.index(word), voice, partial(_sound, word, how))


def _sound(text: str, how: Mapping[str, Any]) -> tuple[np.ndarray, float]:
    return speak(text, **how), RATE


def _run(*arguments: str) -> str:
    """Return what espeak-ng prints; raises DataError where it fails."""
    program = shutil.which(_PROGRAM)
    if program is None:
        raise MissingPackageError(
            "synthetic speech needs the program espeak-ng, which is not on the PATH; type: apt-get install espeak-ng"
        )
    done = subprocess.run([program, *arguments], capture_output=True, check=False, timeout=60)
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split()) or f"exit status {done.returncode}"
        raise DataError(f"espeak-ng {' '.join(arguments)} fails: {said}")
    return done.stdout.decode(errors="replace")
