"""`snnkit evaluate`: what a stored network does on data, in real numbers or in a chip's integers."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor, nn

import snnkit
from snnkit import deploy
from snnkit.cli.console import standard
from snnkit.cli.stored import noted
from snnkit.deploy.store import KIND
from snnkit.errors import InputError, RecipeError
from snnkit.files import about
from snnkit.train import Evaluation
from snnkit.train import evaluate as measure


def evaluate(model: Path, *, data: str | None, split: str, root: Path | None) -> None:
    """Print what a stored network does on a split of a data set.

    Args:
        model: a file of `snnkit.save`, or of `snnkit.deploy.save`, whose network is measured as the chip computes it.
        data: name of a data set, in place of what the file says.
        split: train, validation or test.
        root: of downloaded data.
    """
    net = deploy.Emulated(deploy.load(model)) if about(model).kind == KIND else snnkit.load(model)
    found = noted(model, data=data, split=split, root=root)
    part = getattr(found.data, split)
    check_input(net, found.inputs.first(part, 1, torch.Generator()))
    done = measure(net, found.inputs.of(part), encode=found.inputs.encode, mode=found.mode)
    standard().print(_table(done, f"{model} on {found.name}, {split}"))


def check_input(net: nn.Module, x: Tensor) -> Tensor:
    """Return a network's outputs for the first of some sequences [T, 1, …]; raise RecipeError where it takes none."""
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            return net(x[:, :1])
    except (RuntimeError, InputError) as error:
        reason = "; ".join([str(error).splitlines()[0], *getattr(error, "__notes__", ())])
        flat = x.ndim == 3 or isinstance(next(net.children(), None), nn.Flatten)
        hint = "" if flat else f"; a first layer Flatten makes {math.prod(x.shape[2:])} features of them"
        raise RecipeError(
            f"the layers refuse inputs of {list(x.shape[2:])} per step and sample: {reason}{hint}"
        ) from None
    finally:
        net.train(training)


def _table(done: Evaluation, title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_row("samples", str(done.samples))
    table.add_row("accuracy", f"{done.accuracy:.2%}")
    over_time = done.accuracy_over_time
    for steps in sorted({1, len(over_time) // 2, len(over_time)} - {0}):
        table.add_row(f"accuracy after {steps} step{'s' * (steps > 1)}", f"{over_time[steps - 1]:.2%}")
    if done.spikes:
        table.add_row("spikes per sample", f"{done.spikes_per_sample:.1f}")
    for name, spikes in done.spikes.items():
        table.add_row(f"  of layer {name}", f"{spikes:.1f}")
    return table
