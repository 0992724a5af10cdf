"""Random numbers as a function of where training stands: a resumed run draws what the first would have."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy
import torch


def derived_seed(*parts: int | str) -> int:
    """Return a seed that is a fixed function of its parts, such as (seed, "step", 12).

    Example:
        >>> derived_seed(0, "step", 1) == derived_seed(0, "step", 1) != derived_seed(0, "step", 2)
        True
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest())


def seed_everything(*parts: int | str) -> None:
    """Seed the global generators of Python, NumPy and torch from the parts."""
    seed = derived_seed(*parts)
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def caller_randomness_kept() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch on leaving."""
    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
