"""Training: losses, recipes, the loop on Lightning Fabric, evaluation, initialisation and diagnosis."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.train import losses as losses
    from snnkit.train.build import build_network as build_network
    from snnkit.train.diagnosis import Diagnosis as Diagnosis
    from snnkit.train.diagnosis import diagnose as diagnose
    from snnkit.train.evaluation import Evaluation as Evaluation
    from snnkit.train.evaluation import evaluate as evaluate
    from snnkit.train.history import Epoch as Epoch
    from snnkit.train.history import History as History
    from snnkit.train.initialisation import Gain as Gain
    from snnkit.train.initialisation import initialise as initialise
    from snnkit.train.recipe import NetworkSettings as NetworkSettings
    from snnkit.train.recipe import RateRegulariser as RateRegulariser
    from snnkit.train.recipe import Recipe as Recipe
    from snnkit.train.recipe import TrainSettings as TrainSettings
    from snnkit.train.recipe import read_recipe as read_recipe
    from snnkit.train.trainer import fit as fit

_HOMES = {
    "build_network": "build",
    "Diagnosis": "diagnosis",
    "diagnose": "diagnosis",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "Epoch": "history",
    "History": "history",
    "Gain": "initialisation",
    "initialise": "initialisation",
    "NetworkSettings": "recipe",
    "RateRegulariser": "recipe",
    "Recipe": "recipe",
    "TrainSettings": "recipe",
    "read_recipe": "recipe",
    "fit": "trainer",
}

__all__ = [
    "Diagnosis",
    "Epoch",
    "Evaluation",
    "Gain",
    "History",
    "NetworkSettings",
    "RateRegulariser",
    "Recipe",
    "TrainSettings",
    "build_network",
    "diagnose",
    "evaluate",
    "fit",
    "initialise",
    "losses",
    "read_recipe",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that reading a recipe does not import torch."""
    if name == "losses":
        return import_module(f"{__name__}.losses")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
