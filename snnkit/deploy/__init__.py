"""Deploy: networks in a chip's integers, and what networks cost on hardware."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.deploy import c99 as c99
    from snnkit.deploy import lava as lava
    from snnkit.deploy import netx as netx
    from snnkit.deploy import nir as nir
    from snnkit.deploy.capacity import FitReport as FitReport
    from snnkit.deploy.capacity import fit as fit
    from snnkit.deploy.chip import Chip as Chip
    from snnkit.deploy.estimate import EnergyReport as EnergyReport
    from snnkit.deploy.estimate import energy as energy
    from snnkit.deploy.estimate import energy_ann as energy_ann
    from snnkit.deploy.integer import Connection as Connection
    from snnkit.deploy.integer import IntegerNetwork as IntegerNetwork
    from snnkit.deploy.integer import Population as Population
    from snnkit.deploy.quantisation.quantise import Emulated as Emulated
    from snnkit.deploy.quantisation.quantise import quantise as quantise
    from snnkit.deploy.quantisation.quantise import quantise_report as quantise_report
    from snnkit.deploy.quantisation.report import QuantisationReport as QuantisationReport
    from snnkit.deploy.quantisation.tuning import fine_tune as fine_tune
    from snnkit.deploy.store import load as load
    from snnkit.deploy.store import save as save
    from snnkit.deploy.synapses import Conv as Conv
    from snnkit.deploy.synapses import Dense as Dense
    from snnkit.deploy.synapses import Sparse as Sparse
    from snnkit.deploy.workload import NeuroBenchReport as NeuroBenchReport
    from snnkit.deploy.workload import neurobench as neurobench

_HOMES = {
    "Chip": "chip",
    "Connection": "integer",
    "Conv": "synapses",
    "Dense": "synapses",
    "Emulated": "quantisation.quantise",
    "EnergyReport": "estimate",
    "FitReport": "capacity",
    "IntegerNetwork": "integer",
    "NeuroBenchReport": "workload",
    "Population": "integer",
    "QuantisationReport": "quantisation.report",
    "Sparse": "synapses",
    "energy": "estimate",
    "energy_ann": "estimate",
    "fine_tune": "quantisation.tuning",
    "fit": "capacity",
    "load": "store",
    "neurobench": "workload",
    "quantise": "quantisation.quantise",
    "quantise_report": "quantisation.quantise",
    "save": "store",
}

_MODULES = ("c99", "lava", "netx", "nir")
"""Modules of their own, imported when they are named."""

__all__ = sorted((*_HOMES, *_MODULES))  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that reading a card does not import torch."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
