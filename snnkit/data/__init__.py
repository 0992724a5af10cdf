"""Data: encoders, cards and the loaders that read them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.data.binning import frames as frames
    from snnkit.data.card import Card as Card
    from snnkit.data.card import names as names
    from snnkit.data.dataset import Dataset as Dataset
    from snnkit.data.dataset import Split as Split
    from snnkit.data.dataset import load as load
    from snnkit.data.events import Events as Events
    from snnkit.data.framed import FramedEvents as FramedEvents
    from snnkit.data.framed import FramedSignals as FramedSignals
    from snnkit.data.signals import Signals as Signals

_HOMES = {
    "Card": "card",
    "Dataset": "dataset",
    "Events": "events",
    "FramedEvents": "framed",
    "FramedSignals": "framed",
    "Signals": "signals",
    "Split": "dataset",
    "frames": "binning",
    "load": "dataset",
    "names": "card",
}

__all__ = ["Card", "Dataset", "Events", "FramedEvents", "FramedSignals", "Signals", "Split", "frames", "load", "names"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that reading a card does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
