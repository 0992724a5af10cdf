"""Write a stored network in another form: `EXPORTERS` names the options and what each writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import snnkit
from snnkit import deploy
from snnkit.cli.console import standard
from snnkit.deploy import IntegerNetwork
from snnkit.errors import BackendError, InputError
from snnkit.files import about


@dataclass(frozen=True)
class Options:
    """What exporters need to know beside the file.

    Args:
        dt: seconds for one step.
        shape: features of one step of the input, such as "2,34,34"; None where the first layer tells them.
        soft_reset: of `snnkit.deploy.nir.save`.
    """

    dt: float = 1e-3
    shape: str | None = None
    soft_reset: str = "refuse"

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The shape as numbers; raises InputError where it is none."""
        if self.shape is None:
            return None
        words = self.shape.split(",")
        if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
            raise InputError(f"--shape is {self.shape!r}; sizes are needed, such as --shape 2,34,34")
        return tuple(int(word) for word in words)


def export(model: Path, targets: Mapping[str, Path | None], options: Options = Options()) -> None:
    """Write a stored network to each target that is given, and print what was written.

    Args:
        model: a file of `snnkit.save` or `snnkit.deploy.save`.
        targets: names of `EXPORTERS` to files or folders; those that are None are left out.
        options: for those that need more.
    """
    wanted = {name: path for name, path in targets.items() if path is not None}
    if not wanted:
        known = ", ".join(f"--{name}" for name in EXPORTERS)
        raise InputError(f"export needs to know where to; give one of {known}")
    for name, path in wanted.items():
        standard().print(EXPORTERS[name](model, path, options), soft_wrap=True)


def integers(model: Path, option: str) -> IntegerNetwork:
    """Return the integer network of a file; raises InputError for one of real numbers, with what to type."""
    if about(model).kind == "network":
        raise InputError(
            f"{model} holds a network of real numbers and --{option} writes integers; type "
            f"snnkit deploy {model} --out chip.h5, then snnkit export chip.h5 --{option} …"
        )
    return deploy.load(model)


def _nir(model: Path, path: Path, options: Options) -> str:
    if about(model).kind != "network":
        raise InputError(f"{model} holds integers and --nir writes real numbers; give the network that they came from")
    net = snnkit.load(model)
    deploy.nir.save(net, path, dt=options.dt, shape=options.sizes, soft_reset=options.soft_reset)
    return f"{path}: NIR with steps of {options.dt:g} s; read back, and the spikes are the same"


def _netx(model: Path, path: Path, options: Options) -> str:
    deploy.netx.save(integers(model, "netx"), path)
    return f"{path}: a network for lava-dl's NetX"


def _c(model: Path, folder: Path, options: Options) -> str:
    written = deploy.c99.save(integers(model, "c"), folder)
    try:
        sizes = deploy.c99.measure(folder)
    except BackendError as error:
        return f"{written}\nnot compiled: {error}"
    listed = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
    return f"{written}\ncompiled for size on this machine: {listed} bytes"


EXPORTERS: dict[str, Callable[[Path, Path, Options], str]] = {"c": _c, "nir": _nir, "netx": _netx}
"""Option to what writes a file's network there and returns what to print."""
