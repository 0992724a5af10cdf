"""A network of real numbers in a chip's integers, good for counting and not for running: no scale is searched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnkit.convert.shapes import first_shape
from snnkit.deploy.integer import IntegerNetwork
from snnkit.deploy.quantisation.grid import HIGHEST, UNIT, rounded
from snnkit.deploy.quantisation.lowering import Stage, approximated, lower
from snnkit.network import Network

_LARGEST = 254


def sketch(net: Network, inputs: Sequence[int] | None, target: str) -> IntegerNetwork:
    """Return a network with the neurons and synapses that quantising gives, weights of 8 bits, without calibration.

    Args:
        net: as `snnkit.deploy.quantise` takes; soft resets are taken as hard ones.
        inputs: shape of the input's features; where None, the first layer must tell it.
        target: the chip.
    Raises:
        InputError: a layer that the chip cannot have, or inputs that have to be given.
    """
    shape = first_shape(net, inputs, called="inputs")
    stages = lower(approximated(net, ("hard_reset",)).cpu().eval(), shape)
    made = [rounded(stage, _scale(stage), bits=8, late=late) for late, stage in enumerate(stages, start=1)]
    return IntegerNetwork(
        inputs=shape,
        populations=tuple(part for one in made for part in (*one.extra, one.population)),
        connections=tuple(part for one in made for part in one.connections),
        read="v" if stages[-1].theta is None else "spikes",
        target=target,
        scale=made[-1].scale,
    )


def _scale(stage: Stage) -> float:
    """Return the scale at which the largest weight fills its bits, and no threshold its own."""
    weight = max(float(np.abs(link.weights.weight).max(initial=0.0)) for link in stage.links)
    theta = 0.0 if stage.theta is None else float(np.max(stage.theta))
    return UNIT * min(_LARGEST / (weight or 1.0), HIGHEST / (2 * theta) if theta else HIGHEST)
