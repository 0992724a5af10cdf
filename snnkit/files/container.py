"""The outside of every file: a header with a digest in the user block of HDF5, then plain HDF5.

A file is 512 bytes of header and an HDF5 body, so `h5py.File("net.h5")` opens it as it is. The header, little endian:

    offset  bytes
         0     16  magic
        16     32  SHA-256 of everything from byte 48 to the end of the file
        48      4  format version
        52      8  length of the HDF5 body
        60     16  oldest snnkit that reads this version, ASCII
        76    436  zeros

The bytes are read once and verified before any of them reach the HDF5 library. The digest tells damage, not
forgery: who can write a file can also sign it, so what the body holds is checked against a schema all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import snnkit
from snnkit.errors import FileError, nearest

FORMAT = 1
"""The version of the layout that this snnkit writes, and the newest that it reads."""

NEEDS = "0.1.0"
"""The oldest snnkit that reads `FORMAT`."""

HEADER = 512
LIMIT = 1 << 34
"""Files with more bytes are refused unless a larger limit is given."""

MAGIC = b"\x89snnkit\r\n\x1a\n\0\0\0\0\0"
_SIGNED = 48
_FIELDS = struct.Struct("<IQ16s")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CHECKED_SUPERBLOCKS = (2, 3)


def seal(content: bytearray | memoryview, *, version: int = FORMAT, needs: str = NEEDS) -> None:
    """Write the header into the first 512 bytes of a file whose body is complete."""
    view = memoryview(content)
    header = _FIELDS.pack(version, len(view) - HEADER, needs.encode("ascii"))
    view[:HEADER] = MAGIC + bytes(_SIGNED - len(MAGIC)) + header + bytes(HEADER - _SIGNED - len(header))
    view[len(MAGIC) : _SIGNED] = hashlib.sha256(view[_SIGNED:]).digest()


def verify(content: bytes, where: str) -> None:
    """Check the header against the content, without parsing the body.

    Args:
        content: a whole file.
        where: the file's name, for messages.
    Raises:
        FileError: empty, truncated, damaged, written by a newer snnkit, or no file of snnkit at all.
    """
    if not content:
        raise FileError(f"{where} is empty (0 bytes); use another copy, or save it again")
    if not content.startswith(MAGIC):
        raise FileError(f"{where} {_foreign(content)}; needed is a file that snnkit wrote, such as by snnkit.save")
    if len(content) < HEADER:
        raise FileError(f"{where} is truncated: it has {len(content)} bytes and its header alone takes {HEADER}")
    version, length, needs = _FIELDS.unpack_from(content, _SIGNED)
    if len(content) - HEADER < length:
        raise FileError(
            f"{where} is truncated: it has {len(content):,} bytes and its header tells of {length + HEADER:,}; "
            "use another copy, or save it again"
        )
    digest = hashlib.sha256(memoryview(content)[_SIGNED:]).digest()
    if len(content) - HEADER > length or digest != content[len(MAGIC) : _SIGNED]:
        raise FileError(f"{where} is damaged: its content and its digest differ; use another copy, or save it again")
    if version > FORMAT:
        raise FileError(
            f"{where} has format {version} and snnkit {snnkit.__version__} reads up to {FORMAT}; "
            f"it needs snnkit {_plain(needs)} or newer: pip install --upgrade snnkit"
        )
    body = content[HEADER : HEADER + len(_HDF5) + 1]
    if version < 1 or not body.startswith(_HDF5) or body[-1] not in _CHECKED_SUPERBLOCKS:
        raise FileError(f"{where} is refused: its header does not belong to a body that snnkit writes")


def read_file(path: str | Path, *, limit: int = LIMIT) -> bytes:
    """Return the bytes of a file, each read once; raises FileError where it is missing, too large or no file."""
    path = Path(path)
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError(f"{path} is not a regular file; give the path of a file such as net.h5")
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise FileError(f"no file {path}{_neighbour(path)}") from None
    except FileError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} cannot be read: {reason}; give the path of a file such as net.h5") from None
    if len(content) > limit:
        raise FileError(f"{path} has more than {limit:,} bytes; if it is meant to, give limit= in bytes")
    return content


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file so that, whenever the process dies, the path holds all of the old or all of the new.

    Raises:
        FileError: the folder does not exist, or cannot be written.
    """
    path = Path(path)
    try:
        # A link is followed, so that the file it points to is replaced and not the link.
        path = path.resolve()
        if not path.parent.is_dir():
            raise FileError(f"no folder {path.parent} to write {path.name} in; make it first")
        if path.exists() and not path.is_file() and not path.is_dir():
            raise FileError(f"{path} is not a regular file, which a rename would replace; give a path such as net.h5")
        with replacing(path) as file:
            file.write(content)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} cannot be written: {reason}; give a path that can") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside a path, and move it there, synced, when the block ends without an error."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with aside.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can sync folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open(path: str, flags: int) -> int:
    """Open without waiting for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _foreign(content: bytes) -> str:
    """Return what a file is that does not start as ours do."""
    offset = 0
    while offset < len(content):
        if content.startswith(_HDF5, offset):
            return "is HDF5 without the header of snnkit; h5py opens it"
        offset = max(HEADER, 2 * offset)
    if content.startswith((b"PK\x03\x04", b"\x80")):
        return "looks like a pickle of torch.save, which snnkit does not open because it can run code"
    return f"is not HDF5: it starts with {content[:8]!r}"


def _neighbour(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f": there is no folder {path.parent}"
    return nearest(path.name, names) or "; give the path of a file that exists"


def _plain(text: bytes) -> str:
    """Return a version as it may be printed."""
    word = text.rstrip(b"\0").decode("ascii", "replace")
    return word if word.replace(".", "").isalnum() and word.isascii() else "(unknown)"
