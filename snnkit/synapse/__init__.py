"""Connections between layers: torch's own modules folded over time, and a layer connected to itself."""

from snnkit.synapse.delay import Delayed, DelayLinear, rounded
from snnkit.synapse.delay_conv import DelayConv1d, DelayConv2d
from snnkit.synapse.fold import fold
from snnkit.synapse.recurrent import Recurrent

__all__ = ["DelayConv1d", "DelayConv2d", "DelayLinear", "Delayed", "Recurrent", "fold", "rounded"]
