"""Deploy: what networks cost on hardware."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.deploy.chip import Chip as Chip
    from snnkit.deploy.estimate import EnergyReport as EnergyReport
    from snnkit.deploy.estimate import energy as energy
    from snnkit.deploy.estimate import energy_ann as energy_ann

_HOMES = {"Chip": "chip", "EnergyReport": "estimate", "energy": "estimate", "energy_ann": "estimate"}

__all__ = ["Chip", "EnergyReport", "energy", "energy_ann"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that reading a card does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
