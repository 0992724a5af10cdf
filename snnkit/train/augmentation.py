"""What a recipe says about augmentation: how training data are varied, each key a function of `snnkit.data.augment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from snnkit.errors import RecipeError
from snnkit.train.checked import Checked, Limits, fields, shown


@dataclass(frozen=True)
class JitterTimes(Checked):
    """Every event moved in time by a normal draw.

    Args:
        std: of the draw, in microseconds.
    """

    section = "data.augment.jitter_times"
    std: Annotated[float, Limits(above=0, example=5000.0)]


@dataclass(frozen=True)
class JitterChannels(Checked):
    """Every event moved to a neighbour by a rounded normal draw.

    Args:
        std: of the draw, in channels of the recording, or in pixels.
    """

    section = "data.augment.jitter_channels"
    std: Annotated[float, Limits(above=0, example=2.0)]


@dataclass(frozen=True)
class ShiftChannels(Checked):
    """All events of a recording moved by the same number of channels.

    Args:
        most: channels of the recording, or pixels, up or down at most.
    """

    section = "data.augment.shift_channels"
    most: Annotated[int, Limits(low=1, example=20)]


@dataclass(frozen=True)
class MaskTime(Checked):
    """A stretch of time that falls silent.

    Args:
        longest: steps of the sequence at most.
        chance: that a sample is masked.
    """

    section = "data.augment.mask_time"
    longest: Annotated[int, Limits(low=1, example=8)]
    chance: Annotated[float, Limits(above=0, high=1)] = 0.5


@dataclass(frozen=True)
class MaskChannels(Checked):
    """Neighbouring channels that fall silent.

    Args:
        most: channels of the sequence at most; after pooling.
        chance: that a sample is masked.
    """

    section = "data.augment.mask_channels"
    most: Annotated[int, Limits(low=1, example=10)]
    chance: Annotated[float, Limits(above=0, high=1)] = 0.5


@dataclass(frozen=True)
class Blend(Checked):
    """A stretch of time that comes from another sample of the batch, whose class gets its share of the target.

    Args:
        chance: that a sample is blended.
    """

    section = "data.augment.blend"
    chance: Annotated[float, Limits(above=0, high=1)] = 0.5


@dataclass(frozen=True)
class AugmentSettings(Checked):
    """How training data are varied, in the order below whatever the order of the keys; the other splits stay.

    Every draw is a function of the seed, the epoch and the batch, so a resumed run ends with the same bits.

    Args:
        jitter_times, jitter_channels, shift_channels: recordings of events, before they are binned and pooled.
        mask_time, mask_channels, blend: frames of events after that, or signals.
    Raises:
        RecipeError: a value of the wrong type or out of range, or nothing to do.

    Example:
        >>> AugmentSettings(mask_time={"longest": 8}, blend={"chance": 0.3}).mask_time
        MaskTime(longest=8, chance=0.5)
    """

    section = "data.augment"
    jitter_times: Annotated[JitterTimes | None, Limits(example={"std": 5000.0})] = None
    jitter_channels: Annotated[JitterChannels | None, Limits(example={"std": 2.0})] = None
    shift_channels: Annotated[ShiftChannels | None, Limits(example={"most": 20})] = None
    mask_time: Annotated[MaskTime | None, Limits(example={"longest": 8, "chance": 0.5})] = None
    mask_channels: Annotated[MaskChannels | None, Limits(example={"most": 10, "chance": 0.5})] = None
    blend: Annotated[Blend | None, Limits(example={"chance": 0.5})] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.given:
            raise RecipeError(
                f"[{self.section}] is empty; type e.g. mask_time = {shown({'longest': 8, 'chance': 0.5})}, "
                "or leave it out"
            )

    @property
    def given(self) -> tuple[str, ...]:
        """The keys that are there, in the order in which they are applied."""
        return tuple(name for name in fields(type(self)) if getattr(self, name) is not None)
