"""Where Lava is: a Python 3.10 environment of its own, built by `hardware/lava/build.py`."""

from __future__ import annotations

from pathlib import Path

from snnkit import cards, settings
from snnkit.errors import MissingPackageError

_STAMP = "snnkit-lava.txt"


def worker_folder() -> Path:
    """Return the folder of the worker project: `hardware/lava` of the checkout, or the wheel's copy of it."""
    return cards.folder("hardware") / "lava"


def environment_folder() -> Path:
    """Return where the environment is looked for: `SNNKIT_LAVA`, else `.venv` of a checkout, else the cache folder."""
    named = settings.lava_environment()
    if named is not None:
        return named
    checkout = worker_folder().parent.parent / "pyproject.toml"
    return worker_folder() / ".venv" if checkout.is_file() else settings.cache_dir() / "lava"


def available() -> tuple[Path | None, str]:
    """Return the interpreter that Lava runs in and an empty string, or None and why not, with how to get it.

    Example:
        >>> python, reason = snnkit.deploy.lava.available()
    """
    folder, worker = environment_folder(), worker_folder()
    how = _how(folder)
    if not (folder / "bin" / "python").exists():
        return None, f"there is no Lava environment in {folder}; {how}"
    wanted = (worker / "requirements.txt").read_text()
    if not (folder / _STAMP).is_file() or (folder / _STAMP).read_text() != wanted:
        return None, f"the Lava environment in {folder} is unfinished or of another version; {how}"
    return folder / "bin" / "python", ""


def interpreter() -> Path:
    """Return the interpreter that Lava runs in; raises MissingPackageError where there is none."""
    python, reason = available()
    if python is None:
        raise MissingPackageError(reason)
    return python


def _how(folder: Path) -> str:
    if folder == worker_folder() / ".venv" and settings.lava_environment() is None:
        return "build it with `make lava`, which needs Python 3.10"
    return f"build it with `python {worker_folder() / 'build.py'} {folder}`, which needs Python 3.10"
