"""Integer LIF: one step emits up to `levels` spikes at once."""

from typing import Literal

from snnkit.errors import NeuronError
from snnkit.neuron.description import Neuron, Param


def ilif(*, reset: Literal["soft", "hard"] = "soft", levels: int = 4) -> Neuron:
    """Return the I-LIF neuron, s = clip(round(v / theta), 0, levels) (Luo et al. 2024).

    Rounding is half up; the rectangle surrogate of width 1 gives the paper's gradient at `theta` 1.

    Args:
        reset: `soft` subtracts the threshold times the integer spike, `hard` sets the membrane to 0.
        levels: largest spike value, at least 1.
    """
    if not isinstance(levels, int) or not 1 <= levels <= 64:
        raise NeuronError(f"levels is a whole number from 1 to 64, not {levels!r}")
    return Neuron(
        name="ilif",
        states={"v": 0.0},
        params={"decay": Param(0.25, low=0.0, high=1.0), "theta": Param(1.0)},
        update=["v = decay * v + x"],
        spike=[f"v - {level - 0.5} * theta" for level in range(1, levels + 1)],
        reset=["v = v - s * theta" if reset == "soft" else "v = (1 - min(s, 1)) * v"],
        reference="Luo et al., Integer-valued training and spike-driven inference (SpikeYOLO), ECCV 2024",
    )
