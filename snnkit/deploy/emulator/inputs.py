"""What may enter an integer network: whole numbers of the right shape, and a state of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snnkit.deploy.integer import INPUT, IntegerNetwork, State
from snnkit.errors import InputError, nearest

_LARGEST = 2**23


def check_input(chip: IntegerNetwork, x: Tensor) -> None:
    """Raise InputError unless x is [T, B, features…] of spikes, or whole numbers where connections are graded."""
    if not isinstance(x, Tensor) or x.ndim < 3 or tuple(x.shape[2:]) != chip.inputs or 0 in x.shape:
        came = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"the chip got {came} and needs a tensor [T, B, {', '.join(map(str, chip.inputs))}]")
    check_plain(x, "the input of the chip")
    x = x.detach()
    graded = any(connection.graded for connection in chip.connections if connection.source == INPUT)
    low, high = (-_LARGEST, _LARGEST) if graded else (0, 1)
    whole = x if not x.is_floating_point() else x.double()
    least, most = float(whole.min()), float(whole.max())
    if not low <= least <= most <= high or (x.is_floating_point() and bool((whole != whole.floor()).any())):
        wanted = f"whole numbers in {low}..{high}" if graded else "0 and 1"
        raise InputError(
            f"the chip got numbers from {least:g} to {most:g}; its input is {wanted}: encode it as spikes, or quantise "
            "on calibration data like this"
        )


def check_plain(x: Tensor, what: str) -> None:
    """Raise InputError for a tensor of complex numbers, a sparse one, or one without values."""
    if x.is_complex() or x.is_meta or x.layout != torch.strided:
        came = f"{x.dtype}, {x.layout}, on {x.device}"
        raise InputError(f"{what} is {came}; a dense tensor of whole numbers is needed, such as x.to_dense().float()")


def check_names(chip: IntegerNetwork, names: Sequence[str]) -> None:
    """Raise InputError for a name that the network does not have."""
    known = [f"{population.name}{part}" for population in chip.populations for part in ("", ".u", ".v")]
    for name in names:
        if name not in known:
            raise InputError(f"nothing to record as {name!r}{nearest(name, known)}; known: {', '.join(known)}")


def check_state(chip: IntegerNetwork, x: Tensor, state: State | None) -> State:
    """Return the state that a run starts from, int32 on the device of x, fresh if None is given."""
    batch = x.shape[1]
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        p.name: {"u": (batch, p.size), "v": (batch, p.size)} for p in chip.populations
    }
    for c in chip.connections:
        shapes[c.name] = {"pending": (batch, c.synapses.n_outputs, c.max_delay + 1)}
    if state is None:
        fresh = {n: {k: torch.zeros(s, dtype=torch.int32) for k, s in parts.items()} for n, parts in shapes.items()}
        for population in chip.populations:
            fresh[population.name]["v"] += torch.from_numpy(population.v_start.copy())
        return {n: {k: v.to(x.device) for k, v in parts.items()} for n, parts in fresh.items()}
    if not isinstance(state, dict) or set(state) != set(shapes):
        came = sorted(state) if isinstance(state, dict) else type(state).__name__
        raise InputError(f"the state of this network is a dict of {sorted(shapes)}, not {came}")
    for name, parts in shapes.items():
        found = {k: (tuple(v.shape), v.dtype, v.device) for k, v in state[name].items()}
        if found != {k: (shape, torch.int32, x.device) for k, shape in parts.items()}:
            raise InputError(
                f"the state of {name!r} must hold {parts}, int32 on {x.device}; pass state=None to start afresh"
            )
    return {name: {k: v.clone() for k, v in parts.items()} for name, parts in state.items()}
