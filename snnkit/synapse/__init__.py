"""Connections between layers: torch's own modules folded over time, and a layer connected to itself."""

from snnkit.synapse.fold import fold
from snnkit.synapse.recurrent import Recurrent

__all__ = ["Recurrent", "fold"]
