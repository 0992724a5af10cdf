"""A training recipe: a TOML file read into frozen dataclasses, strict about names, types and ranges."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from snnkit.errors import RecipeError, nearest

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "a table"}
_READINGS = ("rate", "last", "max", "first_spike")


@dataclass(frozen=True)
class Limits:
    """What a value may be: `low` and `high` themselves are allowed, `above` and `below` are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    filled: bool = False
    example: Any = None


@dataclass(frozen=True)
class _Checked:
    """A section whose values are checked whether they come from a file or from Python."""

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for name, field in _fields(type(self)).items():
            value = _converted(getattr(self, name), field.kinds)
            object.__setattr__(self, name, value)
            needed = _needed(value, field)
            if needed:
                raise RecipeError(
                    f"[{self.section}] {name} is {_shown(value)}; needed is {needed}: "
                    f"type e.g. {name} = {_shown(field.example)}"
                )


@dataclass(frozen=True)
class _Field:
    """One key of a section: the types it takes, its limits, a good value, and whether it must be given."""

    kinds: tuple[Any, ...]
    limits: Limits
    example: Any
    required: bool


def _fields(section: type[_Checked]) -> dict[str, _Field]:
    """Return the keys of a section."""
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        limits = Limits()
        if get_origin(hint) is Annotated:
            hint, limits = get_args(hint)
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        example = field.default if limits.example is None else limits.example
        found[field.name] = _Field(kinds, limits, example, required)
    return found


@dataclass(frozen=True)
class DataSettings(_Checked):
    """What is learnt from, and how it becomes spikes.

    Args:
        name: data set by the name of its card, such as "digits".
        encoder: how images become sequences, such as "latency".
        steps: time steps T of a sequence; None for 16 of images, and for all that recordings of events last.
        root: folder of downloaded data; None where the data set ships with the package or a default is set.
        options: further arguments of the encoder.
        step: width of a bin of event data, in microseconds.
        pool: neighbouring channels of event data that are summed, or pixels along both axes; None for 1.
        binning: how events are binned, "uniform" unless given.
    Raises:
        RecipeError: a value of the wrong type or out of range.

    Example:
        >>> DataSettings(name="digits", steps=16).encoder
        'constant'
    """

    section = "data"
    name: Annotated[str, Limits(example="digits", filled=True)]
    encoder: Annotated[str, Limits(filled=True)] = "constant"
    steps: Annotated[int | None, Limits(example=16, low=1)] = None
    root: Annotated[str | None, Limits(example="/data")] = None
    options: Annotated[dict, Limits(example={"tau": 5.0})] = dataclasses.field(default_factory=dict)
    step: Annotated[int | None, Limits(example=10000, low=1)] = None
    pool: Annotated[int | None, Limits(example=5, low=1)] = None
    binning: Annotated[str | None, Limits(example="uniform", choices=("uniform", "squeezed"))] = None


@dataclass(frozen=True)
class NetworkSettings(_Checked):
    """The layers in order, each a table with its `type` and arguments; `build_network` makes them.

    Args:
        layers: from input to output.
        rate: spikes per step and neuron that `snnkit.initialise` scales the first weights to, on training
            samples; None leaves the weights as torch draws them.
    Raises:
        RecipeError: no layers, a layer that is not a table with a type, or a rate that is not above 0.

    Example:
        >>> NetworkSettings(layers=({"type": "Linear", "in": 64, "out": 10},)).layers[0]["type"]
        'Linear'
    """

    section = "network"
    layers: Annotated[tuple, Limits(example=[{"type": "Linear", "in": 64, "out": 10}, {"type": "LIF"}])]
    rate: Annotated[float | None, Limits(example=0.1, above=0)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise RecipeError('[network] layers is empty; type e.g. layers = [{type = "LIF", tau = 2.0}]')
        for place, layer in enumerate(self.layers):
            if not isinstance(layer, Mapping) or not isinstance(layer.get("type"), str):
                raise RecipeError(
                    f"[network] layer {place} is {_shown(layer)}; needed is a table with a type: "
                    'type e.g. {type = "Linear", in = 64, out = 10}'
                )


@dataclass(frozen=True)
class RateRegulariser(_Checked):
    """Bounds that the mean rate of every spiking neuron is pushed into, and how hard.

    Args:
        low, high: spikes per step and neuron, averaged over batch and time.
        weight: factor of the penalty in the loss.
    Raises:
        RecipeError: a value of the wrong type or out of range, or low above high.

    Example:
        >>> RateRegulariser(low=0.01, high=0.3).weight
        1.0
    """

    section = "train.rate_regulariser"
    low: Annotated[float, Limits(low=0)] = 0.0
    high: Annotated[float, Limits(low=0)] = 1.0
    weight: Annotated[float, Limits(above=0)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise RecipeError(
                f"[{self.section}] low is {self.low} and high is {self.high}; needed is low <= high: "
                "type e.g. {low = 0.01, high = 0.3}"
            )


@dataclass(frozen=True)
class TrainSettings(_Checked):
    """How a network is trained.

    Args:
        epochs: passes over the training data, at most.
        batch_size: samples per optimiser step, over all devices together.
        lr: learning rate at the start.
        optimiser: "adamw" or "sgd".
        momentum: of sgd.
        weight_decay: decoupled for adamw, L2 for sgd; parameters of neurons and those with fewer than two
            axes (biases, norms) are left out.
        schedule: "cosine" lowers the learning rate to zero over all steps; "onecycle" raises it to `lr` over the first
            30 % and lowers it over the rest; "none" keeps it.
        delay_lr: learning rate of delays at the start, in steps; it falls to zero as a cosine.
        delay_anneal: share of the epochs over which the kernel of delays narrows.
        delay_settle: share of the epochs after which delays are rounded to whole steps and stay, while weights learn
            on with the delays that will be deployed.
        loss: "rate", "last", "max" or "first_spike"; from Python also a function
            (y, target) -> scalar, the mean over the batch; it gets lengths= too where samples have lengths.
        read: how a class is read from the output: the same names, None for that of the loss.
        seed: of the order of samples, of random encoding, and of every other draw during training.
        patience: epochs without a better validation accuracy after which training stops; None for never.
        gradient_clip: largest norm of the gradient; None for no limit.
        precision: "32-true" or "bf16-mixed".
        accelerator: "auto", "cpu" or "cuda".
        devices: processes, one per device; batch_size must be a multiple.
        strategy: "auto" or "ddp".
        rate_regulariser: bounds on firing rates; None for none.
        checkpoint_steps: steps between checkpoints inside an epoch; None for none by count.
        checkpoint_seconds: seconds between checkpoints inside an epoch; None for none by time.
        tensorboard: whether to write TensorBoard logs beside the CSV.
    Raises:
        RecipeError: a value of the wrong type or out of range.

    Example:
        >>> TrainSettings(epochs=5, lr=0.01).batch_size
        64
    """

    section = "train"
    epochs: Annotated[int, Limits(low=1)] = 20
    batch_size: Annotated[int, Limits(low=1)] = 64
    lr: Annotated[float, Limits(above=0)] = 1e-3
    optimiser: Annotated[str, Limits(choices=("adamw", "sgd"))] = "adamw"
    momentum: Annotated[float, Limits(low=0, below=1)] = 0.9
    weight_decay: Annotated[float, Limits(low=0)] = 0.0
    schedule: Annotated[str, Limits(choices=("cosine", "onecycle", "none"))] = "none"
    delay_lr: Annotated[float, Limits(above=0)] = 0.1
    delay_anneal: Annotated[float, Limits(above=0, high=1)] = 0.25
    delay_settle: Annotated[float, Limits(above=0, high=1)] = 1.0
    loss: Annotated[Any, Limits(choices=_READINGS)] = "rate"
    read: Annotated[str | None, Limits(example="rate", choices=_READINGS)] = None
    seed: Annotated[int, Limits(low=0)] = 0
    patience: Annotated[int | None, Limits(example=5, low=1)] = None
    gradient_clip: Annotated[float | None, Limits(example=1.0, above=0)] = None
    precision: Annotated[str, Limits(choices=("32-true", "bf16-mixed"))] = "32-true"
    accelerator: Annotated[str, Limits(choices=("auto", "cpu", "cuda"))] = "auto"
    devices: Annotated[int, Limits(low=1)] = 1
    strategy: Annotated[str, Limits(choices=("auto", "ddp"))] = "auto"
    rate_regulariser: Annotated[RateRegulariser | None, Limits(example={"low": 0.01, "high": 0.3})] = None
    checkpoint_steps: Annotated[int | None, Limits(example=100, low=1)] = None
    checkpoint_seconds: Annotated[float | None, Limits(above=0)] = 30.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.devices:
            raise RecipeError(
                f"[train] batch_size is {self.batch_size} over {self.devices} devices; needed is a multiple: "
                f"type e.g. batch_size = {-(-self.batch_size // self.devices) * self.devices}"
            )
        if callable(self.loss) and self.read is None:
            raise RecipeError(
                "[train] loss is a function, so how to read a class from the output is not known: "
                'type e.g. read = "rate"'
            )

    @property
    def mode(self) -> str:
        """How a class is read from the output."""
        return self.read or self.loss


@dataclass(frozen=True)
class OutputSettings(_Checked):
    """Where results go.

    Args:
        folder: takes checkpoints, logs and the trained network; made where it does not exist.

    Example:
        >>> OutputSettings().folder
        'runs/train'
    """

    section = "output"
    folder: Annotated[str, Limits(filled=True)] = "runs/train"


@dataclass(frozen=True)
class Recipe:
    """All sections of a recipe.

    Example:
        >>> layers = [{"type": "Linear", "in": 64, "out": 10}, {"type": "LIF"}]
        >>> recipe = recipe_from({"data": {"name": "digits"}, "network": {"layers": layers}})
        >>> recipe.train.epochs
        20
    """

    data: DataSettings
    network: NetworkSettings
    train: TrainSettings
    output: OutputSettings


_SECTIONS: dict[str, type[_Checked]] = {
    "data": DataSettings,
    "network": NetworkSettings,
    "train": TrainSettings,
    "output": OutputSettings,
}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Args:
        path: the file.
    Returns:
        The recipe, every value checked; layers are checked further when `build_network` makes them.
    Raises:
        RecipeError: no such file, not TOML, an unknown or missing key, a value of the wrong type or range.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}; needed is a recipe, a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from None
    try:
        return recipe_from(table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def recipe_from(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe from nested dictionaries, as `tomllib` reads them; errors are those of `read_recipe`."""
    for name in table:
        if name not in _SECTIONS:
            known = ", ".join(f"[{section}]" for section in _SECTIONS)
            raise RecipeError(f"unknown section [{name}]{nearest(name, _SECTIONS)}; known: {known}")
    return Recipe(**{name: _section(kind, table.get(name, {})) for name, kind in _SECTIONS.items()})


def _section(kind: type[_Checked], table: Any) -> Any:
    if not isinstance(table, Mapping):
        raise RecipeError(f"[{kind.section}] is {_shown(table)}; needed is a table: type [{kind.section}]")
    fields = _fields(kind)
    for key in table:
        if key not in fields:
            raise RecipeError(f"[{kind.section}] has no key {key!r}{_where(key, kind)}")
    for name, field in fields.items():
        if field.required and name not in table:
            raise RecipeError(
                f"[{kind.section}] needs {name}, which is missing: type e.g. {name} = {_shown(field.example)}"
            )
    return kind(**table)


def _where(key: str, kind: type[_Checked]) -> str:
    """Say where an unknown key belongs, else the nearest key here, else all keys here."""
    for other in _SECTIONS.values():
        if other is not kind and key in _fields(other):
            return f"; it belongs in [{other.section}]"
    known = _fields(kind)
    return nearest(key, known) or f"; known: {', '.join(known)}"


def _converted(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Turn what TOML has into what the field holds: lists into tuples, whole numbers into numbers, tables."""
    if tuple in kinds and isinstance(value, list):
        return tuple(value)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if RateRegulariser in kinds and isinstance(value, Mapping):
        return _section(RateRegulariser, value)
    return value


def _needed(value: Any, field: _Field) -> str:
    """Return what is needed where the value does not do, else an empty text."""
    if (value is None and NoneType in field.kinds) or (Any in field.kinds and callable(value)):
        return ""
    if field.limits.choices:
        known = field.limits.choices
        return "" if value in known else f"one of {', '.join(known)}{nearest(str(value), known)}"
    kinds = tuple(kind for kind in field.kinds if kind is not NoneType)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return _WORDS.get(kinds[0], "a list" if kinds[0] is tuple else "a table")
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if field.limits.filled and not value:
        return "a text that is not empty"
    return _range(field.limits) if isinstance(value, int | float) and _outside(value, field.limits) else ""


def _outside(value: float, limits: Limits) -> bool:
    return (
        (limits.low is not None and value < limits.low)
        or (limits.high is not None and value > limits.high)
        or (limits.above is not None and value <= limits.above)
        or (limits.below is not None and value >= limits.below)
    )


def _range(limits: Limits) -> str:
    words = {"at least": limits.low, "at most": limits.high, "above": limits.above, "below": limits.below}
    return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)


def _shown(value: Any) -> str:
    """Write a value as TOML does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "nothing" if value is None else str(value)
