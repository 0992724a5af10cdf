"""Checkpoints that are whole or not there: written aside, synced, renamed, and digest-verified when read."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from snnkit.errors import FileError
from snnkit.files.container import write_file

_MAGIC = b"snnkit checkpoint 1\n"
_DIGEST = hashlib.sha256().digest_size


def save_checkpoint(folder: str | Path, state: Mapping[str, Any], *, step: int) -> Path:
    """Write one checkpoint atomically and keep the last two.

    Args:
        folder: takes the checkpoints; made where it does not exist.
        state: tensors, numbers, texts, lists and dictionaries of them.
        step: optimiser steps so far; names the file.
    Returns:
        The file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_checkpoint(folder, {"weight": torch.ones(2)}, step=7)
        ...     load_checkpoint(path)["weight"].tolist()
        [1.0, 1.0]
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    path = folder / f"step-{step:012d}.ckpt"
    write_file(path, _MAGIC + hashlib.sha256(content).digest() + content)
    for old in (*_checkpoints(folder)[2:], *folder.glob("*.part")):
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read one checkpoint: its digest is checked first, and nothing but tensors and plain data is unpickled.

    Args:
        path: a file that `save_checkpoint` wrote.
    Returns:
        What was saved, tensors on the CPU.
    Raises:
        FileError: no such file, not a checkpoint, damaged, or holding anything but tensors and plain data.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read checkpoint {path}: {error.strerror}") from None
    start = len(_MAGIC) + _DIGEST
    if content[: len(_MAGIC)] != _MAGIC:
        raise FileError(f"{path} is not a checkpoint of snnkit; needed is a file that training wrote")
    if content[start : start + 2] != b"PK" or hashlib.sha256(content[start:]).digest() != content[len(_MAGIC) : start]:
        raise FileError(f"{path} is damaged: its content and its digest differ; use the checkpoint before it")
    try:
        return torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FileError(f"{path} holds more than tensors and plain data and is refused: {reason}") from None


def latest_checkpoint(folder: str | Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest whole checkpoint of a folder with its content, or None where there is none at all.

    A damaged file is set aside as `*.damaged` with a warning, and the one before it is used.

    Raises:
        FileError: there are checkpoints and all of them are damaged.
    """
    damaged: dict[Path, FileError] = {}
    for path in _checkpoints(Path(folder)):
        try:
            content = load_checkpoint(path)
        except FileError as error:
            damaged[path] = error
            continue
        for bad, error in damaged.items():
            os.replace(bad, bad.with_suffix(".damaged"))
            warnings.warn(f"{error}; it was set aside, and {path.name} is used", stacklevel=2)
        return path, content
    if damaged:
        raise FileError(
            f"no checkpoint in {folder} can be read, {len(damaged)} are there: "
            f"{next(iter(damaged.values()))}; give another folder to start again"
        )
    return None


def has_checkpoints(folder: str | Path) -> bool:
    """Return whether a folder holds checkpoints, whole or not."""
    return bool(_checkpoints(Path(folder)))


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint files, newest first."""
    return sorted(folder.glob("step-*.ckpt"), reverse=True)
