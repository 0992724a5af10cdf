"""The chip's arithmetic, bit for bit: a readable reference, and kernels that are tested equal to it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from snnkit.deploy.emulator import cpu, reference
from snnkit.deploy.emulator.inputs import check_input, check_names, check_state
from snnkit.deploy.integer import IntegerNetwork, State
from snnkit.errors import BackendError, nearest

BACKENDS = ("auto", "reference", "cpu", "cuda")


def run(
    chip: IntegerNetwork, x: Tensor, state: State | None, names: Sequence[str], backend: str
) -> tuple[dict[str, Tensor], State]:
    """Run a network over time; arguments and results as `IntegerNetwork.record` and `.run` have them."""
    if backend not in BACKENDS:
        raise BackendError(f"no backend {backend!r}{nearest(backend, BACKENDS)}; known: {', '.join(BACKENDS)}")
    check_input(chip, x)
    check_names(chip, names)
    state = check_state(chip, x, state)
    if backend == "reference" or (backend == "auto" and cpu.order(chip) is None):
        return reference.run(chip, x, state, names)
    if cpu.order(chip) is None:
        raise BackendError("the populations are connected in a loop of several; type backend='reference'")
    return cpu.run(chip, x, state, names)
