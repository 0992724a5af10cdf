"""Exponential integrate-and-fire."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def exponential_if(*, reset: Literal["soft", "hard"] = "hard") -> Neuron:
    """Return the EIF neuron with sharpness `delta_t` and rheobase threshold `v_t` (Fourcaud-Trocmé et al. 2003).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
    """
    return Neuron(
        name="exponential_if",
        states={"v": 0.0},
        params={
            "tau": Param(2.0, low=1.0),
            "delta_t": Param(1.0, low=1e-3),
            "v_rest": Param(0.0),
            "v_t": Param(0.8),
            "theta": Param(1.0),
            **({"v_reset": Param(-0.1)} if reset == "hard" else {}),
        },
        update=["v = v + (x + v_rest - v + delta_t * exp((v - v_t) / delta_t)) / tau"],
        spike="v - theta",
        reset=[RESET[reset]],
        reference="Fourcaud-Trocmé et al., How spike generation mechanisms determine the neuronal response, 2003",
    )
