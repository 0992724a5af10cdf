"""Report: figures of what a network does, and a page of them that needs nothing but itself."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.report.figures import accuracy_over_time as accuracy_over_time
    from snnkit.report.figures import bars as bars
    from snnkit.report.figures import confusion as confusion
    from snnkit.report.figures import curves as curves
    from snnkit.report.figures import raster as raster
    from snnkit.report.figures import trace as trace
    from snnkit.report.pictures import gallery as gallery
    from snnkit.report.pictures import weights as weights
    from snnkit.report.recordings import events as events
    from snnkit.report.recordings import photograph as photograph
    from snnkit.report.recordings import spectrogram as spectrogram
    from snnkit.report.theme import svg as svg

_HOMES = {
    "accuracy_over_time": "figures",
    "bars": "figures",
    "confusion": "figures",
    "curves": "figures",
    "events": "recordings",
    "gallery": "pictures",
    "photograph": "recordings",
    "raster": "figures",
    "spectrogram": "recordings",
    "svg": "theme",
    "trace": "figures",
    "weights": "pictures",
}

__all__ = [
    "accuracy_over_time",
    "bars",
    "confusion",
    "curves",
    "events",
    "gallery",
    "photograph",
    "raster",
    "spectrogram",
    "svg",
    "trace",
    "weights",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that the package costs nothing before it is used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
