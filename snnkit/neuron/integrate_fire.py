"""Integrate-and-fire: the membrane sums its input."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param

RESET = {"soft": "v = v - s * theta", "hard": "v = (1 - s) * v + s * v_reset"}


def integrate_fire(*, reset: Literal["soft", "hard"] = "soft") -> Neuron:
    """Return the IF neuron (Lapicque 1907; Abbott 1999).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
    """
    return Neuron(
        name="integrate_fire",
        states={"v": 0.0},
        params={"theta": Param(1.0), **({"v_reset": Param(0.0)} if reset == "hard" else {})},
        update=["v = v + x"],
        spike="v - theta",
        reset=[RESET[reset]],
        reference="Abbott, Lapicque's introduction of the integrate-and-fire model neuron, 1999",
    )
