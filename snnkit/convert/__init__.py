"""Convert: models of SpikingJelly, Norse and snnTorch in and out, each compared by its spikes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit.convert.norse import from_norse as from_norse
    from snnkit.convert.norse import to_norse as to_norse
    from snnkit.convert.snntorch import from_snntorch as from_snntorch
    from snnkit.convert.snntorch import to_snntorch as to_snntorch
    from snnkit.convert.spikingjelly import from_spikingjelly as from_spikingjelly
    from snnkit.convert.spikingjelly import to_spikingjelly as to_spikingjelly

_HOMES = {
    "from_norse": "norse",
    "from_snntorch": "snntorch",
    "from_spikingjelly": "spikingjelly",
    "to_norse": "norse",
    "to_snntorch": "snntorch",
    "to_spikingjelly": "spikingjelly",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that naming the package does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
