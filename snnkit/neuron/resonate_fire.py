"""Resonate-and-fire: a damped oscillator that fires at the top of its swing."""

from typing import Literal

from snnkit.neuron.description import Neuron, Param


def resonate_fire(*, reset: Literal["soft", "hard"] = "soft") -> Neuron:
    """Return the RF neuron, integrated exactly over one step (Izhikevich 2001).

    Args:
        reset: `soft` subtracts the threshold from the voltage-like part, `hard` sets both parts to 0.
    """
    hard = ["re = (1 - s) * re", "im = (1 - s) * im"]
    return Neuron(
        name="resonate_fire",
        states={"re": 0.0, "im": 0.0},
        params={"omega": Param(0.5), "decay": Param(0.9, low=0.0, high=1.0), "theta": Param(1.0)},
        update=[
            "turned = decay * (cos(omega) * re - sin(omega) * im) + x",
            "im = decay * (sin(omega) * re + cos(omega) * im)",
            "re = turned",
        ],
        spike="im - theta",
        reset=["im = im - s * theta"] if reset == "soft" else hard,
        reference="Izhikevich, Resonate-and-fire neurons, Neural Networks 2001",
    )
