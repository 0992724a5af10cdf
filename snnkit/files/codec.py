"""Tensors and NumPy arrays as HDF5 keeps them, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from snnkit.files.schema import UnfitError
from snnkit.files.tree import Array

FLOATS = ("float16", "bfloat16", "float32", "float64")
"""Floating types that files keep."""

# HDF5 has no bfloat16 and no bool that every reader knows.
_KEPT_AS: Mapping[str, str] = {"bfloat16": "float32", "bool": "uint8"}
_WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_KNOWN = (*FLOATS, "bool", *_WHOLE)


def encode(
    values: Tensor | np.ndarray, *, units: str = "1", trainable: bool | None = None, compact: bool = False
) -> Array:
    """Return values as a file keeps them.

    Args:
        values: real numbers, whole numbers or truth values.
        units: "steps", or "1".
        trainable: whether training changes them; None where that has no meaning.
        compact: keep floating values that are all whole numbers from 0 to 255, such as spikes, as bytes.
    Raises:
        UnfitError: a type that files do not keep.
    """
    dtype = values.dtype.name if isinstance(values, np.ndarray) else str(values.dtype).removeprefix("torch.")
    if dtype not in _KNOWN:
        raise UnfitError(f"values of type {dtype}; files keep {', '.join(_KNOWN)}")
    if isinstance(values, Tensor):
        if values.is_meta or values.layout != torch.strided:
            raise UnfitError("a tensor that is sparse or has no values; use .to_dense(), or load its values first")
        values = values.detach().cpu().resolve_neg()
        values = (values.float() if dtype == "bfloat16" else values).numpy()
    kept = values.astype(_KEPT_AS.get(dtype, dtype), copy=False)
    if compact and dtype in FLOATS and _are_bytes(kept):
        kept = kept.astype(np.uint8)
    return Array(kept, dtype, units, trainable)


def to_tensor(array: Array) -> Tensor:
    """Return a file's array as a tensor of the type that it stands for; raises UnfitError where it cannot be one."""
    return torch.from_numpy(_native(array)).to(getattr(torch, array.dtype))


def to_numpy(array: Array) -> np.ndarray:
    """Return an array of a file as a NumPy array, bfloat16 as float32; raises UnfitError where it cannot be one."""
    values = _native(array)
    return values.astype("float32" if array.dtype == "bfloat16" else array.dtype, copy=False)


def _native(array: Array) -> np.ndarray:
    kept = array.values.dtype.name
    expected = _KEPT_AS.get(array.dtype, array.dtype)
    known = array.dtype in _KNOWN and (kept == expected or (kept == "uint8" and array.dtype in FLOATS))
    if not known or (array.dtype == "bool" and array.values.size and array.values.max() > 1):
        raise UnfitError(f"values of type {kept} that stand for {array.dtype!r:.40}; files keep {', '.join(_KNOWN)}")
    return array.values.astype(kept, copy=False)


def _are_bytes(values: np.ndarray) -> bool:
    """Return whether every value is a whole number from 0 to 255, and zero is not negative."""
    with np.errstate(invalid="ignore"):
        inside = bool(((values >= 0) & (values <= 255)).all())
    return inside and bool((values == np.floor(values)).all()) and not bool(np.signbit(values).any())
