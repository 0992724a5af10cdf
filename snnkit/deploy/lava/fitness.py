"""What Lava cannot run as the emulator does, told before it starts."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from snnkit.deploy.integer import INPUT, Connection, IntegerNetwork
from snnkit.deploy.synapses import Conv, Sparse
from snnkit.errors import InputError

_SUM = 2**31 - 1


def check(chip: IntegerNetwork, x: Tensor) -> None:
    """Raise InputError for a network that falls apart, or for sums that leave the 32 bits that Lava has for them."""
    apart = [population.name for population in chip.populations if population.name not in _connected(chip)]
    if apart:
        raise InputError(
            f"Lava runs what is connected to {chip.output.name!r}, the last population, and {', '.join(apart)} is not; "
            "take it out, or connect it"
        )
    graded = int(x.abs().max()) if any(part.graded for part in chip.connections) else 1
    for connection in chip.connections:
        most = graded if connection.graded and connection.source == INPUT else 1
        if _weight(connection) * most > _SUM:
            raise InputError(
                f"inputs up to {most:,} times the weights of connection {connection.name!r} sum up to more than the 32 "
                f"bits that Lava has for a step; at most {_SUM // _weight(connection):,} is needed"
            )


def _connected(chip: IntegerNetwork) -> set[str]:
    """Return the names of the last population and of all that hangs together with it."""
    found, before = {chip.output.name}, 0
    while len(found) > before:
        before = len(found)
        found |= {name for c in chip.connections if {c.source, c.target} & found for name in (c.source, c.target)}
    return found


def _weight(connection: Connection) -> int:
    """Return the largest sum of an output's weights, all taken as positive."""
    part, weight = connection.synapses, np.abs(connection.effective.astype(np.int64))
    if isinstance(part, Sparse):
        total = np.append(0, np.cumsum(weight))
        return int(np.diff(total[part.start]).max())
    return int(weight.sum((1, 2, 3) if isinstance(part, Conv) else 1).max())
