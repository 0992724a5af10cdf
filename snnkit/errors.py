"""Every error that snnkit raises on purpose, under one base class."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SnnkitError(Exception):
    """Base of all errors raised by snnkit; its message says what came, what is needed, what to type."""


class InputError(SnnkitError, ValueError):
    """A tensor or argument that a call cannot take."""


class NeuronError(SnnkitError, ValueError):
    """A neuron or surrogate description that does not hold together."""


class BackendError(SnnkitError, RuntimeError):
    """A backend that is unknown, missing, or cannot run what was asked of it."""


class FileError(SnnkitError, OSError):
    """A file that is missing, damaged, or not what its name says."""


class DataError(SnnkitError, ValueError):
    """A data set that is absent, incomplete, or different from its card."""


class RecipeError(SnnkitError, ValueError):
    """A training recipe with an unknown key or a value out of range."""


class MissingPackageError(SnnkitError, ImportError):
    """An optional package that the call needs and that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'tau'?` for the closest known name, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
