"""What the documents show works: every Python block of the README and every numbered example runs."""

import doctest
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
BLOCK = re.compile(r"^```python[^\S\n]*\n(.*?)^```[^\S\n]*$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> tuple[int, str]:
    """Return the number of Python blocks in a text, and one program of them with the text's line numbers."""
    program = [""] * (text.count("\n") + 1)
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        start = text.count("\n", 0, block.start(1))
        lines = block[1].splitlines()
        program[start : start + len(lines)] = lines
    return len(blocks), "\n".join(program) + "\n"


def report(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed process printed, its end first of all."""
    return f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_python_blocks_keep_their_line_numbers() -> None:
    count, program = python_blocks("# A\n```python\nx = 1\n```\ntext\n```bash\nls\n```\n```python\n\ny = x\n```\n")
    assert count == 2
    assert program.splitlines()[2] == "x = 1"
    assert program.splitlines()[10] == "y = x"
    assert "ls" not in program


def test_every_block_of_the_readme_runs(run_python, tmp_path: Path) -> None:
    text = README.read_text()
    count, program = python_blocks(text)
    assert count == len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", text, re.MULTILINE)), "a block is not run"
    assert count > 0, "README.md shows no Python"
    # Named as the README, so that a traceback points at the line of the README that failed.
    script = tmp_path / "README.py"
    script.write_text(program)
    done = run_python(script.name, timeout=110)
    assert done.returncode == 0, report(done)


def test_there_are_examples() -> None:
    numbers = [path.name[:2] for path in EXAMPLES]
    assert numbers, "examples/ holds no numbered example"
    assert numbers == sorted(set(numbers)), f"two examples share a number: {numbers}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_short(path: Path, run_python) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 40, f"{path.name} has {len(lines)} lines; an example has at most 40"
    done = run_python(str(path), timeout=110)
    assert done.returncode == 0, report(done)
    assert done.stdout.strip(), f"{path.name} prints nothing"


EXAMPLES_IN_TEXT = [
    *("network", "spiking", "stream", "neuron.description", "files.graph", "files.results"),
    *("synapse.delay", "synapse.delay_conv", "synapse.recurrent", "synapse.taps"),
    *("report.delays", "report.figures", "report.page", "report.pictures", "report.recordings", "report.theme"),
]


@pytest.mark.parametrize("name", EXAMPLES_IN_TEXT)
def test_examples_in_the_text_of_modules_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch
    from torch import nn

    import snnkit

    monkeypatch.chdir(tmp_path)
    net, x = (
        snnkit.Network(nn.Linear(64, 128), snnkit.LIF(), nn.Linear(128, 10), snnkit.Readout()),
        torch.rand(16, 8, 64),
    )
    snnkit.save(net, "net.h5", metadata={"accuracy": 0.97})
    snnkit.files.save_recording("run.h5", net.record(x))
    snnkit.files.save_results("results.h5", {"accuracy": 0.97})
    known = {"snnkit": snnkit, "torch": torch, "nn": nn, "np": np, "net": net, "x": x, "raster": snnkit.report.raster}
    found = doctest.testmod(importlib.import_module(f"snnkit.{name}"), extraglobs=known, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0
