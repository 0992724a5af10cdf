"""`snnkit train`: from a recipe to a stored network, its history and its figures."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import snnkit
from snnkit.cli.augmentation import check_masks
from snnkit.cli.console import standard
from snnkit.cli.evaluate import check_input
from snnkit.cli.sequences import check_step, sequences
from snnkit.cli.stored import NOTED
from snnkit.data import Card
from snnkit.errors import RecipeError
from snnkit.files import save_results, to_bytes
from snnkit.files.container import write_file
from snnkit.train import Recipe, TrainSettings, build_network, fit, read_recipe
from snnkit.train import evaluate as measure
from snnkit.train.checked import shown
from snnkit.train.checkpoint import has_checkpoints
from snnkit.train.history import Epoch, History
from snnkit.train.layers import neuron_layer

KEPT = "recipe.toml"
"""The recipe of a run, in its folder."""

_SAMPLES = 256


def train(path: Path, *, root: Path | None, folder: Path | None, resume: bool) -> None:
    """Train what a recipe describes; write the network, its history and its figures."""
    console = standard()
    recipe = read_recipe(path)
    target = folder or Path(recipe.output.folder)
    data = snnkit.data.load(recipe.data.name, root or recipe.data.root)
    inputs = sequences(data, recipe.data)
    net = build_network(recipe.network, seed=recipe.train.seed)
    check_step(data.train, recipe.data, _SAMPLES)
    x, lengths = inputs.padded(data.train, _SAMPLES, torch.Generator().manual_seed(recipe.train.seed))
    _check_output(net, check_input(net, x), recipe, data.card)
    check_masks(recipe.data, x, lengths)
    # What could not be stored at the end is refused before it is trained.
    to_bytes(net)
    rate = recipe.network.rate
    if rate is not None and not snnkit.initialise(net, x, rate=rate, lengths=lengths):
        raise RecipeError(
            f"[network] rate is {rate} and no layer with weights leads to one that spikes; leave rate out"
        )
    _begin(path, recipe, target, resume=resume)

    def report(epoch: Epoch) -> None:
        console.print(
            f"epoch {epoch.epoch:3}  loss {epoch.train_loss:.4f}  accuracy {epoch.train_accuracy:.1%}  "
            f"validation {epoch.validation_accuracy or 0:.1%}  {epoch.seconds:.1f} s",
            highlight=False,
        )

    validation = inputs.of(data.validation)
    options: dict[str, Any] = {"settings": recipe.train, "encode": inputs.encode, "folder": target}
    try:
        history = fit(net, inputs.varied(data.train), validation=validation, resume=resume, on_epoch=report, **options)
    except KeyboardInterrupt:
        console.print("stopped; the same command with --resume goes on from the last checkpoint")
        raise
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        return
    found = measure(net, validation, encode=inputs.encode, mode=_mode(recipe.train), seed=recipe.train.seed)
    _write(net, history, target, recipe=recipe, accuracy=found.accuracy)
    console.print(f"validation accuracy {found.accuracy:.2%} at epoch {history.best}; wrote {target / 'net.h5'}")
    console.print(f"next: snnkit evaluate {shlex.quote(str(target / 'net.h5'))}")


def _check_output(net: snnkit.Network, y: Tensor, recipe: Recipe, card: Card) -> None:
    """Raise RecipeError where outputs y [T, 1, …] are not one for each class, or not spikes and read as such."""
    classes = len(card.classes)
    if y.ndim != 3 or y.shape[2] != classes:
        raise RecipeError(
            f"the layers answer with {list(y.shape[2:])} per step and sample and {card.name} has {classes} classes; "
            f"needed is [{classes}]: type out = {classes} in the last layer with weights"
        )
    last: nn.Module = net
    while isinstance(last, snnkit.Network):
        last = last[-1]
    neurons = neuron_layer(last)
    if "first_spike" in (recipe.train.loss, recipe.train.read) and (neurons is None or not neurons.neuron.spiking):
        raise RecipeError(
            '[train] first_spike reads spikes, and the last layer of the network has none: type loss = "rate", or '
            'add e.g. {type = "LIF"}'
        )


def _begin(path: Path, recipe: Recipe, folder: Path, *, resume: bool) -> None:
    """Keep the recipe of a new run beside its results, or compare the one that a run began with.

    Raises:
        RecipeError: a run that would go on with other data or another network than it began with.
    """
    kept = folder / KEPT
    if not has_checkpoints(folder / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(kept, path.read_bytes())
    elif resume and kept.is_file():
        then, now = (_fixed(found) for found in (read_recipe(kept), recipe))
        for key in then | now:
            if then.get(key) != now.get(key):
                raise RecipeError(
                    f"the run in {folder} began with {key} = {shown(then.get(key))} and {path} has "
                    f"{shown(now.get(key))}; type the same to continue it, or give another folder"
                )


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """Return what a run cannot change on its way, by dotted names; `fit` itself compares the section [train]."""
    settings = recipe.to_dict()
    settings["data"].pop("root")
    return _flat({"data": settings["data"], "network": settings["network"]})


def _flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return nested tables and lists of tables as one table of dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = {str(place): item for place, item in enumerate(value)}
        found |= _flat(value, f"{within}{key}.") if isinstance(value, Mapping) else {f"{within}{key}": value}
    return found


def _write(net: snnkit.Network, history: History, folder: Path, *, recipe: Recipe, accuracy: float) -> None:
    """Write a trained network, and its history and figures beside it, each with what it came from."""
    snnkit.save(net, folder / "net.h5", metadata=_notes(recipe))
    columns = [field.name for field in dataclasses.fields(history.epochs[0])]
    table = {name: [value for value in history[name] if value is not None] for name in columns}
    results = {"history": table, "validation_accuracy": accuracy}
    save_results(folder / "results.h5", results, metadata={"recipe": recipe.to_dict()})


def _notes(recipe: Recipe) -> dict[str, Any]:
    data = recipe.to_dict()["data"]
    noted = {key: data[key] for key in (*NOTED, "augment") if data[key] is not None}
    return noted | {"data": recipe.data.name, "read": _mode(recipe.train), "seed": recipe.train.seed}


def _mode(settings: TrainSettings) -> str:
    return settings.read or (settings.loss if isinstance(settings.loss, str) else "rate")
