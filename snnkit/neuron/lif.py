"""Leaky integrate-and-fire."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def lif(*, reset: Literal["soft", "hard"] = "soft", input_decay: bool = True) -> Neuron:
    """Return the LIF neuron with membrane time constant `tau` in steps (Gerstner & Kistler 2002).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
        input_decay: whether the input is divided by `tau` as the membrane is.
    """
    leak = "v = v + (x - (v - v_rest)) / tau" if input_decay else "v = v - (v - v_rest) / tau + x"
    return Neuron(
        name="lif",
        states={"v": 0.0},
        params={
            "tau": Param(2.0, low=1.0),
            "theta": Param(1.0),
            "v_rest": Param(0.0),
            **({"v_reset": Param(0.0)} if reset == "hard" else {}),
        },
        update=[leak],
        spike="v - theta",
        reset=[RESET[reset]],
        reference="Gerstner & Kistler, Spiking Neuron Models, 2002",
    )
