"""Generated source on disk, so that it can be read and a second process need not make it again."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from snnkit.settings import cache_dir


@lru_cache
def folder() -> Path:
    """Return the folder of generated code, this user's alone.

    Where the cache cannot be written it is a temporary one, which goes when the process ends.
    """
    try:
        path = cache_dir() / "kernels"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    path = Path(tempfile.mkdtemp(prefix="snnkit-kernels-"))
    atexit.register(_remove, path, os.getpid())
    return path


def _remove(path: Path, owner: int) -> None:
    """Remove a temporary folder, unless this is a fork of the process that uses it."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(name: str, key: str, make: Callable[[], str]) -> ModuleType:
    """Import the generated Python module of this key, making its source where the cache lacks it.

    Args:
        name: readable start of the file's name.
        key: everything that the source depends on.
        make: returns the source.
    """
    path = folder() / f"{name}_{hashlib.sha256(key.encode()).hexdigest()[:16]}.py"
    if path.exists():
        try:
            return _import(path)
        except SyntaxError:
            path.unlink(missing_ok=True)
    write(path, make())
    return _import(path)


def _import(path: Path) -> ModuleType:
    full_name = f"snnkit_generated_{path.stem}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # numba's cache finds the module by its name while it is still being executed.
    sys.modules[full_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[full_name]
        raise
    return module
