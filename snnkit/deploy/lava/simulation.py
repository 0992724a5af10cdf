"""Run integer networks, and files of NetX, on Lava's own models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnkit.deploy import store
from snnkit.deploy.emulator.inputs import check_input, check_names, check_plain
from snnkit.deploy.integer import IntegerNetwork, State
from snnkit.deploy.lava import fitness
from snnkit.deploy.lava.job import answers
from snnkit.errors import InputError
from snnkit.files import container

TIMEOUT = 600.0
"""Seconds that a run may take unless told otherwise."""


def run(
    chip: IntegerNetwork | str | Path, x: Tensor, *, timeout: float = TIMEOUT, hardware: bool = False
) -> tuple[Tensor, State]:
    """Run an integer network on Lava's fixed-point models, as `IntegerNetwork.run` runs it on the emulator.

    The samples of a batch follow one another in one simulation, each from a fresh state.

    Args:
        chip: what `snnkit.deploy.quantise` returns, or a file of `snnkit.deploy.save`.
        x: input [T, B, features…]: 0 and 1, or whole numbers where connections are graded; of any type.
        timeout: seconds after which the simulation is ended.
        hardware: whether to run on Loihi 2 itself, which needs lava-loihi in the worker's environment.
    Returns:
        Spikes of the last population [T, B, features…], uint8, and the state after the last step, each as the
        emulator has them; an empty state on Loihi 2, which shows none.
    Raises:
        MissingPackageError: there is no Lava environment; the message says how to build it.
        BackendError: Lava failed, with its traceback, or did not finish in time.
        InputError: an input that does not fit.

    Example:
        >>> spikes, state = snnkit.deploy.lava.run(chip, x)
    """
    network = integers(chip)
    if hardware:
        return _on_loihi(network, x, timeout=timeout), {}
    traces, state = simulate(network, x, [network.output.name], timeout=timeout)
    return traces[network.output.name], state


def record(
    chip: IntegerNetwork | str | Path, x: Tensor, names: Sequence[str] | None = None, *, timeout: float = TIMEOUT
) -> dict[str, Tensor]:
    """Run on Lava and return what happened inside, as `IntegerNetwork.record` does.

    Args:
        chip, x, timeout: as for `run`.
        names: populations for their spikes, uint8; with `.u` or `.v` behind, for their state after each step, int32;
            all if None.
    Returns:
        Name to sequence [T, B, features…].
    """
    network = integers(chip)
    if names is None:
        names = [f"{population.name}{part}" for population in network.populations for part in ("", ".u", ".v")]
    return simulate(network, x, names, timeout=timeout)[0]


def integers(chip: IntegerNetwork | str | Path) -> IntegerNetwork:
    """Return an integer network as it is, or that of a file; raises InputError for anything else."""
    if isinstance(chip, IntegerNetwork):
        return chip
    if not isinstance(chip, str | Path):
        raise InputError(
            f"Lava runs networks in the chip's integers, and files of them, not {type(chip).__name__}; type chip = "
            "snnkit.deploy.quantise(net, target='loihi2', calibration=x)"
        )
    return store.load(chip)


def simulate(
    chip: IntegerNetwork, x: Tensor, names: Sequence[str], *, timeout: float = TIMEOUT
) -> tuple[dict[str, Tensor], State]:
    """Run on Lava's simulation; return what `names` ask for, and the last state."""
    check_input(chip, x)
    check_names(chip, names)
    fitness.check(chip, x)
    with _job(chip, x, names, timeout=timeout, hardware=False) as folder:
        traces = _traces(chip, folder, names)
        parts = {p.name: ("u", "v") for p in chip.populations} | {c.name: ("pending",) for c in chip.connections}
        state = {
            name: {part: torch.from_numpy(np.load(folder / f"last {name}.{part}.npy")) for part in found}
            for name, found in parts.items()
        }
    return traces, state


def _on_loihi(chip: IntegerNetwork, x: Tensor, *, timeout: float) -> Tensor:
    """Run on Loihi 2, which starts anew for each sample; return the spikes of the last population."""
    check_input(chip, x)
    fitness.check(chip, x)
    name, found = chip.output.name, []
    for sample in range(x.shape[1]):
        with _job(chip, x[:, sample : sample + 1], [name], timeout=timeout, hardware=True) as folder:
            found.append(_traces(chip, folder, [name])[name])
    return torch.cat(found, 1)


@contextlib.contextmanager
def _job(chip: IntegerNetwork, x: Tensor, names: Sequence[str], *, timeout: float, hardware: bool) -> Iterator[Path]:
    job = {"kind": "network", "network": "chip.h5", "record": list(dict.fromkeys(names)), "hardware": hardware}
    with answers(job, partial(store.save, chip), by_sample(x), timeout=timeout) as folder:
        yield folder


def run_netx(
    path: str | Path,
    x: Tensor,
    *,
    timeout: float = TIMEOUT,
    reset_interval: int | None = None,
    reset_offset: int = 0,
) -> Tensor:
    """Run a `.net` file as NetX of lava-dl reads it, on Lava's fixed-point models.

    Args:
        path: a `.net` file, such as `snnkit.deploy.netx.save` writes.
        x: input [T, B, features…] of spikes, features in torch's order.
        timeout: seconds after which the simulation is ended.
        reset_interval: steps between two resets of u and v by NetX itself; where it is given, the samples of a batch
            are not kept apart in any other way.
        reset_offset: steps by which these resets come later.
    Returns:
        Spikes of the last layer [T, B, neurons], uint8, neurons in torch's order.
    Raises:
        MissingPackageError: there is no Lava environment.
        FileError: the file is missing or cannot be read.
        BackendError: NetX refused the file, Lava failed, or it did not finish in time.
    """
    options = {} if reset_interval is None else {"reset_interval": reset_interval, "reset_offset": reset_offset}
    job = {"kind": "netx", "network": "chip.net", "options": options}
    if not isinstance(x, Tensor) or x.ndim < 3 or 0 in x.shape:
        raise InputError("NetX needs a tensor [T, B, features…] of spikes")
    check_plain(x, "the input of NetX")
    if bool(((x != 0) & (x != 1)).any()):
        raise InputError("NetX needs spikes, 0 and 1, and the input holds other numbers; encode it")
    content = container.read_file(path)
    with answers(job, lambda copy: copy.write_bytes(content), by_sample(x), timeout=timeout) as folder:
        spikes = np.load(folder / "trace output.npy")
    return torch.from_numpy(spikes.astype(np.uint8)).transpose(0, 1).contiguous()


def by_sample(x: Tensor) -> np.ndarray:
    """Return an input [T, B, features…] as [B, T, features], int32."""
    return np.ascontiguousarray(x.detach().flatten(2).transpose(0, 1).cpu().numpy().astype(np.int32))


def _traces(chip: IntegerNetwork, folder: Path, names: Sequence[str]) -> dict[str, Tensor]:
    shapes, found = {population.name: population.shape for population in chip.populations}, {}
    for name in names:
        values = torch.from_numpy(np.load(folder / f"trace {name}.npy")).transpose(0, 1)
        values = values.to(torch.uint8) if name in shapes else values
        shape = shapes[name if name in shapes else name.rpartition(".")[0]]
        found[name] = values.reshape(*values.shape[:2], *shape).contiguous()
    return found
