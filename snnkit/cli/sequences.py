"""How the data of a recipe become sequences: images through an encoder, events through bins, signals as they are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snnkit.cli.augmentation import variation
from snnkit.data import Dataset, encode
from snnkit.data.framed import FramedEvents, FramedSignals
from snnkit.errors import RecipeError, nearest
from snnkit.train.batches import Split
from snnkit.train.checked import shown
from snnkit.train.recipe import DataSettings

ENCODERS: Mapping[str, Callable[..., Tensor]] = {
    function.__name__: function for function in (encode.constant, encode.rate, encode.latency, encode.population)
}
"""How a recipe's images become sequences."""

_ALSO = {"bernoulli": "rate", "direct": "constant", "poisson": "rate", "ttfs": "latency"}
"""What encoders are called elsewhere."""

_STEPS = 16
_LONGEST = 10_000
"""Steps of a recording beyond which a bin was meant to be wider, unless a recipe says how many there are."""

_BINNED = ("step", "pool", "binning")


@dataclass(frozen=True)
class Sequences:
    """Splits as training takes them.

    Attributes:
        encode: turns a batch of inputs and a generator into a sequence; None where the inputs are sequences.
        of: turns a split of the data set into one that `fit` and `evaluate` take.
        varied: the same for the split that is learnt from, augmented as the recipe says.
    """

    encode: Callable[[Tensor, torch.Generator], Tensor] | None
    of: Callable[[Any], Split]
    varied: Callable[[Any], Split]

    def first(self, split: Any, count: int, generator: torch.Generator) -> Tensor:
        """Return the first samples of a split as a sequence [T, B, …]."""
        return self.padded(split, count, generator)[0]

    def padded(self, split: Any, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return the first samples of a split as a sequence [T, B, …], and their lengths [B] where they have some."""
        samples = self.of(split)
        if self.encode is not None:
            return self.encode(samples[0][:count], generator), None
        framed: Any = samples
        x, _, lengths = framed.batch(torch.arange(min(count, len(framed))))
        return x.transpose(0, 1), lengths


def sequences(data: Dataset, settings: DataSettings) -> Sequences:
    """Return how a data set becomes sequences.

    Raises:
        RecipeError: settings that data of this kind have no use for, or that they lack; an unknown encoder, or an
            option that it does not take.
    """
    if data.kind == "images":
        _unused(data, settings, (*_BINNED, "silence", "augment"))
        code = encoder(settings.encoder, settings.steps or _STEPS, settings.options)
        return Sequences(code, _images, _images)
    _unused(
        data, settings, ("encoder", "options") if data.kind == "events" else ("encoder", "options", "steps", *_BINNED)
    )
    varied, silence = variation(data, settings.augment), settings.silence or 0
    if data.kind == "signals":
        return Sequences(
            None,
            lambda split: FramedSignals(split, silence=silence),
            lambda split: FramedSignals(split, silence=silence, **varied.of_frames),
        )
    if settings.step is None:
        raise RecipeError(
            f"[data] needs step for {data.card.name}, the width of a bin in microseconds: type e.g. step = 10000"
        )
    binned: dict[str, Any] = {"step": settings.step, "steps": settings.steps}
    binned |= {"pool": settings.pool or 1, "binning": settings.binning or "uniform", "silence": silence}
    hooks: dict[str, Any] = varied.of_frames | {"vary": varied.vary}
    return Sequences(
        None, lambda split: FramedEvents(split, **binned), lambda split: FramedEvents(split, **binned, **hooks)
    )


def check_step(split: Any, settings: DataSettings, count: int) -> None:
    """Raise RecipeError where the first recordings of events have more bins than anyone can want."""
    if settings.step is None or settings.steps is not None:
        return
    times = [split.recording(index)[0] for index in range(min(count, len(split)))]
    last = max((int(found[-1]) for found in times if len(found)), default=0)
    if last // settings.step >= _LONGEST:
        raise RecipeError(
            f"[data] step is {settings.step} microseconds, which makes {last // settings.step + 1:,} steps of a "
            f"recording of {last / 1e6:.3g} s; type e.g. step = {max(1, last // 100)}, or say how many with steps"
        )


def _images(split: Any) -> Split:
    return split.images, split.labels


def _unused(data: Dataset, settings: DataSettings, names: tuple[str, ...]) -> None:
    """Raise RecipeError where a setting is given that data of this kind have no use for."""
    usual = {"encoder": "constant", "options": {}}
    for name in names:
        if getattr(settings, name) != usual.get(name):
            takes = {
                "images": "encoder, steps and options",
                "events": "step, steps, pool, binning, silence and augment",
            }
            raise RecipeError(
                f"[data] {name} is given, and {data.card.name} holds {data.kind}, which have no use for it; "
                f"they take {takes.get(data.kind, 'silence and augment')}"
            )


def encoder(name: str, steps: int, options: Mapping[str, Any]) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the function that turns images and a generator into sequences [T, B, …].

    Raises:
        RecipeError: an unknown encoder, or an option that it does not take.
    """
    if name not in ENCODERS:
        guess = nearest(_ALSO.get(name.lower(), name), ENCODERS).rstrip("?")
        raise RecipeError(f"no encoder {name!r}{guess}; known: {', '.join(ENCODERS)}")
    function = ENCODERS[name]
    _, *parameters = inspect.signature(function).parameters
    takes = [parameter for parameter in parameters if parameter not in ("steps", "generator")]
    for option in options:
        if option not in takes:
            listed = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise RecipeError(f"encoder {name} has no option {option!r}{nearest(option, takes)}; {listed}")
    draws = "generator" in parameters

    def run(images: Tensor, generator: torch.Generator) -> Tensor:
        extra = {"generator": generator} if draws else {}
        try:
            return function(images, steps=steps, **options, **extra)
        except TypeError as error:
            raise RecipeError(f"[data] encoder {name} refuses options {shown(options)}: {error}") from None

    return run
