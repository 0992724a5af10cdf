"""Settings read from the environment, in one place."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for compiled kernels and prepared data (`SNNKIT_CACHE`, else `~/.cache/snnkit`)."""
    return Path(os.environ.get("SNNKIT_CACHE") or Path.home() / ".cache" / "snnkit")


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
