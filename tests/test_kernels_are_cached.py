"""Kernels are compiled once: a second process reads them, and a folder that cannot be written stops nobody."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from snnkit import settings
from snnkit.codegen import cache
from snnkit.errors import FileError

SCRIPT = """
import json, sys, torch, snnkit
from snnkit.codegen import cpu
layer = snnkit.LIF(tau=3.0, learn=("tau",))
layer(torch.rand(5, 2, 3, requires_grad=True)).sum().backward()
kernel = layer.kernel
functions = [cpu.compiled(kernel, "float32", w) for w in (None, (True, False, False))]
hits = [sum(f.stats.cache_hits.values()) for f in functions]
derived = "snnkit.codegen.adjoint" in sys.modules
print(json.dumps({"hits": hits, "derived": derived, "file": functions[0].py_func.__code__.co_filename}))
"""


def test_a_second_process_does_not_compile(run_python, tmp_path: Path) -> None:
    env = {"SNNKIT_CACHE": str(tmp_path / "cache")}
    first, second = (run_python("-c", SCRIPT, env=env, timeout=100) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["hits"] == [0, 0]
    found = json.loads(second.stdout)
    assert found["hits"] == [1, 1]
    assert not found["derived"], "the derivative was made again"
    assert "lif" in Path(found["file"]).name and Path(found["file"]).is_relative_to(tmp_path / "cache")
    assert (tmp_path / "cache" / "kernels").stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_made_is_replaced(run_python, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_python("-c", SCRIPT, env={"SNNKIT_CACHE": str(tmp_path / "file")}, timeout=100)
    assert done.returncode == 0, done.stderr
    used = Path(json.loads(done.stdout)["file"])
    assert "snnkit-kernels-" in str(used)
    assert not used.parent.exists(), "the temporary folder stayed behind"


def test_a_user_without_a_home_has_kernels_and_is_told_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SNNKIT_CACHE")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(FileError, match=r"this user has no home folder for a cache; export SNNKIT_CACHE="):
        settings.cache_dir()
    used = cache.folder.__wrapped__()
    assert used.is_dir() and used.stat().st_mode & 0o077 == 0
    cache._remove(used, os.getpid() + 1)
    assert used.is_dir(), "a fork removed what its parent uses"
    cache._remove(used, os.getpid())
    assert not used.exists()


def test_a_damaged_source_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    assert cache.load("part", "key", lambda: "value = 1\n").value == 1
    (path,) = tmp_path.glob("part_*.py")
    path.write_text("value = (", encoding="utf-8")
    assert cache.load("part", "key", lambda: "value = 1\n").value == 1


def test_sources_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        cache.write(tmp_path / "part.py", "value = 1\n")
    assert list(tmp_path.iterdir()) == []
