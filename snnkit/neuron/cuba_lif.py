"""Current-based LIF: a synaptic current that decays, and a membrane that it drives."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param
from snnkit.neuron.integrate_fire import RESET


def cuba_lif(*, reset: Literal["soft", "hard"] = "soft", input_decay: bool = False) -> Neuron:
    """Return the CUBA-LIF neuron; the membrane takes the current of the same step (Davies et al. 2018).

    Args:
        reset: `soft` subtracts the threshold, `hard` sets the membrane to `v_reset`.
        input_decay: whether the current is divided by `tau_mem` on its way into the membrane.
    """
    return Neuron(
        name="cuba_lif",
        states={"i": 0.0, "v": 0.0},
        params={
            "tau_syn": Param(2.0, low=1.0),
            "tau_mem": Param(4.0, low=1.0),
            "theta": Param(1.0),
            **({"v_reset": Param(0.0)} if reset == "hard" else {}),
        },
        update=["i = i - i / tau_syn + x", "v = v + (i - v) / tau_mem" if input_decay else "v = v - v / tau_mem + i"],
        spike="v - theta",
        reset=[RESET[reset]],
        reference="Davies et al., Loihi, IEEE Micro 2018",
    )
