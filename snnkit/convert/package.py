"""The optional packages that exchange needs, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from snnkit.errors import MissingPackageError


def package(name: str, *, extra: str = "nir") -> ModuleType:
    """Return an optional package or module; raises MissingPackageError with the extra that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        root = name.partition(".")[0]
        raise MissingPackageError(f"{root} is needed here: pip install 'snnkit[{extra}]'") from None
