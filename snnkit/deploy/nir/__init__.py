"""NIR, the Neuromorphic Intermediate Representation: networks to other frameworks, and theirs here.

Source: Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024.
"""

from snnkit.convert.fold import fold
from snnkit.deploy.nir.export import to_graph
from snnkit.deploy.nir.readers import verify
from snnkit.deploy.nir.store import from_graph, load, save

__all__ = ["fold", "from_graph", "load", "save", "to_graph", "verify"]
