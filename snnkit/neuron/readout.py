"""Leaky readout: a membrane that never fires."""

from snnkit.neuron.description import Neuron, Param


def readout(*, input_decay: bool = True) -> Neuron:
    """Return the leaky readout, whose output is its membrane (Bellec et al. 2018).

    Args:
        input_decay: whether the input is divided by `tau` as the membrane is.
    """
    return Neuron(
        name="readout",
        states={"v": 0.0},
        params={"tau": Param(2.0, low=1.0)},
        update=["v = v + (x - v) / tau" if input_decay else "v = v - v / tau + x"],
        reference="Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, 2018",
    )
