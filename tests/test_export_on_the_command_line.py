"""`snnkit export` writes what it says, and says what to type where it cannot."""

import shutil

import pytest
from torch import nn

import snnkit
from snnkit import deploy
from snnkit.cli import main
from snnkit.deploy import c99, draw


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Return a function that runs `snnkit *words` in an empty folder and returns exit code or error, and stdout."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(words)
        return ended.value.code, capsys.readouterr().out

    return run


def test_c_is_written_checked_and_measured(call, tmp_path):
    deploy.save(draw.network(4), tmp_path / "chip.h5")
    code, out = call("export", "chip.h5", "--c", "firmware")
    assert code == 0
    c99.check(tmp_path / "firmware")
    assert "bytes of constants and" in out
    if shutil.which("gcc"):
        sizes = c99.measure("firmware")
        assert f"compiled for size on this machine: code {sizes['code']:,}, data 0, bss 0 bytes" in out


def test_without_a_compiler_the_export_is_still_written(call, tmp_path, monkeypatch):
    deploy.save(draw.network(4), tmp_path / "chip.h5")
    monkeypatch.setenv("PATH", "")
    code, out = call("export", "chip.h5", "--c", "firmware")
    assert code == 0
    assert "not compiled: no C compiler gcc or cc on the PATH" in out
    c99.check(tmp_path / "firmware")


def test_a_network_of_real_numbers_is_told_to_be_quantised(call, tmp_path):
    snnkit.save(snnkit.Network(nn.Linear(4, 3), snnkit.LIF()), tmp_path / "net.h5")
    error, _ = call("export", "net.h5", "--c", "firmware")
    assert "net.h5 holds a network of real numbers and --c writes integers; type snnkit deploy net.h5" in error
    assert not (tmp_path / "firmware").exists()


def test_an_export_to_nowhere_is_refused(call, tmp_path):
    error, _ = call("export", "chip.h5")
    assert "export needs to know where to; give one of --c" in error
