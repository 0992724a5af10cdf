"""Tiny files in the formats of event data sets, with cards of their own, for tests."""

from __future__ import annotations

import io
import struct
import tarfile
import wave
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

CLASSES = ("cat", "dog")

HEAD = """
name = "tiny"
title = "Tiny"
format = "{format}"
source = "example.org/tiny"
mirrors = ["example.org/mirror"]
licence = "CC0"
citation = "Nobody, 2024"
shape = {shape}
classes = ["cat", "dog"]
{more}
"""


def write_card(folder: Path, form: str, shape: tuple[int, ...], more: str) -> Path:
    (folder / "tiny").mkdir(exist_ok=True)
    path = folder / "card.toml"
    path.write_text(HEAD.format(format=form, shape=list(shape), more=more))
    return path


def spikes(count: int, seed: int = 0, channels: int = 30) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return recordings as the Heidelberg files hold them: half-precision seconds and channels; the second is empty."""
    draw = np.random.default_rng(seed)
    sizes = [0 if index == 1 else int(draw.integers(1, 40)) for index in range(count)]
    return [(np.sort(draw.random(size).astype(np.float16)), draw.integers(0, channels, size)) for size in sizes]


def write_spikes(path: Path, recordings: list, **fields: object) -> None:
    """Write an HDF5 file of the Heidelberg data sets; fields replace what it would hold, None leaves one out."""
    count = len(recordings)
    keys = np.array([word.encode() for word in CLASSES])
    usual = {"labels": np.arange(count) % 2, "extra/speaker": np.arange(count) // 4, "extra/keys": keys}
    with h5py.File(path, "w") as store:
        for name, kind, place in (("times", np.float64, 0), ("units", np.uint16, 1)):
            kind = np.float16 if name == "times" and "exact" not in fields else kind
            made = store.create_dataset(f"spikes/{name}", (count,), h5py.vlen_dtype(kind))
            for index, recording in enumerate(recordings):
                made[index] = np.asarray(recording[place]).astype(kind)
        for name, values in (usual | fields).items():
            if values is not None and name != "exact":
                store[name] = values


SPIKES = """
[parts.train]
order = "groups"
count = 12
groups = { train = [], validation = ["2"] }
files = [{ name = "train.h5.zip", also = ["train.h5", "train.h5.gz"], holds = "both" }]
[parts.test]
order = "file"
splits = { test = 4 }
files = [{ name = "test.h5", holds = "both" }]
"""


def spike_set(folder: Path, **fields: object) -> Path:
    """Write a tiny data set in the format of SHD and return its card; fields are those of its training file."""
    card = write_card(folder, "hdf5-spikes", (30,), SPIKES)
    write_spikes(folder / "tiny" / "train.h5", fields.pop("recordings", spikes(12)), **fields)
    write_spikes(folder / "tiny" / "test.h5", spikes(4, seed=1))
    return card


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def atis(times: np.ndarray, polarity: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> bytes:
    """Return events in 5 bytes each."""
    word = (columns << 32) | (rows << 24) | (polarity << 23) | times
    return b"".join(int(value).to_bytes(5, "big") for value in word)


def atis_events(seed: int, size: int = 50) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(seed)
    places = draw.integers(0, 34, (2, size))
    return np.sort(draw.integers(0, 300_000, size)), draw.integers(0, 2, size), *places


def packet(events: np.ndarray, *, kind: int = 1, overflow: int = 0, spare: int = 0) -> bytes:
    """Return one packet of AEDAT 3.1; `spare` places of its capacity are not used."""
    count = len(events)
    header = struct.pack("<HHIIIIII", kind, 0, 8, 4, overflow, count + spare, count, count)
    return header + events.astype("<u4").tobytes() + bytes(8 * spare)


def aedat(*packets: bytes, first: bytes = b"#!AER-DAT3.1\r\n") -> bytes:
    return first + b"#Format: RAW\r\n#!END-HEADER\r\n" + b"".join(packets)


def polarity_events(times: np.ndarray, seed: int = 0, valid: int = 1) -> np.ndarray:
    """Return polarity events [E, 2] of a 128 x 128 sensor."""
    draw = np.random.default_rng(seed)
    rows, columns = draw.integers(0, 128, (2, len(times)))
    return np.stack([columns << 17 | rows << 2 | draw.integers(0, 2, len(times)) << 1 | valid, times], 1)


def sound(values: np.ndarray, *, rate: int = 16000, channels: int = 1, width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(values).astype("<i2").tobytes())
    return buffer.getvalue()


ATIS = """
[parts.Train]
order = "stratified"
splits = { train = 4, validation = 2 }
files = [{ name = "Train.zip", holds = "both" }]
[parts.Test]
order = "file"
splits = { test = 2 }
files = [{ name = "Test.zip", holds = "both" }]
"""


def atis_set(folder, change=None):
    """Write a tiny data set in the format of N-MNIST and return its card."""
    path = write_card(folder, "atis-zip", (2, 34, 34), ATIS)
    for part, count in (("Train", 3), ("Test", 1)):
        files = {}
        for label, word in enumerate(CLASSES):
            for number in range(count):
                files[f"{part}/{word}/{number:05}.bin"] = atis(*atis_events(10 * label + number))
        files["__MACOSX/Train/cat/._00000.bin"] = b"not events"
        if change and part == "Train":
            change(files)
        (folder / "tiny" / f"{part}.zip").write_bytes(zipped(files))
    return path


AEDAT = """
[options]
trials = { train = "trials_to_train.txt", test = "trials_to_test.txt" }
[parts.train]
order = "groups"
count = 6
groups = { train = [], validation = ["user02"] }
files = [{ name = "tiny.tar.gz", holds = "both" }]
[parts.test]
order = "file"
splits = { test = 2 }
files = [{ name = "tiny.tar.gz", holds = "both" }]
"""
TABLE = b"class,startTime_usec,endTime_usec\r\n1,1000,3000\r\n2,3000,5000\r\n"


def aedat_set(folder, change=None):
    """Write a tiny data set in the format of DVS128 Gesture and return its card."""
    path = write_card(folder, "aedat-tar", (2, 128, 128), AEDAT)
    files = {}
    for number, name in enumerate(("user01_led", "user01_natural", "user02_led", "user24_led")):
        times = np.arange(0, 6000, 100)
        files[f"Tiny/{name}.aedat"] = aedat(
            packet(polarity_events(times[:20], number)), packet(polarity_events(times[20:], number + 9), spare=3)
        )
        files[f"Tiny/{name}_labels.csv"] = TABLE
    train, test = sorted(files)[:6:2], sorted(files)[6:7]
    files["Tiny/trials_to_train.txt"] = "\n".join(name.split("/")[1] for name in train).encode()
    files["Tiny/trials_to_test.txt"] = "".join(name.split("/")[1] for name in test).encode() + b"\r\n\r\n"
    if change:
        change(files)
    (folder / "tiny" / "tiny.tar.gz").write_bytes(tarred(files))
    return path


MEL = """
[options]
bands = 12
hop = 800
[parts.all]
order = "listed"
splits = { train = 3, validation = 2, test = 1 }
files = [{ name = "tiny.tar.gz", holds = "both" }]
"""


def mel_set(folder, change=None, more=MEL):
    """Write a tiny data set in the format of Speech Commands and return its card."""
    path = write_card(folder, "mel-wav-tar", (12,), more)
    draw = np.random.default_rng(0)
    files = {"./_background_noise_/hum.wav": b"not for anyone", "./validation_list.txt": b"cat/b_nohash_0.wav\n"
             b"dog/b_nohash_0.wav\n", "./testing_list.txt": b"dog/c_nohash_1.wav\n"}  # fmt: skip
    for name in ("cat/a_nohash_0", "cat/b_nohash_0", "dog/a_nohash_0", "dog/b_nohash_0", "dog/c_nohash_1", "cat/d_n_2"):
        files[f"./{name}.wav"] = sound(draw.normal(0, 3000, int(draw.integers(9000, 17000))))
    if change:
        change(files)
    (folder / "tiny" / "tiny.tar.gz").write_bytes(tarred(files))
    return path
