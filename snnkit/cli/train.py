"""`snnkit train` and `snnkit evaluate`: from a recipe to a stored network, and back to its figures."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import snnkit
from snnkit.cli.console import standard
from snnkit.cli.sequences import sequences
from snnkit.cli.stored import NOTED, stored
from snnkit.errors import RecipeError
from snnkit.files import save_results, to_bytes
from snnkit.train import Recipe, TrainSettings, build_network, fit, read_recipe
from snnkit.train import evaluate as measure
from snnkit.train.history import Epoch, History

_SAMPLES = 256


def train(path: Path, *, root: Path | None, folder: Path | None, resume: bool) -> None:
    """Train what a recipe describes; write the network, its history and its figures."""
    console = standard()
    recipe = read_recipe(path)
    target = folder or Path(recipe.output.folder)
    data = snnkit.data.load(recipe.data.name, root or recipe.data.root)
    inputs = sequences(data, recipe.data)
    net = build_network(recipe.network, seed=recipe.train.seed)
    x, lengths = inputs.padded(data.train, _SAMPLES, torch.Generator().manual_seed(recipe.train.seed))
    _check_input(net, x)
    # What could not be stored at the end is refused before it is trained.
    to_bytes(net)
    if recipe.network.rate is not None:
        snnkit.initialise(net, x, rate=recipe.network.rate, lengths=lengths)

    def report(epoch: Epoch) -> None:
        console.print(
            f"epoch {epoch.epoch:3}  loss {epoch.train_loss:.4f}  accuracy {epoch.train_accuracy:.1%}  "
            f"validation {epoch.validation_accuracy or 0:.1%}  {epoch.seconds:.1f} s",
            highlight=False,
        )

    validation = inputs.of(data.validation)
    options: dict[str, Any] = {"settings": recipe.train, "encode": inputs.encode, "folder": target}
    try:
        history = fit(net, inputs.of(data.train), validation=validation, resume=resume, on_epoch=report, **options)
    except KeyboardInterrupt:
        console.print("stopped; the same command with --resume goes on from the last checkpoint")
        raise
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        return
    found = measure(net, validation, encode=inputs.encode, mode=_mode(recipe.train), seed=recipe.train.seed)
    _write(net, history, target, metadata=_notes(recipe), accuracy=found.accuracy)
    console.print(f"validation accuracy {found.accuracy:.2%} at epoch {history.best}; wrote {target / 'net.h5'}")
    console.print(f"next: snnkit evaluate {shlex.quote(str(target / 'net.h5'))}")


def _write(net: snnkit.Network, history: History, folder: Path, *, metadata: dict[str, Any], accuracy: float) -> None:
    """Write a trained network, and its history and figures beside it."""
    snnkit.save(net, folder / "net.h5", metadata=metadata)
    columns = [field.name for field in dataclasses.fields(history.epochs[0])]
    table = {name: [value for value in history[name] if value is not None] for name in columns}
    save_results(folder / "results.h5", {"history": table, "validation_accuracy": accuracy})


def _check_input(net: snnkit.Network, x: Tensor) -> None:
    """Raise RecipeError where a network does not take sequences like x."""
    try:
        with torch.no_grad():
            net(x[:, :1])
    except RuntimeError as error:
        reason = "; ".join([str(error).splitlines()[0], *getattr(error, "__notes__", ())])
        flat = x.ndim == 3 or isinstance(net[0], nn.Flatten)
        hint = "" if flat else f"; a first layer Flatten makes {math.prod(x.shape[2:])} features of them"
        raise RecipeError(
            f"the layers refuse inputs of {list(x.shape[2:])} per step and sample: {reason}{hint}"
        ) from None


def evaluate(model: Path, *, data: str | None, split: str, root: Path | None) -> None:
    """Print what a stored network does on a split of a data set."""
    found = stored(model, data=data, split=split, root=root)
    net, inputs = found.net, found.inputs
    part = getattr(found.data, split)
    _check_input(net, inputs.first(part, 1, torch.Generator()))
    done = measure(net, inputs.of(part), encode=inputs.encode, mode=found.mode)
    table = Table(title=f"{model} on {found.name}, {split}", title_justify="left", show_header=False, box=None)
    table.add_row("samples", str(done.samples))
    table.add_row("accuracy", f"{done.accuracy:.2%}")
    for steps in sorted({1, len(done.accuracy_over_time) // 2, len(done.accuracy_over_time)} - {0}):
        table.add_row(f"accuracy after {steps} steps", f"{done.accuracy_over_time[steps - 1]:.2%}")
    table.add_row("spikes per sample", f"{done.spikes_per_sample:.1f}")
    standard().print(table)


def _notes(recipe: Recipe) -> dict[str, Any]:
    data = {key: getattr(recipe.data, key) for key in NOTED}
    noted = {key: value for key, value in data.items() if value is not None}
    return noted | {"data": recipe.data.name, "read": _mode(recipe.train), "seed": recipe.train.seed}


def _mode(settings: TrainSettings) -> str:
    return settings.read or (settings.loss if isinstance(settings.loss, str) else "rate")
