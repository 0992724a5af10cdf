"""Parametric leaky integrate-and-fire: the membrane constant is learnt."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def plif(*, reset: Literal["soft", "hard"] = "soft", input_decay: bool = True) -> Neuron:
    """Return the PLIF neuron, 1 / tau = sigmoid(w) with `w` learnt by default (Fang et al. 2021).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
        input_decay: whether the input is multiplied by sigmoid(w) as the membrane is.
    """
    return Neuron(
        name="plif",
        states={"v": 0.0},
        params={
            "w": Param(0.0, learn=True),
            "theta": Param(1.0),
            **({"v_reset": Param(0.0)} if reset == "hard" else {}),
        },
        update=["v = v + (x - v) * sigmoid(w)" if input_decay else "v = v - v * sigmoid(w) + x"],
        spike="v - theta",
        reset=[RESET[reset]],
        reference="Fang et al., Incorporating learnable membrane time constant, ICCV 2021",
    )
