"""Izhikevich's simple model, in millivolts and milliseconds."""

from snnkit.neuron.description import Neuron, Param


def izhikevich() -> Neuron:
    """Return the Izhikevich neuron, Euler steps of `dt` ms; the defaults spike regularly (Izhikevich 2003).

    Its reset is hard by definition: the quadratic upstroke overshoots, and subtracting would not bring it back.
    """
    return Neuron(
        name="izhikevich",
        states={"v": -65.0, "u": -13.0},
        params={
            "a": Param(0.02),
            "b": Param(0.2),
            "c": Param(-65.0),
            "d": Param(8.0),
            "theta": Param(30.0),
            "dt": Param(0.5, low=0.0, high=1.0),
        },
        update=["v = v + dt * (0.04 * v**2 + 5 * v + 140 - u + x)", "u = u + dt * (a * (b * v - u))"],
        spike="v - theta",
        reset=["v = (1 - s) * v + s * c", "u = u + s * d"],
        reference="Izhikevich, Simple model of spiking neurons, IEEE TNN 2003",
    )
