"""Networks, recordings and results in HDF5: verified before they are parsed, checked before they are used."""

from snnkit.files.container import FORMAT
from snnkit.files.graph import about, from_bytes, load, save, to_bytes
from snnkit.files.layers import LAYERS
from snnkit.files.metadata import About
from snnkit.files.results import load_recording, load_results, save_recording, save_results

__all__ = [
    "FORMAT",
    "LAYERS",
    "About",
    "about",
    "from_bytes",
    "load",
    "load_recording",
    "load_results",
    "save",
    "save_recording",
    "save_results",
    "to_bytes",
]
