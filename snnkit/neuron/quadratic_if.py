"""Quadratic integrate-and-fire."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def quadratic_if(*, reset: Literal["soft", "hard"] = "hard") -> Neuron:
    """Return the QIF neuron with rest `v_rest` and critical voltage `v_c` (Gerstner et al. 2014, ch. 5.3).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
    """
    return Neuron(
        name="quadratic_if",
        states={"v": 0.0},
        params={
            "tau": Param(2.0, low=1.0),
            "a0": Param(1.0, low=0.0),
            "v_rest": Param(0.0),
            "v_c": Param(0.8),
            "theta": Param(1.0),
            **({"v_reset": Param(-0.1)} if reset == "hard" else {}),
        },
        update=["v = v + (x + a0 * (v - v_rest) * (v - v_c)) / tau"],
        spike="v - theta",
        reset=[RESET[reset]],
        reference="Gerstner et al., Neuronal Dynamics, 2014, chapter 5.3",
    )
