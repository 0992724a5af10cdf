"""Write a stored network in another form: `EXPORTERS` names the options and what each writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from snnkit import deploy
from snnkit.cli.console import standard
from snnkit.deploy import IntegerNetwork
from snnkit.errors import BackendError, InputError
from snnkit.files import about


def export(model: Path, targets: Mapping[str, Path | None]) -> None:
    """Write a stored network to each target that is given, and print what was written.

    Args:
        model: a file of `snnkit.save` or `snnkit.deploy.save`.
        targets: names of `EXPORTERS` to files or folders; those that are None are left out.
    """
    wanted = {name: path for name, path in targets.items() if path is not None}
    if not wanted:
        options = ", ".join(f"--{name}" for name in EXPORTERS)
        raise InputError(f"export needs to know where to; give one of {options}")
    for name, path in wanted.items():
        standard().print(EXPORTERS[name](model, path), soft_wrap=True)


def integers(model: Path, option: str) -> IntegerNetwork:
    """Return the integer network of a file; raises InputError for one of real numbers, with what to type."""
    if about(model).kind == "network":
        raise InputError(
            f"{model} holds a network of real numbers and --{option} writes integers; type "
            f"snnkit deploy {model} --out chip.h5, then snnkit export chip.h5 --{option} …"
        )
    return deploy.load(model)


def _c(model: Path, folder: Path) -> str:
    written = deploy.c99.save(integers(model, "c"), folder)
    try:
        sizes = deploy.c99.measure(folder)
    except BackendError as error:
        return f"{written}\nnot compiled: {error}"
    listed = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
    return f"{written}\ncompiled for size on this machine: {listed} bytes"


EXPORTERS: dict[str, Callable[[Path, Path], str]] = {"c": _c}
"""Option to what writes a file's network there and returns what to print."""
