"""What a neuron of the chip does in a step, written once for every kernel.

The lines are Python and, with a semicolon each, C. `u` and `v` are its current and membrane, `a` is what arrived, and
`s` whether it fires; each target has the functions that they call.
"""

RULE = (
    "u = wrap24(add(decay(u, du + 1), times64(a)))",
    "v = clip_v(add(add(decay(v, dv), u), bias))",
    "s = fires(v, vth)",
    "v = v * (1 - s)",
)
"""The current takes what arrived, the membrane takes the current, and a spike sets the membrane to 0."""

PARAMETERS = ("du", "dv", "bias", "vth")
"""What a neuron has of its own; the bias already multiplied by its power of 2."""
