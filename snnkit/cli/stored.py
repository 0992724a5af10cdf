"""A stored network together with the data that it was trained on, as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snnkit
from snnkit.cli.sequences import Sequences, sequences
from snnkit.data import Dataset
from snnkit.errors import DataError, nearest
from snnkit.files import about
from snnkit.train.recipe import DataSettings

SPLITS = ("train", "validation", "test")
NOTED = ("encoder", "steps", "options", "step", "pool", "binning", "silence")
"""Settings of the data that a network's file keeps, so that it can be measured in the same way."""


@dataclass(frozen=True, eq=False)
class Noted:
    """The data that a network's file names.

    Attributes:
        name: of the data set.
        data: the data set.
        inputs: how it becomes sequences; what training varied stays as it is.
        notes: what the file says about itself.
    """

    name: str
    data: Dataset
    inputs: Sequences
    notes: Mapping[str, Any]

    @property
    def mode(self) -> str:
        """How the outputs are read."""
        return self.notes.get("read", "rate")


@dataclass(frozen=True, eq=False)
class Stored(Noted):
    """A network and its data.

    Attributes:
        net: the network.
    """

    net: snnkit.Network


def stored(model: Path, *, data: str | None, split: str, root: Path | None) -> Stored:
    """Read a network of real numbers and its data; arguments and errors are those of `noted`."""
    net = snnkit.load(model)
    found = noted(model, data=data, split=split, root=root)
    return Stored(found.name, found.data, found.inputs, found.notes, net)


def noted(model: Path, *, data: str | None, split: str, root: Path | None) -> Noted:
    """Read what a file says about the data of its network, and those.

    Args:
        model: the file, of any kind of network.
        data: name of a data set, in place of what the file says.
        split: the part that is meant, to be refused at once if there is none of that name.
        root: of downloaded data.
    Raises:
        DataError: no data set is named, or no such split; what reading the file and the data raises.
    """
    notes = about(model).metadata
    name = data or notes.get("data")
    if not isinstance(name, str):
        raise DataError(f"{model} does not say what it was trained on; name it with --data")
    if split not in SPLITS:
        raise DataError(f"no split {split!r}{nearest(split, SPLITS)}; known: {', '.join(SPLITS)}")
    loaded = snnkit.data.load(name, root)
    settings = DataSettings(name=name, **{key: notes[key] for key in NOTED if key in notes})
    return Noted(name, loaded, sequences(loaded, settings), notes)
