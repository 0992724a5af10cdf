"""A training recipe: a TOML file read into frozen dataclasses, strict about names, types and ranges."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from snnkit.errors import RecipeError, nearest
from snnkit.train.augmentation import AugmentSettings
from snnkit.train.checked import Checked, Limits, fields, make, shown, within

_READINGS = ("rate", "last", "max", "first_spike")


@dataclass(frozen=True)
class DataSettings(Checked):
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
        silence: steps after a recording's last event or value that belong to it, beyond `steps`, so that spikes with
            learnt delays still arrive: the longest delay, such as 24; None for 0.
        augment: how recordings are varied in training, and in training alone; None leaves them as they are.
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
    silence: Annotated[int | None, Limits(example=24, low=0)] = None
    augment: Annotated[AugmentSettings | None, Limits(example={"mask_time": {"longest": 8}})] = None


@dataclass(frozen=True)
class NetworkSettings(Checked):
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
                    f"[network] layer {place} is {shown(layer)}; needed is a table with a type: "
                    'type e.g. {type = "Linear", in = 64, out = 10}'
                )


@dataclass(frozen=True)
class RateRegulariser(Checked):
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
class TrainSettings(Checked):
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
class OutputSettings(Checked):
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

    def to_dict(self) -> dict[str, Any]:
        """Return every setting, those not given included, as text, numbers, lists and dictionaries."""
        return _plain(dataclasses.asdict(self))


_SECTIONS: dict[str, type[Checked]] = {
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
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}; needed is a recipe, a TOML file") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}{_line(text, str(error))}") from None
    try:
        return recipe_from(table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def recipe_from(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe from nested dictionaries, as `tomllib` reads them; errors are those of `read_recipe`."""
    everywhere = [part for kind in _SECTIONS.values() for part in within(kind)]
    for name in table:
        if name not in _SECTIONS:
            raise RecipeError(f"unknown section [{name}]{_where(name, everywhere)}")
    made: dict[str, Any] = {}
    for name, kind in _SECTIONS.items():
        made[name] = make(kind, table.get(name, {}), elsewhere=everywhere)
    return Recipe(**made)


def _line(text: str, error: str) -> str:
    """Return the line that an error of `tomllib` names, and what is often wrong with such a one."""
    place = re.search(r"at line (\d+)", error)
    lines = text.replace("\r\n", "\n").split("\n")
    line = lines[int(place[1]) - 1].strip() if place else ""
    broken = "; a table in braces stands on one line" if line.count("{") > line.count("}") else ""
    return f": {line}{broken}" if line else ""


def _where(name: str, everywhere: list[type[Checked]]) -> str:
    """Say in which sections an unknown section is a key, else the nearest section and all of them."""
    for kind in everywhere:
        if kind.section.endswith(f".{name}"):
            return f"; type [{kind.section}]"
    places = [f"[{kind.section}]" for kind in everywhere if name in fields(kind)]
    if places:
        return f"; {name} is a key that belongs in {' or '.join(places)}"
    return f"{nearest(name, _SECTIONS)}; known: {', '.join(f'[{section}]' for section in _SECTIONS)}"


def _plain(value: Any) -> Any:
    """Return nested lists in place of tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
