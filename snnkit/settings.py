"""Settings read from the environment, in one place."""

from __future__ import annotations

import os
from pathlib import Path

from snnkit.errors import FileError


def cache_dir() -> Path:
    """Return the folder for compiled kernels and prepared data (`SNNKIT_CACHE`, else `~/.cache/snnkit`).

    Raises:
        FileError: the variable is not set and this user has no home, as in some containers.
    """
    given = os.environ.get("SNNKIT_CACHE")
    try:
        return Path(given) if given else Path.home() / ".cache" / "snnkit"
    except RuntimeError:
        raise FileError("this user has no home folder for a cache; export SNNKIT_CACHE=/folder/for/it") from None


def data_root() -> Path | None:
    """Return the folder that holds downloaded data sets (`SNNKIT_DATA`), or None where it is not set."""
    root = os.environ.get("SNNKIT_DATA")
    return Path(root) if root else None


def lava_environment() -> Path | None:
    """Return the folder of the Python 3.10 environment with Lava (`SNNKIT_LAVA`), or None where it is not set."""
    folder = os.environ.get("SNNKIT_LAVA")
    return Path(folder).absolute() if folder else None


def check_finite() -> bool:
    """Return whether CPU runs refuse NaN and infinite states (`SNNKIT_CHECK_FINITE`, on unless `0`)."""
    return os.environ.get("SNNKIT_CHECK_FINITE", "1") != "0"
