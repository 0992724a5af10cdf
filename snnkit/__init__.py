"""snnkit: describe a spiking network once, simulate, train, convert and deploy it.

Names are imported when they are first used, so that `import snnkit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit import baseline, convert, data, deploy, errors, files, neuron, report, synapse, train
    from snnkit.data import encode
    from snnkit.errors import SnnkitError
    from snnkit.files import load, save
    from snnkit.network import Network, detached
    from snnkit.neuron import surrogate
    from snnkit.spiking import Spiking
    from snnkit.stream import Stream
    from snnkit.synapse import DelayConv1d, DelayConv2d, DelayLinear, Recurrent
    from snnkit.train import diagnose, initialise

__version__ = "0.1.0"

_HOME = {
    "DelayConv1d": "snnkit.synapse",
    "DelayConv2d": "snnkit.synapse",
    "DelayLinear": "snnkit.synapse",
    "Network": "snnkit.network",
    "Recurrent": "snnkit.synapse",
    "SnnkitError": "snnkit.errors",
    "Spiking": "snnkit.spiking",
    "Stream": "snnkit.stream",
    "detached": "snnkit.network",
    "diagnose": "snnkit.train",
    "encode": "snnkit.data",
    "initialise": "snnkit.train",
    "load": "snnkit.files",
    "save": "snnkit.files",
    "surrogate": "snnkit.neuron",
}
_PACKAGES = ("baseline", "convert", "data", "deploy", "errors", "files", "neuron", "report", "synapse", "train")
__all__ = [
    "DelayConv1d",
    "DelayConv2d",
    "DelayLinear",
    "Network",
    "Recurrent",
    "SnnkitError",
    "Spiking",
    "Stream",
    "__version__",
    "baseline",
    "convert",
    "data",
    "deploy",
    "detached",
    "diagnose",
    "encode",
    "errors",
    "files",
    "initialise",
    "load",
    "neuron",
    "report",
    "save",
    "surrogate",
    "synapse",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"snnkit.{name}")
    if name in _HOME:
        module = importlib.import_module(_HOME[name])
        value = getattr(module, name, None)
        value = importlib.import_module(f"{_HOME[name]}.{name}") if value is None else value
    elif name[:1].isupper():
        from snnkit.neuron import FAMILIES

        if name not in FAMILIES:
            raise AttributeError(f"module 'snnkit' has no attribute {name!r}")
        from snnkit.spiking import layer

        value = layer(name)
    else:
        raise AttributeError(f"module 'snnkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from snnkit.neuron import FAMILIES

    return sorted([*__all__, *FAMILIES])
