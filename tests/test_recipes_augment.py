"""A recipe names how training data are varied; every run, resumed ones too, varies them alike, and nothing else."""

import itertools
import re
import shutil

import numpy as np
import pytest
import torch
from event_files import mel_set, spike_set

import snnkit
from snnkit.cli import main
from snnkit.cli import train as command
from snnkit.cli.augmentation import check_masks, variation
from snnkit.cli.sequences import sequences
from snnkit.data import Dataset, FramedSignals, augment
from snnkit.errors import InputError, RecipeError
from snnkit.train.augmentation import AugmentSettings, MaskTime
from snnkit.train.batches import Batches
from snnkit.train.recipe import DataSettings, recipe_from

EVERY = {
    "jitter_times": {"std": 30000.0},
    "jitter_channels": {"std": 2.0},
    "shift_channels": {"most": 5},
    "mask_time": {"longest": 9, "chance": 1.0},
    "mask_channels": {"most": 2, "chance": 1.0},
    "blend": {"chance": 1.0},
}

RECIPE = """
[data]
name = "{card}"
root = "{root}"
step = 20000
pool = 5
silence = 3
[data.augment]
jitter_times = {{ std = 10000.0 }}
shift_channels = {{ most = 5 }}
mask_time = {{ longest = 9 }}
blend = {{ chance = 0.6 }}
[network]
layers = [
    {{type = "Linear", in = 6, out = 8}},
    {{type = "LIF"}},
    {{type = "Dropout", p = 0.2}},
    {{type = "Linear", in = 8, out = 2}},
    {{type = "Readout"}},
]
[train]
epochs = 3
batch_size = 3
checkpoint_steps = 1
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the root and the card of a small set of recordings, written once."""
    root = tmp_path_factory.mktemp("tiny")
    return root, spike_set(root)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Return the folder of a run that trained the recipe to its end, made once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "recipe.toml").write_text(RECIPE.format(card=tiny[1], root=tiny[0]))
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["train", str(folder / "recipe.toml"), "--folder", str(folder / "run")])
    return folder / "run"


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Return a function that runs `snnkit *words` in an empty folder and returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        code = ended.value.code
        return (1, capsys.readouterr().out, code) if isinstance(code, str) else (code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def recipe(tiny, tmp_path):
    """Return a function that writes a recipe, with a part of its text replaced, and returns its path."""

    def write(old="", new=""):
        text = RECIPE.format(card=tiny[1], root=tiny[0])
        assert old in text
        (tmp_path / "recipe.toml").write_text(text.replace(old, new, 1))
        return tmp_path / "recipe.toml"

    return write


def splits(tiny, **keys):
    """Return a data set and its training data, as they are and augmented."""
    data = snnkit.data.load(tiny[1], tiny[0])
    made = sequences(data, DataSettings(name="tiny", step=20000, augment=keys))
    return data, made.of(data.train), made.varied(data.train)


@pytest.mark.parametrize("name", EVERY)
def test_each_key_is_the_function_of_its_name(tiny, name, monkeypatch):
    called = []
    original = getattr(augment, name)

    def seen(*args, **settings):
        called.append({key: value for key, value in settings.items() if key not in ("generator", "classes")})
        return original(*args, **settings)

    monkeypatch.setattr(augment, name, seen)
    _, plain, varied = splits(tiny, **{name: EVERY[name]})
    torch.manual_seed(1)
    same, different = (found.batch(torch.arange(8)) for found in (plain, varied))
    assert called == [EVERY[name]]
    assert same[0].shape != different[0].shape or not torch.equal(same[0], different[0])
    assert (different[1].ndim == 2) == (name == "blend")


def test_the_order_of_the_keys_does_not_matter(tiny):
    found = []
    for keys in (EVERY, dict(reversed(EVERY.items()))):
        batches = Batches(splits(tiny, **keys)[2], 4, seed=3).shuffled(1)
        found.append([batch.inputs for batch in batches])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_epochs_differ_and_seeds_repeat(tiny):
    def inputs(seed, epoch):
        return [batch.inputs.sum((1, 2)) for batch in Batches(splits(tiny, **EVERY)[2], 8, seed).shuffled(epoch)]

    (first,), (again,), (later,), (other,) = (inputs(*key) for key in ((0, 1), (0, 1), (0, 2), (1, 1)))
    assert torch.equal(first, again)
    assert not torch.equal(first.sort()[0], later.sort()[0]) and not torch.equal(first.sort()[0], other.sort()[0])


def test_signals_take_masks_and_blends(tmp_path):
    data = snnkit.data.load(mel_set(tmp_path), tmp_path)
    keys = {name: EVERY[name] for name in ("mask_time", "mask_channels", "blend")}
    made = sequences(data, DataSettings(name="tiny", silence=2, augment=keys | {"mask_time": {"longest": 3}}))
    torch.manual_seed(0)
    ends = FramedSignals(data.train).batch(torch.arange(3))[2] + 2
    plain, varied = (split(data.train).batch(torch.arange(3)) for split in (made.of, made.varied))
    assert plain[0].shape == varied[0].shape and not torch.equal(plain[0], varied[0])
    assert varied[1].shape == (3, 2) and torch.equal(varied[2], ends) and torch.equal(plain[2], ends)
    with pytest.raises(RecipeError, match=r"shift_channels is given, and tiny holds signals, which have no events to"):
        variation(data, AugmentSettings(shift_channels={"most": 2}))


def weights(folder):
    return torch.cat([tensor.flatten() for tensor in snnkit.load(folder / "net.h5").state_dict().values()])


@pytest.mark.parametrize("stop", [2, 7])
def test_a_stopped_run_resumes_to_the_same_bits(call, recipe, trained, tmp_path, monkeypatch, stop):
    path = recipe()
    step, count = torch.optim.AdamW.step, itertools.count(1)

    def dying(self, *args, **options):
        if next(count) > stop:
            raise KeyboardInterrupt
        return step(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", dying)
        assert call("train", path, "--folder", "run")[0] == 130
    code, _, error = call("train", path, "--folder", "run", "--resume")
    assert code == 0, error
    assert torch.equal(weights(trained), weights(tmp_path / "run"))


def test_augmentation_reaches_the_weights(call, recipe, trained, tmp_path):
    assert call("train", recipe("blend = { chance = 0.6 }\n"), "--folder", "run")[0] == 0
    assert not torch.equal(weights(trained), weights(tmp_path / "run"))


def test_only_training_data_are_varied_and_files_say_how(call, recipe, tmp_path, monkeypatch):
    given = {}
    fit = command.fit

    def spy(net, train, **options):
        given.update(train=train, validation=options["validation"])
        return fit(net, train, **options)

    monkeypatch.setattr(command, "fit", spy)
    assert call("train", recipe(), "--folder", "run")[0] == 0
    assert None not in (given["train"].vary, given["train"].vary_frames, given["train"].mix)
    hooks = {getattr(given["validation"], name) for name in ("vary", "vary_frames", "mix")}
    assert hooks == {None}
    read = snnkit.train.read_recipe(tmp_path / "recipe.toml")
    notes = snnkit.files.about(tmp_path / "run" / "net.h5").metadata
    assert notes["augment"] == read.to_dict()["data"]["augment"]
    assert notes["silence"] == given["validation"].silence == given["train"].silence == 3
    assert notes["augment"]["mask_time"] == {"longest": 9, "chance": 0.5}
    assert notes["augment"]["mask_channels"] is None
    assert snnkit.files.about(tmp_path / "run" / "results.h5").metadata["recipe"] == read.to_dict()
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == (tmp_path / "recipe.toml").read_bytes()
    first, second = (call("evaluate", "run/net.h5", "--split", "train", "--root", read.data.root) for _ in range(2))
    assert first[0] == 0 and first == second


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "longest = 9",
            "longest = 8",
            r"began with data\.augment\.mask_time\.longest = 9 and .*recipe.toml has 8; type",
        ),
        ("step = 20000", "step = 10000", r"the run in .*run began with data\.step = 20000 and .* has 10000"),
        ("blend = { chance = 0.6 }\n", "", r"data\.augment\.blend\.chance = 0\.6 and .* has nothing"),
        ("out = 8", "out = 7", r"began with network\.layers\.0\.out = 8 and .* has 7"),
        ("p = 0.2", "p = 0.3", r"began with network\.layers\.2\.p = 0\.2 and .* has 0\.3; type the same to continue"),
    ],
)
def test_a_run_does_not_go_on_with_another_recipe(call, recipe, trained, old, new, message):
    path = recipe(old, new)
    if "out" in old:
        path.write_text(path.read_text().replace("in = 8", "in = 7"))
    code, _, error = call("train", path, "--folder", trained, "--resume")
    assert code == 1 and re.search(message, error), error
    code, _, error = call("train", path, "--folder", trained)
    assert code == 1 and "holds checkpoints of an earlier run" in error


def test_a_run_goes_on_for_longer(call, recipe, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    kept = (tmp_path / "run" / "recipe.toml").read_bytes()
    code, out, error = call("train", recipe("epochs = 3", "epochs = 4"), "--folder", "run", "--resume")
    assert code == 0, error
    assert "epoch   4" in out and "epoch   3" not in out
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == kept


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({}, r"\[data.augment\] is empty; type e.g. mask_time = {longest = 8, chance = 0.5}, or leave it out"),
        ({"masktime": {}}, r"\[data.augment\] has no key 'masktime'; did you mean 'mask_time'\?"),
        ({"noise": {}}, r"\[data.augment\] has no key 'noise'; known: jitter_times, jitter_channels, shift_channels"),
        ({"mask_time": {"size": 3}}, r"\[data.augment.mask_time\] has no key 'size'; known: longest, chance"),
        ({"mask_time": {"longst": 3}}, r"\[data.augment.mask_time\] has no key 'longst'; did you mean 'longest'\?"),
        ({"mask_time": {}}, r"\[data.augment.mask_time\] needs longest, which is missing: type e.g. longest = 8"),
        ({"mask_time": 3}, r"\[data.augment\] mask_time is 3; needed is a table: type e.g. mask_time = {longest = 8, "),
        ({"mask_time": {"longest": 0}}, r"\[data.augment.mask_time\] longest is 0; needed is at least 1"),
        ({"mask_time": {"longest": 2.5}}, r"longest is 2.5; needed is a whole number"),
        ({"blend": {"chance": 1.5}}, r"\[data.augment.blend\] chance is 1.5; needed is at most 1 and above 0"),
        ({"blend": {"chance": 0}}, r"\[data.augment.blend\] chance is 0.0; needed is at most 1 and above 0"),
        ({"blend": {"proba": 0.1}}, r"\[data.augment.blend\] has no key 'proba'"),
        ({"jitter_times": {"std": -1}}, r"\[data.augment.jitter_times\] std is -1.0; needed is above 0: type e.g. std"),
        ({"shift_channels": {"most": 1.5}}, r"\[data.augment.shift_channels\] most is 1.5; needed is a whole number"),
        ({"jitter_channels": {"std": float("nan")}}, r"std is nan; needed is a finite number"),
    ],
)
def test_what_is_wrong_is_named(augment, message):
    layers = [{"type": "Linear", "in": 6, "out": 2}]
    with pytest.raises(RecipeError, match=message):
        recipe_from({"data": {"name": "shd", "augment": augment}, "network": {"layers": layers}})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"augment": {"blend": {}}}, r"unknown section \[augment\]; type \[data.augment\]"),
        ({"blend": {}}, r"unknown section \[blend\]; type \[data.augment.blend\]"),
        ({"data": {"mask_time": {}}}, r"\[data\] has no key 'mask_time'; it belongs in \[data.augment\]"),
        ({"data": {"longest": 3}}, r"\[data\] has no key 'longest'; it belongs in \[data.augment.mask_time\]"),
        ({"data": {"std": 3}}, r"it belongs in \[data.augment.jitter_times\] or \[data.augment.jitter_channels\]"),
        ({"epochs": 3}, r"unknown section \[epochs\]; epochs is a key that belongs in \[train\]"),
    ],
)
def test_what_stands_in_a_wrong_place_is_sent_to_the_right_one(table, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(table)


def test_masks_and_shifts_leave_something(tiny):
    data = snnkit.data.load(tiny[1], tiny[0])
    with pytest.raises(RecipeError, match=r"most is 30 and tiny has 30 channels; needed is less: type e.g. most = 6"):
        variation(data, AugmentSettings(shift_channels={"most": 30}))
    x, lengths = torch.zeros(40, 2, 6), torch.tensor([7, 13])
    masks = DataSettings(name="tiny", silence=2, augment={"mask_time": {"longest": 11}})
    with pytest.raises(RecipeError, match=r"longest is 11 and recordings have 11 steps; needed is less: .*longest = 2"):
        check_masks(masks, x, lengths)
    check_masks(masks, x, None)
    with pytest.raises(RecipeError, match=r"\[data.augment.mask_channels\] most is 6 and sequences have 6 channels"):
        check_masks(DataSettings(name="tiny", augment={"mask_channels": {"most": 6}}), x, lengths)
    check_masks(DataSettings(name="tiny"), x, lengths)


def test_a_mask_in_microseconds_is_refused_before_training(call, recipe):
    code, _, error = call("train", recipe("longest = 9", "longest = 90000"))
    assert code == 1
    assert re.search(r"mask_time\] longest is 90000 and recordings have \d+ steps; needed is less", error)


def test_the_example_fits_the_data_that_it_names(checkout):
    read = snnkit.train.read_recipe(checkout / "examples" / "recipes" / "shd.toml")
    assert read.data.augment is not None and read.data.augment.given == ("mask_time", "mask_channels", "blend")
    card = snnkit.data.card.read("shd")
    made = variation(Dataset(card, {}), read.data.augment)
    channels = -(-card.shape[0] // read.data.pool)
    assert read.network.layers[0]["in"] == channels and read.network.layers[-2]["out"] == len(card.classes)
    x, lengths = torch.ones(90, 40, channels), torch.full((40,), 90)
    check_masks(read.data, x, lengths)
    varied = made.vary_frames(x, lengths, torch.Generator().manual_seed(0))
    assert 0.4 < (varied == 0).any(0).any(1).float().mean() < 1.0
    _, target = made.mix(varied, lengths, torch.arange(40) % 20, torch.Generator().manual_seed(0))
    assert target.shape == (40, 20)


def test_images_are_not_augmented():
    digits = snnkit.data.load("digits")
    with pytest.raises(RecipeError, match=r"augment is given, and digits holds images, which have no use for it; they"):
        sequences(digits, DataSettings(name="digits", augment={"blend": {}}))


def test_settings_from_python_are_the_same():
    table = {"mask_time": {"longest": 4}}
    assert AugmentSettings(**table) == AugmentSettings(mask_time=MaskTime(longest=4))
    assert DataSettings(name="shd", augment=table).augment == AugmentSettings(**table)
    assert AugmentSettings(**EVERY).given == tuple(EVERY)


def test_a_shift_moves_a_recording_as_a_whole():
    draw = np.random.default_rng(0)
    recordings = [(np.sort(draw.integers(0, 9, 50)), draw.integers(10, 20, 50)) for _ in range(60)]
    found = snnkit.data.Events.build(recordings, np.zeros(60, int), shape=(30,), classes=("a", "b"))
    shifted = augment.shift_channels(found, most=10, generator=torch.Generator().manual_seed(0))
    moves = [set(shifted.recording(i)[1] - found.recording(i)[1]) for i in range(60)]
    assert all(len(by) == 1 for by in moves)
    assert {by for (by,) in moves} > {-10, 10} and all(-10 <= by <= 10 for (by,) in moves)
    assert np.array_equal(shifted.times, found.times)
    far = augment.shift_channels(found, most=29, generator=torch.Generator().manual_seed(0))
    assert len(far.times) < len(found.times) and len(far) == 60
    with pytest.raises(InputError, match=r"most is 0; a whole number of channels of at least 1 is needed"):
        augment.shift_channels(found, most=0, generator=torch.Generator())
