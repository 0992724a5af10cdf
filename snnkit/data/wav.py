"""WAV files of 16-bit samples."""

from __future__ import annotations

import io
import wave

import numpy as np

from snnkit.errors import DataError


def samples(data: bytes, rate: int, where: str) -> np.ndarray:
    """Return a sound as float32 values, -1..1.

    Args:
        data: the file.
        rate: samples per second that it must have.
        where: what the file is called in an error.
    Raises:
        DataError: a file that is truncated, empty or no WAV file, several channels, samples of other than 16 bits, or
            another sampling rate.
    """
    try:
        with wave.open(io.BytesIO(data)) as sound:
            form = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
            frames, promised = sound.readframes(sound.getnframes()), sound.getnframes()
    except (wave.Error, EOFError) as error:
        raise DataError(f"{where} is truncated or no WAV file ({error})") from error
    channels, width, found = form
    if (channels, width) != (1, 2):
        raise DataError(f"{where} has {channels} channels of {8 * width} bits; one channel of 16 bits is needed")
    if found != rate:
        raise DataError(f"{where} has {found:,} samples per second; its card says {rate:,}")
    if len(frames) != 2 * promised or not promised:
        raise DataError(f"{where} promises {promised:,} samples and holds {len(frames) // 2:,}")
    return np.frombuffer(frames, "<i2").astype(np.float32) / 32768
