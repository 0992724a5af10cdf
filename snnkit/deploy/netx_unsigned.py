"""Files of NetX that others wrote, such as slayer, in the form that `netx.load` reads.

They have no digest, so damage is not told from content; and HDF5 that was made to harm can do so here. Read what you
trust.
"""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np

from snnkit.errors import FileError
from snnkit.files import codec
from snnkit.files.schema import UnfitError
from snnkit.files.tree import Tree

_HDF5 = b"\x89HDF\r\n\x1a\n"
_UNREAD = {
    "gradedSpike",
    "inChannels",
    "inFeatures",
    "kernelSize",
    "outChannels",
    "outFeatures",
    "refDelay",
    "scaleRho",
    "tauRho",
    "theta",
    "wgtExp",
}
"""What slayer writes and NetX does not read."""


def read(content: bytes, where: str) -> tuple[Tree, dict[str, Any]]:
    """Return the layers of a file, and names for them; raises FileError where it is no HDF5 with layers."""
    if not content.startswith(_HDF5):
        raise FileError(f"{where} is no HDF5 of another program; read files of snnkit without unsigned=True")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            found = file.get("layer")
            groups = dict(found) if isinstance(found, h5py.Group) else {}
            layers = {str(k): _layer(groups.get(str(k)), f"layer {k}") for k in range(len(groups))}
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UnfitError(f"its HDF5 cannot be read as layers ({str(error).splitlines()[0]:.120})") from None
    neurons = [layer for layer in layers.values() if "neuron" in layer]
    noted = {
        "populations": [f"layer{k}" for k in range(1, len(neurons) + 1)],
        "connections": [
            [f"into{k}", f"own{k}" if layer["type"] == "dense_rec" else None] for k, layer in enumerate(neurons, 1)
        ],
        "read": "spikes",
        "target": "loihi2",
        "scale": 1.0,
    }
    return {"layer": layers}, noted


def _layer(group: Any, where: str) -> Tree:
    if not isinstance(group, h5py.Group):
        raise UnfitError(f"{where} is missing, or no group")
    values: dict[str, Any] = {
        name: _value(item, f"{name} of {where}") for name, item in group.items() if name not in _UNREAD
    }
    kind = values.get("type")
    if kind == "input" and "neuron" in values:
        raise UnfitError(
            f"{where} is an input with neurons, which are no layer of a chip; write the input without them"
        )
    if "neuron" in values and values["neuron"].get("type") == "LOIHI":
        values["neuron"]["type"] = "CUBA"
    if kind == "flatten":
        values = {"type": kind}
    if kind in ("dense", "dense_rec"):
        values["shape"] = np.array([int(np.prod(values.get("shape", 0)))])
        _spread_delay(values)
    if kind == "conv":
        _shape_conv(values)
    return _encoded(values)


def _spread_delay(values: dict[str, Any]) -> None:
    """Give every synapse its delay, as NetX does from one for all, for each output, or for each input."""
    delay, weight = values.get("delay"), values.get("weight")
    if delay is None or not isinstance(weight, np.ndarray) or weight.ndim != 2 or delay.ndim == 2:
        return
    column = delay.ndim == 1 and len(delay) == weight.shape[0]
    values["delay"] = np.broadcast_to(delay[:, None] if column else delay, weight.shape)


def _shape_conv(values: dict[str, Any]) -> None:
    """Bring what slayer may write in another form into the one that we write."""
    weight, shape, bias = values.get("weight"), values.get("shape"), values.get("bias")
    if isinstance(weight, np.ndarray) and weight.ndim == 5 and weight.shape[4] == 1:
        values["weight"] = weight[..., 0]
    for name in ("stride", "padding", "dilation"):
        if name in values:
            values[name] = np.broadcast_to(values[name], 2)
    if bias is not None and bias.ndim == 1 and shape is not None and len(shape) == 3 and len(bias) == shape[0]:
        values["bias"] = np.broadcast_to(bias, shape[::-1])


def _value(item: Any, where: str) -> Any:
    if isinstance(item, h5py.Group):
        return {name: _value(inner, f"{name} of {where}") for name, inner in item.items() if name not in _UNREAD}
    if not isinstance(item, h5py.Dataset) or not isinstance(item.shape, tuple):
        raise UnfitError(f"{where} is no array")
    values = np.asarray(item[()])
    if values.dtype.kind in "SO" and values.size == 1:
        text = values.reshape(-1)[0]
        return text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise UnfitError(f"{where} holds no whole numbers")
    return values.astype(np.int64)


def _encoded(values: dict[str, Any]) -> Tree:
    return {
        name: _encoded(item) if isinstance(item, dict) else item if isinstance(item, str) else codec.encode(item)
        for name, item in values.items()
    }
