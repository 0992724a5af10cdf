"""Adaptive-threshold leaky integrate-and-fire."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def alif(*, reset: Literal["soft", "hard"] = "soft") -> Neuron:
    """Return the ALIF neuron, whose threshold rises by `beta` a spike and decays with `tau_a` (Bellec et al. 2018).

    Args:
        reset: `soft` subtracts the resting threshold, `hard` sets the membrane to `v_reset`.
    """
    return Neuron(
        name="alif",
        states={"v": 0.0, "a": 0.0},
        params={
            "tau": Param(2.0, low=1.0),
            "tau_a": Param(20.0, low=1.0),
            "beta": Param(0.2),
            "theta": Param(1.0),
            **({"v_reset": Param(0.0)} if reset == "hard" else {}),
        },
        update=["v = v + (x - v) / tau", "a = a - a / tau_a"],
        spike="v - (theta + beta * a)",
        reset=[RESET[reset], "a = a + s"],
        reference="Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, 2018",
    )
