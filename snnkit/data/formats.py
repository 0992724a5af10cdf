"""Readers: verified files of a data set's part in, its images and labels as bytes out."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import sys
import tarfile
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from snnkit.data.card import Card, File, Part
from snnkit.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray]
"""Images uint8 `[N, channels, height, width]` and labels uint8 `[N]`, in file order."""


def content(file: File, path: Path, source: str) -> bytes:
    """Return a file's bytes, unpacked if it is a `.gz`, after checking size and hash against its card.

    Raises:
        DataError: where the file is damaged or is not the one on the card.
    """
    try:
        with gzip.open(path) if file.packed else path.open("rb") as stream:
            data = stream.read(file.size + 1 if file.size else -1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); fetch it again from {source}") from error
    if file.size and len(data) != file.size:
        size = f"{len(data):,}" if len(data) < file.size else "more"
        raise DataError(f"{path} has {size} bytes; its card says {file.size:,}; fetch it again from {source}")
    found = hashlib.sha256(data).hexdigest()
    if file.sha256 and found != file.sha256:
        raise DataError(
            f"{path} has the sha256 {found[:12]}…; its card says {file.sha256[:12]}…; fetch it again from {source}"
        )
    return data


def idx(card: Card, part: Part, paths: Mapping[str, Path]) -> Arrays:
    """Read one file of images and one of labels in the idx format of MNIST (LeCun 1998)."""
    found: dict[str, np.ndarray] = {}
    for file in part.files:
        path = paths[file.name]
        found[file.holds] = parse_idx(content(file, path, card.source), path)
    return found["images"].reshape(-1, *card.shape), found["labels"]


def parse_idx(data: bytes, path: Path) -> np.ndarray:
    """Return the bytes of an idx file as an array: two zeros, type 8 (byte), rank, sizes, values."""
    rank = data[3] if len(data) > 3 else 0
    start = 4 + 4 * rank
    if data[:3] != b"\0\0\x08" or rank == 0 or len(data) < start:
        raise DataError(f"{path} starts with {data[:4].hex(' ')}; an idx file of bytes starts with 00 00 08")
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    if len(data) != start + math.prod(shape):
        raise DataError(f"{path} promises {shape} values and holds {len(data) - start:,} bytes of them")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def image_tar(card: Card, part: Part, paths: Mapping[str, Path]) -> Arrays:
    """Read one image file per sample, `<part>/<class>/<name>.<suffix>`, from a tar; samples sort by path."""
    (file,) = part.files
    path = paths[file.name]
    data = content(file, path, card.source)
    images = np.empty((part.count, *card.shape), np.uint8)
    keys: list[tuple[int, str]] = []
    with closing(_members(data, path, f"{card.name}: {path.name}", part.count)) as members:
        for name, image in members:
            where = PurePosixPath(name)
            if len(where.parts) != 3 or where.parts[0] != part.name or where.parts[1] not in card.classes:
                raise DataError(f"{path} holds {name}; {part.name}/<class of the card>/<name> is needed")
            if len(keys) == part.count:
                raise DataError(f"{path} holds more than the {part.count:,} images of its card")
            images[len(keys)] = _pixels(image, card, f"{path}: {name}")
            keys.append((card.classes.index(where.parts[1]), where.name))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    images = images[: len(keys)][order]
    return images, np.array([keys[index][0] for index in order], np.uint8)


def _members(data: bytes, path: Path, title: str, count: int) -> Generator[tuple[str, bytes]]:
    """Yield name and bytes of every file in a tar, with a progress bar where a person is watching."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    try:
        with (
            Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
            tarfile.open(fileobj=io.BytesIO(data), mode="r|*") as archive,
        ):
            task = progress.add_task(title, total=count)
            for member in archive:
                stream = archive.extractfile(member)
                if stream is not None:
                    yield member.name, stream.read()
                    progress.advance(task)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole tar archive ({error})") from error


def _pixels(data: bytes, card: Card, where: str) -> np.ndarray:
    """Return one encoded image as `[channels, height, width]`."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = card.shape
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = (image.height, image.width)
            if found != (height, width):
                raise DataError(f"{where} is {found[0]} x {found[1]} pixels; its card says {height} x {width}")
            pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{where} is not an image that can be read ({error})") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def scikit_learn(card: Card, part: Part, paths: Mapping[str, Path]) -> Arrays:
    """Read the digits that scikit-learn ships."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.uint8).reshape(-1, *card.shape), labels.astype(np.uint8)


READERS: Mapping[str, Callable[[Card, Part, Mapping[str, Path]], Arrays]] = MappingProxyType(
    {"idx": idx, "image-tar": image_tar, "scikit-learn": scikit_learn}
)
"""The `format` of a card to the function that reads it."""

BUNDLED = frozenset({"scikit-learn"})
"""Formats whose data come with an installed package: no files of the root, no cache."""


def read(card: Card, part: Part, paths: Mapping[str, Path]) -> Arrays:
    """Return images and labels of a part; raises DataError where they do not fit the card."""
    images, labels = READERS[card.format](card, part, paths)
    wanted = (part.count, *card.shape)
    if images.shape != wanted or labels.shape != wanted[:1]:
        raise DataError(
            f"{card.name}: part {part.name!r} has images {images.shape} and labels {labels.shape}; "
            f"its card says {wanted} and {wanted[:1]}"
        )
    if images.max() > card.scale or labels.max() >= len(card.classes):
        raise DataError(
            f"{card.name}: part {part.name!r} has pixels up to {images.max()} and labels up to "
            f"{labels.max()}; its card says {card.scale} and {len(card.classes) - 1}"
        )
    return images, labels
