"""The files of a data set: found under a root, verified against their card, opened where they are packed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from snnkit import settings
from snnkit.data.card import Card, File
from snnkit.errors import DataError

Item = TypeVar("Item")

DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
"""What reading a packed file that is not whole may raise."""


def find(card: Card, root: str | Path | None) -> dict[str, Path]:
    """Return file name to file or folder; raises DataError where there is no root or one is missing from it."""
    files = [file for part in card.parts for file in part.files]
    if not files:
        raise DataError(f"{card.name} names no files; those of the format {card.format!r} do")
    needed = ", ".join(dict.fromkeys(file.facts for file in files))
    base = settings.data_root() if root is None else Path(root)
    if base is None:
        raise DataError(
            f"{card.name} needs a data root: set SNNKIT_DATA, or give --root (root= in Python), to a folder "
            f"whose {card.name}/ holds {needed}; published at {card.places}"
        )
    paths, missing = {}, []
    for file in files:
        places = [base / card.name / name for name in (file.name, *file.also)]
        paths[file.name] = next((place for place in places if place.exists()), places[0])
        missing += [] if paths[file.name].exists() else [file.name]
    if missing:
        raise DataError(
            f"{base / card.name} lacks {', '.join(dict.fromkeys(missing))}; {card.name} needs {needed}; published at "
            f"{card.places}; --root or SNNKIT_DATA names the folder above"
        )
    return paths


def verify(card: Card, file: File, path: Path) -> None:
    """Compare a file with all that its card knows of it; raises DataError where it is another or damaged.

    A file that lies there under another suffix than the published one has other bytes: its reader checks what is in it.
    """
    if path.suffix != Path(file.name).suffix:
        return
    where = f"fetch it again from {card.places}"
    try:
        if file.size and not file.packed and path.stat().st_size != file.size:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; its card says {file.size:,}; {where}")
        if file.md5:
            with path.open("rb") as stream:
                _compare(path, "md5", hashlib.file_digest(stream, "md5").hexdigest(), file.md5, where)
        if file.sha256:
            with gzip.open(path) if file.packed else path.open("rb") as stream:
                _compare(path, "sha256", _sha256(stream), file.sha256, where)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); {where}") from error


def _sha256(stream: BinaryIO | gzip.GzipFile) -> str:
    found = hashlib.sha256()
    while block := stream.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def _compare(path: Path, kind: str, found: str, known: str, where: str) -> None:
    if found != known:
        raise DataError(f"{path} has the {kind} {found[:12]}…; its card says {known[:12]}…; {where}")


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the path of a file's content while the block runs: the file itself, or a copy out of its `.gz` or `.zip`.

    Raises:
        DataError: where the packed file is damaged, or a `.zip` does not hold one file.
    """
    if path.suffix not in (".gz", ".zip"):
        yield path
        return
    folder = settings.cache_dir() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="unpacked-") as place:
        target = Path(place) / path.stem
        try:
            with _content(path) as stream, target.open("wb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
        except DAMAGE as error:
            raise DataError(f"{path} is truncated or damaged ({error}); fetch it again") from error
        yield target


@contextlib.contextmanager
def _content(path: Path) -> Iterator[gzip.GzipFile | BinaryIO]:
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise DataError(f"{path} holds {len(names)} files; one is needed")
        with archive.open(names[0]) as member:
            yield member  # pyright: ignore[reportReturnType]


def members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the files whose names end so: of a tar in its order, of a zip or a folder by name.

    Hidden files, such as macOS leaves in archives, are no files of theirs.

    Raises:
        DataError: where the archive is damaged or is none.
    """
    try:
        if path.is_dir():
            for place in sorted(path.rglob("*")):
                if _meant(place.name, suffixes):
                    yield str(place.relative_to(path)), place.read_bytes()
            return
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if _meant(name, suffixes):
                        yield name, archive.read(name)
            return
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                stream = archive.extractfile(member) if _meant(member.name, suffixes) else None
                if stream is not None:
                    yield member.name, stream.read()
    except DAMAGE as error:
        raise DataError(f"{path} is not a whole archive ({error}); fetch it again") from error


def _meant(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.endswith(suffixes) and not PurePosixPath(name).name.startswith(".")


def shown(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    """Yield the items, with a progress bar where a person is watching."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=title)
