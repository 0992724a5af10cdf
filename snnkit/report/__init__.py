"""Report: figures of what a network does, and a page of them that needs nothing but itself."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.report.delays import arrivals as arrivals
    from snnkit.report.delays import delay_histogram as delay_histogram
    from snnkit.report.delays import delay_map as delay_map
    from snnkit.report.delays import narrowing as narrowing
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
    "arrivals": "delays",
    "bars": "figures",
    "confusion": "figures",
    "curves": "figures",
    "delay_histogram": "delays",
    "delay_map": "delays",
    "events": "recordings",
    "gallery": "pictures",
    "narrowing": "delays",
    "photograph": "recordings",
    "raster": "figures",
    "spectrogram": "recordings",
    "svg": "theme",
    "trace": "figures",
    "weights": "pictures",
}

__all__ = [
    "accuracy_over_time",
    "arrivals",
    "bars",
    "confusion",
    "curves",
    "delay_histogram",
    "delay_map",
    "events",
    "gallery",
    "narrowing",
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
