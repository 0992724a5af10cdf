"""The chip's arithmetic, bit for bit: a readable reference, and kernels that are tested equal to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snnkit.codegen import backends
from snnkit.deploy.emulator import cpu, cuda, reference
from snnkit.deploy.emulator.inputs import check_input, check_names, check_state
from snnkit.deploy.integer import IntegerNetwork, State
from snnkit.errors import BackendError


def run(
    chip: IntegerNetwork, x: Tensor, state: State | None, names: Sequence[str], backend: str
) -> tuple[dict[str, Tensor], State]:
    """Run a network over time; arguments and results as `IntegerNetwork.record` and `.run` have them."""
    backends.check(backend)
    check_input(chip, x)
    check_names(chip, names)
    return _runner(chip, x, backend)(chip, x, check_state(chip, x, state), names)


def _runner(chip: IntegerNetwork, x: Tensor, backend: str) -> Callable[..., tuple[dict[str, Tensor], State]]:
    """Return the function of the backend that runs; raises BackendError where one that is asked for cannot."""
    chosen, _ = backends.resolve(backend, x.device, torch.float32)
    if chosen == "cuda":
        return cuda.run
    if chosen == "reference":
        return reference.run
    if cpu.order(chip) is not None:
        return cpu.run
    if backend == "auto":
        return reference.run
    raise BackendError(
        "backend 'cpu' takes no loops of several populations, nor two connections from one to itself; "
        "type backend='auto' for the reference"
    )
