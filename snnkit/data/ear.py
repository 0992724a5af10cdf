"""The inner ear: sound in, spikes of bushy cells out, one channel per place along the basilar membrane."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from snnkit import cards
from snnkit.data.events import Recording
from snnkit.errors import DataError

_WIDTH = 100
"""Channels filtered together; enough to fill the vector lanes, few enough to stay in the cache."""


@dataclass(frozen=True)
class Ear:
    """The parameters of an inner ear.

    Sound passes a bank of gammatone filters, one per channel; each moves a hair cell, whose pool of transmitter
    rectifies, compresses, smooths and adapts; its mean firing rate drives a leaky integrate-and-fire bushy cell.

    Attributes:
        channels: places along the membrane, from the lowest to the highest frequency.
        low: centre of the first channel, in hertz.
        high: centre of the last channel, in hertz; below half the sampling rate of every sound.
        bandwidth: of a channel, in equivalent rectangular bandwidths.
        tilt: how much louder a channel an octave higher hears, in decibels; 0 dB at 1 kHz. The membrane's velocity,
            which moves the hair cells, rises so against its displacement, and speech falls about as steeply.
        level: root mean square that every sound is brought to, in decibels of sound pressure.
        fade: how long a sound's two ends are faded, in seconds.
        permeability: A of the hair cell, a sound pressure on the scale where a root mean square of 1 is 30 dB.
        saturation: B, on the same scale.
        release: g, per second.
        replenishment: y, per second.
        loss: l, from the cleft, per second.
        recovery: r, from the cleft into the store, per second.
        reprocessing: x, from the store into the pool, per second.
        firing: h, spikes per second for a full cleft.
        threshold: hair cell rate that just makes a bushy cell fire, in spikes per second.
        synapse: time constant of a bushy cell's input, in seconds.
        membrane: time constant of a bushy cell, in seconds.
        refractory: dead time after a bushy cell's spike, in seconds.
    Raises:
        DataError: where a value is out of range, or silence alone would make the bushy cells fire.

    Example:
        >>> Ear(channels=3, low=100.0, high=3000.0).centres.round().tolist()
        [100.0, 802.0, 3000.0]

    Source: the chain and its constants follow the Heidelberg data sets (Cramer, Stradmann, Schemmel and Zenke 2020,
    arXiv 1910.07407), which take the hair cell from Meddis 1986. Simpler here: gammatones (Patterson 1992, with the
    bandwidths of Glasberg and Moore 1990) in place of a hydrodynamic membrane, and the mean of a bushy cell's
    forty random hair cells in place of draws, so that a sound always gives the same spikes.
    """

    channels: int = 700
    low: float = 80.0
    high: float = 3600.0
    bandwidth: float = 1.019
    tilt: float = 6.0
    level: float = 76.0
    fade: float = 0.01
    permeability: float = 5.0
    saturation: float = 300.0
    release: float = 2000.0
    replenishment: float = 5.05
    loss: float = 2500.0
    recovery: float = 6580.0
    reprocessing: float = 66.31
    firing: float = 50000.0
    threshold: float = 154.0
    synapse: float = 0.0005
    membrane: float = 0.001
    refractory: float = 0.001

    def __post_init__(self) -> None:
        if not isinstance(self.channels, int) or isinstance(self.channels, bool) or self.channels < 1:
            raise DataError(f"the ear has channels = {self.channels!r}; a whole number of at least 1 is needed")
        free = ("channels", "tilt", "level", "fade")
        for name, value in asdict(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or (value <= 0 and name not in free) or (value < 0 and name not in ("tilt", "level")):
                raise DataError(f"the ear has {name} = {value!r}; a finite number above 0 is needed")
        if self.low > self.high or (self.low == self.high and self.channels > 1):
            raise DataError(f"the ear has low = {self.low:g} and high = {self.high:g} Hz; low must be below high")
        if self.rest >= self.threshold:
            raise DataError(
                f"the ear has threshold = {self.threshold:g}; its hair cells fire at {self.rest:.1f} spikes/s in "
                "silence, so a larger threshold is needed"
            )

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Ear:
        """Return the ear that a card's table describes; what the table leaves out has its usual value."""
        kinds = {field.name: int if field.name == "channels" else float for field in fields(cls)}
        cards.check(table, kinds, where, optional=tuple(kinds))
        try:
            return cls(**table)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    @property
    def centres(self) -> np.ndarray:
        """Centre frequencies `[channels]`, in hertz, evenly spaced in equivalent rectangular bandwidths."""
        first, last = (21.4 * math.log10(1 + 0.00437 * frequency) for frequency in (self.low, self.high))
        return (10 ** (np.linspace(first, last, self.channels) / 21.4) - 1) / 0.00437

    @property
    def rest(self) -> float:
        """Rate of a hair cell in silence, in spikes per second."""
        k = self.release * self.permeability / (self.permeability + self.saturation)
        return self.firing * self.replenishment * k / (self.loss * k + self.replenishment * (self.loss + self.recovery))


def bandwidths(frequencies: np.ndarray) -> np.ndarray:
    """Return the equivalent rectangular bandwidth at frequencies, both in hertz (Glasberg and Moore 1990)."""
    return 24.7 * (0.00437 * np.asarray(frequencies) + 1)


def filters(ear: Ear, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return pole and gain of each channel's filter, complex and real `[channels]`.

    The response to a pulse after `n` samples is the real part of `gain * n**3 * pole**n`: a gammatone of order 4.
    A tone at a channel's centre passes it with its amplitude, but for the tilt.

    Args:
        ear: the ear.
        rate: samples per second.
    """
    turn = np.exp(2j * np.pi * ear.centres / rate)
    shrink = np.exp(-2 * np.pi * ear.bandwidth * bandwidths(ear.centres) / rate)
    poles = shrink * turn
    at_centre = (_transfer(poles, turn) + np.conj(_transfer(poles, np.conj(turn)))) / 2
    return poles, 10 ** (ear.tilt / 20 * np.log2(ear.centres / 1000)) / np.abs(at_centre)


def hear(sound: np.ndarray, rate: float, ear: Ear | None = None) -> Recording:
    """Return the spikes that a sound makes in the inner ear.

    A sound with fewer than four samples per period of the highest channel is interpolated to that many first.

    Args:
        sound: `[samples]`, of one microphone, on any scale: it is brought to the ear's level.
        rate: samples per second.
        ear: the ear's parameters; an ear of 700 channels up to 3.6 kHz unless given.
    Returns:
        Times int64 `[E]` in microseconds, sorted, and channels int32 `[E]`, 0 the lowest frequency.
    Raises:
        DataError: a sound that is empty, of several channels, or not of finite numbers, or whose rate is too low.

    Example:
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(1600) / 8000)
        >>> times, channels = hear(tone, 8000, Ear(channels=10))
        >>> int(np.bincount(channels).argmax()), Ear(channels=10).centres.round()[5].item()
        (5, 1022.0)
    """
    from snnkit.data import ear_kernels

    ear = Ear() if ear is None else ear
    samples = _prepared(_checked(sound, rate, ear), rate, ear)
    if samples is None:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    factor = max(1, math.ceil(4 * ear.high / rate))
    samples, dt = _interpolated(samples, factor), 1 / (rate * factor)
    poles, gains = filters(ear, rate * factor)
    hair = (ear.permeability, ear.saturation, ear.release, ear.replenishment)
    hair += (ear.loss, ear.recovery, ear.reprocessing, ear.firing)
    bushy = (ear.threshold, ear.synapse, ear.membrane, ear.refractory)
    most = int(len(samples) * dt / ear.refractory) + 2
    found = []
    for block in np.array_split(np.arange(ear.channels), -(-ear.channels // _WIDTH)):
        moved = np.empty((len(samples), len(block)))
        ear_kernels.gammatone(samples, poles[block], gains[block], moved)
        ear_kernels.hair_cells(moved, dt, hair)
        times, counts = np.empty((len(block), most)), np.empty(len(block), np.int64)
        ear_kernels.bushy_cells(moved, dt, bushy, times, counts)
        fired = np.arange(most) < counts[:, None]
        found.append(((times[fired] * 1e6).astype(np.int64), np.repeat(block, counts)))
    times, channels = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(times, kind="stable")
    return times[order], channels[order].astype(np.int32)


def _transfer(poles: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the z-transform of `n**3 * pole**n`."""
    q = poles / z
    return q * (1 + 4 * q + q**2) / (1 - q) ** 4


def _checked(sound: np.ndarray, rate: float, ear: Ear) -> np.ndarray:
    """Return a sound as float64; raises DataError where the ear cannot hear it."""
    samples = np.asarray(sound)
    if samples.ndim != 1:
        raise DataError(
            f"the sound has shape {list(samples.shape)}; [samples] of one microphone is needed, such as sound[:, 0]"
        )
    if not len(samples):
        raise DataError("the sound is empty; at least one sample is needed")
    if samples.dtype.kind not in "iuf":
        raise DataError(f"the sound is of type {samples.dtype}; real numbers are needed")
    samples = samples.astype(np.float64)
    if not np.isfinite(samples).all():
        raise DataError("the sound holds NaN or infinite samples; finite ones are needed")
    if not math.isfinite(rate) or rate <= 2 * ear.high:
        raise DataError(
            f"the sound has {rate:g} samples/s, so it holds nothing above {rate / 2:g} Hz; the ear listens up to "
            f"{ear.high:g} Hz: give the sound's true rate, or an ear such as Ear(high={max(rate, 0) * 0.45:g})"
        )
    return samples


def _prepared(samples: np.ndarray, rate: float, ear: Ear) -> np.ndarray | None:
    """Return a sound at the ear's level, its ends faded; None for silence."""
    loudest = np.abs(samples).max()
    if loudest == 0:
        return None
    samples = samples / loudest
    samples *= 10 ** ((ear.level - 30) / 20) / math.sqrt(np.mean(samples**2))
    count = min(round(ear.fade * rate), len(samples) // 2)
    ramp = np.sin(np.pi / 2 * (np.arange(count) + 0.5) / max(count, 1)) ** 2
    samples[:count] *= ramp
    samples[len(samples) - count :] *= ramp[::-1]
    return samples


def _interpolated(samples: np.ndarray, factor: int) -> np.ndarray:
    """Return a sound with `factor` times as many samples and the same spectrum, by padding its Fourier transform."""
    if factor == 1:
        return samples
    size = 1 << (len(samples) + 64).bit_length()
    spectrum = np.fft.rfft(samples, size)
    return np.fft.irfft(spectrum, size * factor)[: len(samples) * factor] * factor
