"""LIF with an absolute refractory period."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def refractory_lif(*, reset: Literal["soft", "hard"] = "hard") -> Neuron:
    """Return the LIF neuron that is held for `period` steps after a spike (Gerstner & Kistler 2002).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
    """
    return Neuron(
        name="refractory_lif",
        states={"v": 0.0, "wait": 0.0},
        params={
            "tau": Param(2.0, low=1.0),
            "theta": Param(1.0),
            "period": Param(2.0, low=0.0),
            **({"v_reset": Param(0.0)} if reset == "hard" else {}),
        },
        update=["ready = wait < 1", "v = v + ready * ((x - v) / tau)"],
        spike="where(ready >= 1, v - theta, -1)",
        reset=[RESET[reset], "wait = s * period + (1 - s) * max(wait - 1, 0)"],
        reference="Gerstner & Kistler, Spiking Neuron Models, 2002",
    )
