"""`snnkit deploy`: what it prints and writes, and its errors in one line."""

import re

import pytest
import torch
from torch import nn

import snnkit
from snnkit.cli import main
from snnkit.data import encode
from snnkit.deploy import Emulated, lava
from snnkit.files import about
from snnkit.train import TrainSettings, evaluate, fit


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Return a function that runs `snnkit *words` in an empty folder and returns exit code, stdout and error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        code = ended.value.code
        return (1, capsys.readouterr().out, code) if isinstance(code, str) else (code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return files of a network with hard reset and of one with soft reset, both trained on digits."""
    data = snnkit.data.load("digits")
    folder = tmp_path_factory.mktemp("networks")
    notes = {"data": "digits", "encoder": "latency", "steps": 8, "read": "rate"}
    for reset in ("hard", "soft"):
        torch.manual_seed(0)
        lif = snnkit.LIF(tau=10.0, input_decay=False, reset=reset)
        readout = snnkit.Readout(tau=10.0, input_decay=False)
        net = snnkit.Network(nn.Flatten(), nn.Linear(64, 32, bias=False), lif, nn.Linear(32, 10), readout)

        def spikes(images, _):
            return encode.latency(images, steps=8)

        settings = TrainSettings(epochs=4, lr=0.02, batch_size=64)
        fit(net, (data.train.images, data.train.labels), settings=settings, encode=spikes)
        snnkit.save(net, folder / f"{reset}.h5", metadata=notes)
    return folder


def test_a_network_is_quantised_measured_fitted_and_written(call, model):
    code, out, error = call("deploy", model / "hard.h5", "--out", "chip.h5")
    assert code == 0, error
    assert "loihi2, 8-bit weights; 256 calibration samples" in out
    assert re.search(r"2 +lif +32 +dense 32 x 64", out)
    assert "digits, test: 359 samples" in out
    accuracy = float(re.search(r"accuracy of the network +([\d.]+)%", out)[1])
    on_chip = float(re.search(r"accuracy of the chip +([\d.]+)%", out)[1])
    assert accuracy > 80 and abs(accuracy - on_chip) < 1.5
    assert "Intel Loihi 2: fits" in out
    assert re.search(r"mean of 100 sample\(s\); estimate, loihi1 native .*; not counted: ", out)
    assert re.search(r"nJ for this network and [\d.,]+ nJ for one pass of an ANN with the same connections", out)
    assert "wrote chip.h5" in out
    chip = snnkit.deploy.load("chip.h5")
    data = snnkit.data.load("digits").test

    def spikes(images, _):
        return encode.latency(images, steps=8)

    again = evaluate(Emulated(chip), (data.images, data.labels), encode=spikes).accuracy
    assert f"{again:.2%}" == f"{on_chip:.2f}%"
    assert about("chip.h5").metadata == {
        "data": "digits", "encoder": "latency", "steps": 8, "read": "rate", "from": "hard.h5", "bits": 8,
    }  # fmt: skip


def test_both_files_of_a_network_are_evaluated_alike(call, model):
    code, deployed, error = call("deploy", model / "hard.h5", "--out", "chip.h5")
    assert code == 0, error
    tables = []
    for file in (model / "hard.h5", "chip.h5"):
        code, out, error = call("evaluate", file)
        assert code == 0, error
        tables.append(dict(re.findall(r"^ *(\S.*?) {2,}([\d.]+)%? *$", out, re.MULTILINE)))
    real, integers = tables
    assert list(real) == list(integers), "the same measurements"
    assert list(real)[:2] == ["samples", "accuracy"] and list(real)[-2:] == ["spikes per sample", "of layer 2"]
    assert re.search(rf"accuracy of the chip +{integers['accuracy']}%", deployed)
    assert float(integers["of layer 2"]) == pytest.approx(float(real["of layer 2"]), rel=0.05)
    assert float(integers["of layer 2"]) > 1


def test_bits_target_and_split_are_passed_on(call, model):
    code, out, error = call(
        "deploy", model / "hard.h5", "--bits", 4, "--target", "loihi1", "--split", "validation", "--data", "digits"
    )
    assert code == 0, error
    assert "loihi1, 4-bit weights" in out
    assert "digits, validation: 359 samples" in out
    assert re.search(r"Loihi\W.*: fits", out)


def test_a_soft_reset_is_refused_unless_it_may_differ(call, model):
    code, out, error = call("deploy", model / "soft.h5")
    assert (code, out) == (1, "")
    assert re.search(r"^snnkit: layer '2' \(lif\) subtracts its threshold.*approximate=\('hard_reset',\)", error)
    code, out, _ = call("deploy", model / "soft.h5", "--approximate", "hard_reset")
    assert code == 0
    assert "8-bit weights, hard_reset" in out


def test_fine_tuning_comes_before(call, model):
    words = ["--approximate", "hard_reset", "--bits", 4, "--tune", 2, "--lr", 0.005, "--split", "validation"]
    code, out, error = call("deploy", model / "soft.h5", *words)
    assert code == 0, error
    shares = {
        name: float(re.search(rf"accuracy of the {name} +([\d.]+)%", out)[1])
        for name in ("network", "fine-tuned network", "chip")
    }
    assert abs(shares["fine-tuned network"] - shares["chip"]) < 1.0
    assert shares["chip"] > shares["network"] - 3.0
    assert "4-bit weights; 256 calibration samples" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tune", "1", "--lr", "-1"], r"snnkit: \[train\] lr is -1"),
        (["--target", "loihi3"], r"snnkit: no target 'loihi3'; did you mean 'loihi"),
        (["--bits", "12"], r"snnkit: bits is 12; weights have 4 to 8"),
        (["--approximate", "softness"], r"snnkit: no approximation 'softness'"),
        (["--check", "lavva"], r"snnkit: no check 'lavva'; did you mean 'lava'\?; known: lava"),
        (["--split", "tset"], r"snnkit: no split 'tset'; did you mean 'test'\?"),
        (["--data", "digit"], r"snnkit: no data set 'digit'; did you mean 'digits'\?"),
    ],
)
def test_errors_are_one_line(call, model, words, message):
    code, _, error = call("deploy", model / "hard.h5", *words)
    assert code == 1
    assert re.search(message, error.strip()) and "\n" not in error.strip()


def test_without_lava_a_comparison_says_how_to_get_it(call, model, monkeypatch, tmp_path):
    monkeypatch.setenv("SNNKIT_LAVA", str(tmp_path / "none"))
    code, out, error = call("deploy", model / "hard.h5", "--check", "lava")
    assert (code, out) == (1, "")
    assert re.search(r"snnkit: there is no Lava environment in .*none; build it with", error)


def test_what_differs_on_lava_is_an_error(call, model, monkeypatch):
    def differs(chip, x):
        assert x.shape[1] == 7
        counts = {"compared": 10, "fired": 5, "spikes": 1, "u": 0, "v": 2, "pending": 0}
        return lava.Report(**counts, emulator_seconds=1.0, lava_seconds=2.0)

    monkeypatch.setattr(lava, "check", differs)
    monkeypatch.setattr(lava, "available", lambda: ("python", ""))
    code, _, error = call("deploy", model / "hard.h5", "--check", "lava", "--samples", 7)
    assert code == 1
    assert re.search(r"snnkit: the emulator and Lava differ: .*1 differ on Lava", error)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Return a file of a network whose readout has more inputs than a core of Loihi 1 has axons."""
    torch.manual_seed(0)
    lif = snnkit.LIF(tau=10.0, input_decay=False, reset="hard")
    net = snnkit.Network(nn.Flatten(), nn.Linear(64, 4200), lif, nn.Linear(4200, 10), snnkit.Readout())
    path = tmp_path_factory.mktemp("wide") / "wide.h5"
    snnkit.save(net, path, metadata={"data": "digits", "encoder": "latency", "steps": 2, "read": "rate"})
    return path


def test_what_does_not_fit_the_chip_is_an_error_unless_asked_for(call, wide, tmp_path):
    code, out, error = call("deploy", wide, "--target", "loihi1", "--out", "chip.h5")
    assert code == 1
    assert re.search(
        r"^snnkit: the network does not fit loihi1: input_axons_per_core is 4,\d+ in '4', and 4,096 axons are allowed: "
        r"take fewer inputs .*; type --oversize to go on nevertheless$",
        error.strip(),
    )
    assert "does not fit" in out and "accuracy" not in out
    assert not (tmp_path / "chip.h5").exists()
    code, out, error = call("deploy", wide, "--target", "loihi1", "--out", "chip.h5", "--oversize")
    assert (code, error) == (0, "")
    assert "hard limit: input_axons_per_core" in out and "accuracy of the chip" in out
    assert (tmp_path / "chip.h5").exists()


def test_a_missing_folder_is_told_before_anything_is_computed(call, model):
    code, out, error = call("deploy", model / "hard.h5", "--out", "none/chip.h5")
    assert (code, out) == (1, "")
    assert re.search(r"snnkit: no folder .*none to write chip.h5 in; make it first", error)


@pytest.mark.lava
def test_lava_fires_the_same_spikes(call, model):
    code, out, error = call("deploy", model / "hard.h5", "--check", "lava", "--samples", 10)
    assert code == 0, error
    assert re.search(
        r"10 samples, [\d,]+ outputs of neurons \([\d,]+ spikes\): the same on Lava, and so is the last", out
    )
