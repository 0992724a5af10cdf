"""Event data on the command line: samples are drawn, sets prepared, and recipes train on them."""

import re

import pytest
import torch
from event_files import atis_set, mel_set, spike_set

from snnkit import data
from snnkit.cli import main
from snnkit.cli.sequences import sequences
from snnkit.errors import RecipeError
from snnkit.train.recipe import DataSettings


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


@pytest.mark.parametrize("make", [spike_set, atis_set, mel_set], ids=["channels", "camera", "spectrogram"])
def test_a_sample_is_drawn(call, tmp_path, make):
    code, out, _ = call("data", "show", make(tmp_path), "--index", 1, "--split", "validation", "--root", tmp_path)
    assert (code, out) == (0, "wrote tiny-validation-1.png\n")
    picture = (tmp_path / "tiny-validation-1.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 4000


def test_an_image_and_an_empty_recording_are_drawn(call, tmp_path):
    assert call("data", "show", "digits", "--index", 3, "--out", "deep/three.png")[0] == 0
    assert (tmp_path / "deep" / "three.png").stat().st_size > 2000
    assert call("data", "show", spike_set(tmp_path), "--index", 1, "--root", tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", "99"], r"train of tiny has 8 samples, 0 to 7: no 99"),
        (["--index", "0", "--split", "trian"], r"no split 'trian'; did you mean 'train'\?"),
        (["--index", "0", "--out", "a.jpeg"], r"a.jpeg ends in '.jpeg'; .png, .svg or .pdf is needed"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, tmp_path, words, message):
    code, _, error = call("data", "show", spike_set(tmp_path), "--root", tmp_path, *words)
    assert code == 1 and re.search(message, error)


def test_prepare_reads_all_parts_once(call, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "cache"))
    code, out, _ = call("data", "prepare", spike_set(tmp_path), "--root", tmp_path)
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["train", "8", "2"],
        ["validation", "4", "1"],
        ["test", "4", "1"],
    ]
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 2
    code, out, _ = call("data", "show", tmp_path / "card.toml")
    assert code == 0 and 'name = "tiny"' in out


RECIPE = """
[data]
name = "{card}"
root = "{root}"
step = 20000
pool = 5
[network]
layers = [
    {{type = "Linear", in = 6, out = 8}},
    {{type = "LIF"}},
    {{type = "Linear", in = 8, out = 2}},
    {{type = "Readout"}},
]
[train]
epochs = 2
batch_size = 4
"""


def recipe(folder, path, old="", new=""):
    text = RECIPE.format(card=path, root=folder)
    assert old in text
    (folder / "recipe.toml").write_text(text.replace(old, new))
    return folder / "recipe.toml"


def test_a_recipe_trains_on_events_and_its_network_is_measured_alike(call, tmp_path):
    code, out, error = call("train", recipe(tmp_path, spike_set(tmp_path)))
    assert code == 0, error
    assert "validation accuracy" in out
    code, out, error = call("evaluate", "runs/train/net.h5", "--root", tmp_path)
    assert code == 0, error
    assert re.search(r"samples +4\s", out)


def test_a_recipe_trains_on_signals(call, tmp_path):
    path = recipe(tmp_path, mel_set(tmp_path), "step = 20000\npool = 5\n")
    path.write_text(path.read_text().replace("in = 6", "in = 12"))
    code, _, error = call("train", path)
    assert code == 0, error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step = 20000\n", "", r"\[data\] needs step for tiny, the width of a bin in microseconds: type e.g. step = 1"),
        (
            "step = 20000",
            "step = 20",
            r"\[data\] step is 20 microseconds, which makes [\d,]+ steps of a recording of .* s; ",
        ),
        ("pool = 5", "pools = 5", r"\[data\] has no key 'pools'; did you mean 'pool'\?"),
        ("pool = 5", "pool = 0", r"\[data\] pool is 0; needed is at least 1|pool is 0"),
        ("pool = 5", 'binning = "square"', r"binning is .square.; needed is one of uniform, squeezed"),
        ("pool = 5", 'encoder = "latency"', r"encoder is given, and tiny holds events, which have no use for it; they"),
        ("in = 6", "in = 7", r"the layers refuse inputs of \[6\] per step and sample"),
        (
            '"Linear", in = 6',
            '"DelayLinear", in = 7',
            r"the layers refuse inputs of \[6\] per .*: DelayLinear got shape",
        ),
    ],
)
def test_recipes_of_events_are_checked(call, tmp_path, old, new, message):
    code, _, error = call("train", recipe(tmp_path, spike_set(tmp_path), old, new))
    assert code == 1 and re.search(message, error)


def test_recipes_of_images_have_no_bins(tmp_path):
    with pytest.raises(
        RecipeError, match=r"step is given, and digits holds images, which have no use for it; they take"
    ):
        sequences(data.load("digits"), DataSettings(name="digits", step=1000))
    code = sequences(data.load("digits"), DataSettings(name="digits"))
    assert code.first(data.load("digits").train, 3, torch.Generator()).shape == (16, 3, 1, 8, 8)
