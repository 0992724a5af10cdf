"""Lava's own fixed-point models give the emulator's spikes, states and pending sums, on networks drawn at random."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from snnkit.deploy import Connection, Conv, Dense, IntegerNetwork, Population, Sparse, draw, lava, store
from snnkit.errors import BackendError, FileError, InputError, MissingPackageError

SEEDS = range(20)


@pytest.mark.lava
@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_run_alike(seed: int) -> None:
    chip = draw.network(seed)
    x = draw.spikes(chip, seed, steps=80 if seed == 3 else 25)
    report = lava.check(chip, x)
    assert report.mismatches == 0, str(report)
    assert report.compared == sum(p.size for p in chip.populations) * len(x) * x.shape[1]


def test_the_fixed_networks_have_every_part() -> None:
    connections = [part for seed in SEEDS for part in draw.network(seed).connections]
    assert {type(part.synapses) for part in connections} == {Dense, Sparse, Conv}
    assert {part.sign for part in connections} == {"mixed", "excitatory", "inhibitory"}
    assert {part.bits for part in connections} >= {4, 5, 6, 7, 8}
    assert max(part.max_delay for part in connections) == 62
    assert any(part.source == part.target for part in connections)
    assert min(part.exponent for part in connections) < 0 < 10 < max(part.exponent for part in connections)


def small(**options) -> IntegerNetwork:
    out = Population("out", (2,), 4095, 100, 50)
    weight = Dense(np.array([[240, 20, -30], [60, -10, 10]]))
    return IntegerNetwork((3,), (out,), (Connection("c", "input", "out", weight, **options),))


@pytest.mark.lava
def test_records_are_the_emulators(tmp_path) -> None:
    chip = draw.network(2)
    x = draw.spikes(chip, 2, steps=12)
    store.save(chip, tmp_path / "chip.h5")
    found, expected = lava.record(tmp_path / "chip.h5", x), chip.record(x)
    assert found.keys() == expected.keys()
    for name, trace in expected.items():
        assert torch.equal(found[name], trace) and found[name].dtype == trace.dtype, name


@pytest.mark.lava
def test_a_difference_is_seen(monkeypatch) -> None:
    chip, x = small(), torch.ones(9, 1, 3)
    expected = chip.record(x, ["out"])
    monkeypatch.setattr(IntegerNetwork, "record", lambda self, x, names: {"out": 1 - expected["out"]})
    report = lava.check(chip, x)
    assert report.spikes == report.compared == 18 and report.mismatches == 18
    assert "18 differ on Lava; of the last state 0 values differ" in str(report)


def test_what_lava_cannot_run_is_refused() -> None:
    with pytest.raises(InputError, match=r"the chip got .* and needs a tensor \[T, B, 3\]"):
        lava.run(small(), torch.zeros(5, 1, 4))
    for call in (lava.run, lava.record, lava.check):
        with pytest.raises(
            InputError, match=r"Lava runs networks in the chip's integers, and files of th.*, not Linear"
        ):
            call(torch.nn.Linear(3, 2), torch.zeros(5, 1, 3))
    with pytest.raises(InputError, match=r"inputs up to 8,000,000 times the weights of connection 'c' sum up to more"):
        lava.run(small(graded=True, bits=8), 8_000_000 * torch.ones(5, 1, 3, dtype=torch.int64))
    chip = small()
    alone = Population("alone", (2,), 0, 0, 5)
    with pytest.raises(InputError, match="what is connected to 'out', the last population, and alone is not; take it"):
        lava.run(IntegerNetwork((3,), (alone, *chip.populations), chip.connections), torch.zeros(5, 1, 3))
    with pytest.raises(FileError, match="no file"):
        lava.run("nowhere.h5", torch.zeros(5, 1, 3))


def test_without_an_environment_it_says_how_to_get_one(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SNNKIT_LAVA", str(tmp_path))
    with pytest.raises(MissingPackageError, match=r"there is no Lava environment in .*; build it with `python .*build"):
        lava.run(small(), torch.zeros(5, 1, 3))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert "is unfinished or of another version; build it with" in lava.available()[1]


@pytest.mark.lava
def test_loihi_itself_needs_what_only_intel_gives() -> None:
    with pytest.raises(BackendError, match="running on Loihi 2 needs lava-loihi here; Intel gives it to members"):
        lava.run(small(), torch.zeros(5, 1, 3), hardware=True)


def test_doctor_says_where_lava_is_or_how_to_get_it(run_python, tmp_path) -> None:
    done = run_python("-m", "snnkit", "doctor", env={"SNNKIT_LAVA": str(tmp_path), "COLUMNS": "400"})
    assert f"missing: there is no Lava environment in {tmp_path}; build it with" in done.stdout, done.stderr


def build(checkout, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = str(checkout / "hardware" / "lava" / "build.py")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNNKIT_LAVA", "PYENV"))}
    return subprocess.run(
        [sys.executable, script, *arguments], env=kept | environment, capture_output=True, text=True, check=False
    )


def test_without_python_3_10_the_build_says_what_to_do(checkout, tmp_path) -> None:
    done = build(checkout, str(tmp_path / "lava"), PATH=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 1 and not (tmp_path / "lava").exists()
    assert "Lava needs Python 3.10, and there is none: no `python3.10` on the PATH runs" in done.stderr
    assert "pyenv install 3.10" in done.stderr and "SNNKIT_LAVA_PYTHON=/path/to/python3.10" in done.stderr


def test_another_python_than_3_10_is_refused(checkout, tmp_path) -> None:
    done = build(checkout, str(tmp_path / "lava"), SNNKIT_LAVA_PYTHON=sys.executable)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1 and f"is Python {version}; Lava needs 3.10" in done.stderr
    done = build(checkout, str(tmp_path / "lava"), SNNKIT_LAVA_PYTHON="/nowhere/python3.10")
    assert (
        done.returncode == 1 and "SNNKIT_LAVA_PYTHON=/nowhere/python3.10 does not run; Lava needs 3.10" in done.stderr
    )


def test_an_environment_that_is_there_is_kept(checkout, tmp_path) -> None:
    wanted = (checkout / "hardware" / "lava" / "requirements.txt").read_text()
    (tmp_path / "snnkit-lava.txt").write_text(wanted)
    done = build(checkout, str(tmp_path), PATH="")
    assert done.returncode == 0 and done.stdout == f"the Lava environment is in {tmp_path}\n"
