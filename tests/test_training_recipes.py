"""Recipes are read strictly: what is wrong is named, with what to type instead; what is right builds a network."""

import dataclasses
import tomllib

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import RecipeError
from snnkit.train.build import build_network
from snnkit.train.recipe import NetworkSettings, RateRegulariser, TrainSettings, read_recipe, recipe_from

GOOD = """
[data]
name = "digits"
encoder = "latency"
steps = 12
options = {tau = 5.0}

[network]
layers = [
    {type = "Linear", in = 64, out = 32},
    {type = "LIF", tau = 3, reset = "hard", learn = ["tau"], surrogate = {name = "atan", alpha = 3.0}},
    {type = "Linear", in = 32, out = 10, bias = false},
    {type = "Readout", tau = 2.0},
]

[train]
epochs = 3
lr = 1
schedule = "cosine"
patience = 2
rate_regulariser = {low = 0.01, high = 0.5}

[output]
folder = "runs/try"
"""


@pytest.fixture
def recipe(tmp_path):
    """Return a function that reads a recipe from its text."""

    def read(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return read_recipe(path)

    return read


def test_a_recipe_is_read_into_frozen_sections(recipe):
    read = recipe(GOOD)
    assert read.data.name == "digits"
    assert read.data.steps == 12
    assert read.data.options == {"tau": 5.0}
    assert read.train.lr == 1.0
    assert isinstance(read.train.lr, float)
    assert read.train.rate_regulariser == RateRegulariser(low=0.01, high=0.5)
    assert read.train.mode == "rate"
    assert read.output.folder == "runs/try"
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.train.lr = 2.0


def test_marks_and_line_ends_of_other_systems_are_read(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_recipe(path) == recipe_from(tomllib.loads(GOOD))


def test_a_recipe_builds_its_network(recipe):
    net = build_network(recipe(GOOD).network)
    assert [type(child).__name__ for child in net] == ["Linear", "Spiking", "Linear", "Spiking"]
    assert net[1].learn == ("tau",)
    assert net[1].values()["tau"].item() == 3.0
    assert net[1].surrogate == snnkit.surrogate.atan(3.0)
    assert net[1].neuron == snnkit.neuron.lif(reset="hard")
    assert net[2].bias is None
    assert net(torch.rand(3, 2, 64)).shape == (3, 2, 10)


def test_first_weights_are_a_function_of_the_seed(recipe):
    settings = recipe(GOOD).network
    before = torch.get_rng_state()
    first, same, other = (build_network(settings, seed=seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_networks_nest_and_layers_recur():
    layers = (
        {"type": "Conv2d", "in": 1, "out": 4, "kernel_size": [3, 3]},
        {"type": "Network", "layers": [{"type": "LIF", "surrogate": "sigmoid"}, {"type": "Flatten"}]},
        {"type": "Linear", "in": 144, "out": 5},
        {"type": "Recurrent", "layer": {"type": "ALIF"}, "connection": {"type": "Linear", "in": 5, "out": 5}},
    )
    net = build_network(NetworkSettings(layers=layers))
    assert net(torch.rand(2, 3, 1, 8, 8)).shape == (2, 3, 5)
    assert isinstance(net[1], snnkit.Network)
    assert isinstance(net[3], snnkit.Recurrent)
    assert isinstance(net[0], nn.Conv2d)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 3", "epoch = 3", r"recipe.toml: \[train\] has no key 'epoch'; did you mean 'epochs'"),
        ("epochs = 3", "zzz = 3", r"\[train\] has no key 'zzz'; known: epochs, batch_size"),
        ("steps = 12", "batch_size = 12", r"\[data\] has no key 'batch_size'; it belongs in \[train\]"),
        ("[output]", "[ouput]", r"unknown section \[ouput\]; did you mean 'output'"),
        ("[output]", "[zzz]", r"unknown section \[zzz\]; known: \[data\], \[network\], \[train\], \[output\]"),
        ('name = "digits"', "", r'\[data\] needs name, which is missing: type e.g. name = "digits"'),
        ('name = "digits"', 'name = ""', r'name is ""; needed is a text that is not empty: type e.g. name = "digits"'),
        ("steps = 12", "steps = 0", r"\[data\] steps is 0; needed is at least 1: type e.g. steps = 16"),
        ("steps = 12", "steps = 1.5", r"\[data\] steps is 1.5; needed is a whole number"),
        ("epochs = 3", "epochs = true", r"epochs is true; needed is a whole number: type e.g. epochs = 20"),
        ("epochs = 3", 'epochs = "3"', r'epochs is "3"; needed is a whole number'),
        ("lr = 1", "lr = 0", r"lr is 0.0; needed is above 0.*type e.g. lr = 0.001"),
        ("lr = 1", "lr = nan", r"lr is nan; needed is a finite number"),
        ("lr = 1", "momentum = 1.0", r"momentum is 1.0; needed is at least 0 and below 1"),
        ("lr = 1", "tensorboard = 1", r"tensorboard is 1; needed is true or false: type e.g. tensorboard = false"),
        ("lr = 1", "optimiser = 'adam'", r'is "adam"; needed is one of adamw, sgd: type e.g. optimiser = "adamw"$'),
        ("lr = 1", "read = 'lst'", r'read is "lst"; needed is one of rate, last, max, first_spike: .* read = "last"$'),
        ("lr = 1", "loss = ['rate']", r'loss is \["rate"\]; needed is one of rate, last, max, first_spike'),
        ("lr = 1", "devices = 3", r"batch_size is 64 over 3 devices; .* type e.g. batch_size = 66"),
        ("low = 0.01", "low = 0.9", r"\[train.rate_regulariser\] low is 0.9 and high is 0.5; needed is low <= high"),
        ("low = 0.01", "lo = 0.9", r"\[train.rate_regulariser\] has no key 'lo'; did you mean 'low'"),
        ("options = {tau = 5.0}", "options = 3", r"\[data\] options is 3; needed is a table"),
        ("[data]", "data = 3\n[[none]]", r"unknown section \[none\]"),
        ("epochs = 3", "epochs = ", r"recipe.toml is not TOML: Invalid value \(at line 17, column 10\): epochs =$"),
        ("tau = 3, ", "tau = 3,\n", r"not TOML: .*: {type = \"LIF\", tau = 3,; a table in braces stands on one line$"),
        (
            "bias = false},",
            "bias = false}",
            r"not TOML: Unclosed array \(at line 13, column 5\): {type = .Readout., [^;]*$",
        ),
    ],
)
def test_wrong_recipes_are_named(recipe, old, new, message):
    assert old in GOOD
    with pytest.raises(RecipeError, match=message):
        recipe(GOOD.replace(old, new, 1))


def test_sections_and_layers_have_their_forms():
    with pytest.raises(RecipeError, match=r"\[data\] is 3; needed is a table: type \[data\]"):
        recipe_from({"data": 3})
    with pytest.raises(RecipeError, match=r"\[network\] layers is 3; needed is a list: type e.g. layers = \[{type"):
        NetworkSettings(layers=3)
    with pytest.raises(RecipeError, match=r"\[network\] layers is empty; type e.g. layers = "):
        NetworkSettings(layers=())
    with pytest.raises(RecipeError, match=r"\[network\] layer 1 is {tau = 3}; needed is a table with a type"):
        NetworkSettings(layers=[{"type": "LIF"}, {"tau": 3}])


def test_layers_without_arguments_are_made():
    made = build_network(NetworkSettings(layers=({"type": "Identity"}, {"type": "ReLU"}, {"type": "Flatten"})))
    assert [type(layer).__name__ for layer in made] == ["Identity", "ReLU", "Flatten"]


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot read .*none.toml: No such file.*needed is a recipe, a TOML file"):
        read_recipe(tmp_path / "none.toml")


def test_settings_from_python_are_checked_alike():
    with pytest.raises(RecipeError, match=r"\[train\] lr is -1.0; needed is above 0"):
        TrainSettings(lr=-1)
    with pytest.raises(RecipeError, match=r'loss is a function, so how to read a class.*type e.g. read = "rate"'):
        TrainSettings(loss=lambda y, target, lengths=None: y.sum())
    assert TrainSettings(loss=lambda y, target, lengths=None: y.sum(), read="last").mode == "last"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"type": "Liner"}, r"layer 0 \(Liner\): no such type; did you mean 'Linear'"),
        ({"type": "zzz"}, r"layer 0 \(zzz\): no such type; known: Linear, "),
        ({"type": "lif"}, r"layer 0 \(lif\): no such type; did you mean 'LIF'\?"),
        ({"type": "GRU"}, r"layer 0 \(GRU\): no such type, though torch has one; known: Linear, "),
        ({"type": "Linear", "in": 3}, r"layer 0 \(Linear\) needs out: type e.g. out = 64"),
        ({"type": "Linear", "in": 3, "uot": 3}, r"layer 0 \(Linear\) has no 'uot'; did you mean 'out'"),
        ({"type": "Linear", "in": 3, "out": 3, "device": "cuda"}, r"has no 'device'.*it takes in, out"),
        ({"type": "Linear", "in": 3, "out": "a"}, r"layer 0 \(Linear\) refuses .*'out_features': 'a'"),
        ({"type": "GroupNorm", "num_groups": 2, "num_channels": 3}, r"layer 0 \(GroupNorm\) refuses"),
        ({"type": "Identity", "in": 3}, r"layer 0 \(Identity\) has no 'in'; it takes nothing"),
        ({"type": "LIF", "tua": 3.0}, r"layer 0 \(LIF\): lif has no parameter 'tua'; did you mean 'tau'"),
        ({"type": "LIF", "tau": 0.1}, r"layer 0 \(LIF\): lif: tau=0.1 is out of its bounds"),
        ({"type": "LIF", "reset": "sfot"}, r"layer 0 \(LIF\): .*reset"),
        ({"type": "LIF", "detach_reset": "no"}, r"detach_reset is 'no'; type true or false"),
        ({"type": "LIF", "surrogate": "atna"}, r"surrogate is 'atna'; did you mean 'atan'.*needed is one of atan, "),
        ({"type": "LIF", "surrogate": {"name": "atan", "beta": 1}}, r"surrogate atan refuses {'beta': 1}"),
        ({"type": "LIF", "backend": "gpu"}, r"layer 0 \(LIF\): .*gpu"),
        ({"type": "Recurrent", "layer": {"type": "LIF"}}, r"\(Recurrent\) needs connection: type connection = {type"),
        ({"type": "Recurrent", "lyer": {}}, r"\(Recurrent\) has no 'lyer'; did you mean 'layer'"),
        ({"type": "Network", "layers": [{"type": "LIFF"}]}, r"layer 0 \(Network\), layer 0 \(LIFF\): no such type"),
        ({"type": "Network", "layers": [3]}, r"layer 0 \(Network\), layer 0 is 3; needed is e.g. {type = "),
    ],
)
def test_wrong_layers_are_named(layer, message):
    with pytest.raises(RecipeError, match=message):
        build_network(NetworkSettings(layers=(layer,)))
