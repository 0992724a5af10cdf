"""What every test gets: fixed seeds, one thread per worker, a kernel cache of its own, clean subprocesses."""

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy
import pytest

import snnkit

ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Programs that tests start print as they do for themselves, whatever the width of a terminal and under `make test`.
for outer in ("COLUMNS", "LINES", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(outer, None)

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")


def _missing_gpu() -> str:
    """Return why GPU tests cannot run here, or an empty string."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    import torch

    return "" if torch.cuda.is_available() else "torch finds no CUDA device"


def _missing_lava() -> str:
    """Return why Lava's tests cannot run here, or an empty string; where SNNKIT_LAVA is set they have to."""
    from snnkit.deploy import lava

    return "" if os.environ.get("SNNKIT_LAVA") else lava.available()[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` and `lava` where there is none, and say why."""
    for mark, missing in (("gpu", _missing_gpu), ("lava", _missing_lava)):
        marked = [item for item in items if item.get_closest_marker(mark)]
        reason = missing() if marked else ""
        for item in marked if reason else ():
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Give every test the same random numbers whatever ran before it."""
    random.seed(0)
    numpy.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or min(2, os.cpu_count() or 1))


@pytest.fixture
def nan_in_fresh_memory() -> Iterator[None]:
    """Fill the memory that torch hands out with NaN, so that what a kernel leaves unwritten shows."""
    import torch

    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of compiled kernels: `SNNKIT_CACHE`, or a fresh one shared by all workers."""
    if "SNNKIT_CACHE" not in os.environ:
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        os.environ["SNNKIT_CACHE"] = str(shared / "snnkit-cache")
    return Path(os.environ["SNNKIT_CACHE"])


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of downloaded data sets, or skip the test where `SNNKIT_DATA` names none."""
    root = os.environ.get("SNNKIT_DATA")
    if not root:
        pytest.skip("SNNKIT_DATA is not set, so there are no downloaded data sets")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"SNNKIT_DATA names {root}, which is not a folder")
    return path


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `python *args` in an empty folder, where it sees the snnkit under test.

    It takes `timeout` in seconds and `env` for more variables, and returns the finished process.
    """

    def run(*args: str, timeout: float = 60, env: dict[str, str] | None = None):
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(snnkit.__file__).parent.parent)} | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
