"""What a job asks for, and the files of its answer."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """A network to run.

    Args:
        folder: where its files are and its answers go.
        kind: "network" for a file of `snnkit.deploy.save`, "netx" for a `.net` of NetX.
        network: the network's file, in the folder.
        input: the input's file, in the folder: [samples, steps, features], features in torch's order.
        record: names of populations for their spikes, with `.u` or `.v` behind for their state after each step.
        token: a word that is in the names of all shared memory of this job.
        hardware: whether to run on Loihi 2 and not on its simulation.
        options: for NetX, keyword arguments of its Network.
        process: the worker itself, and none of what it forks.
    """

    folder: Path
    kind: str
    network: str
    input: str
    token: str
    record: tuple[str, ...] = ()
    hardware: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    process: int = field(default_factory=os.getpid)

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Return the job of a folder."""
        fields = json.loads((folder / "job.json").read_text())
        fields["record"] = tuple(fields.get("record", ()))
        return cls(folder=folder, **fields)

    @property
    def network_path(self) -> str:
        """The network's file."""
        return str(self.folder / self.network)

    @property
    def input_path(self) -> str:
        """The input's file."""
        return str(self.folder / self.input)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Samples, steps and features of the input."""
        samples, steps, features = np.load(self.input_path, mmap_mode="r").shape
        return samples, steps, features

    def answer(self, name: str, shape: tuple[int, ...], kind: type = np.int32) -> str:
        """Make a file of zeros for an answer, and return its path."""
        path = self.folder / f"{name}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()
        return str(path)

    def fail(self, reason: str) -> None:
        """Write why the job failed, whole or not at all, unless an earlier reason is there."""
        aside = self.folder / f"failure.{os.getpid()}.part"
        aside.write_text(reason)
        try:
            os.link(aside, self.folder / "failure.txt")
        except FileExistsError:
            pass
        finally:
            aside.unlink()
