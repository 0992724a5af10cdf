"""`snnkit demo`: the main job from start to report."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

import snnkit
from snnkit.cli.console import standard
from snnkit.cli.demo import job, output
from snnkit.cli.demo.plan import plan
from snnkit.cli.demo.section import Demo
from snnkit.cli.demo.sections import SECTIONS
from snnkit.errors import FileError


def demo(*, seeds: int, quick: bool, out: Path) -> Demo:
    """Train, measure, print and write.

    Args:
        seeds: pairs of networks.
        quick: train for a few seconds only.
        out: the folder of the files.
    Raises:
        FileError: the folder cannot be made.
    """
    since = time.monotonic()
    console = standard()
    _check_folder(out)
    chosen = plan(seeds, quick=quick)
    data = snnkit.data.load("digits")
    counts = " + ".join(str(len(getattr(data, name))) for name in ("train", "validation", "test"))
    _say(console, f"snnkit {snnkit.__version__}: {counts} real digits to train on, to choose by, to test on")
    if quick:
        _say(console, f"quick: {chosen.epochs} epochs, so the figures are below what the full demo reaches")
    with job.one_thread():
        with console.status("compiling kernels"):
            took = job.compile_kernels(chosen)
        _say(console, f"kernels ready in {took:.1f} s")
        runs = tuple(job.run(chosen, data, seed=seed, say=lambda line: _say(console, line)) for seed in chosen.seeds)
        with console.status("measuring and drawing"):
            results = tuple({section.key: dict(section.compute(run)) for section in SECTIONS} for run in runs)
            finished = Demo(SECTIONS, chosen, runs, results, _command(seeds, quick, out), time.monotonic() - since)
            files = output.write(finished, out)
    console.print()
    console.print(output.table(finished))
    console.print()
    _say(console, f"energy: {runs[0].snn.cost.label}")
    _say(console, f"energy on the chip: {results[0]['chip']['label']}")
    _say(console, f"chip: {results[0]['chip']['lava']['said']}")
    for path in files:
        _say(console, f"wrote {path}")
    _say(console, f"{time.monotonic() - since:.0f} s in all; open {files[-1]} in a browser")
    return finished


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _command(seeds: int, quick: bool, out: Path) -> str:
    words = ["snnkit demo", *([f"--seeds {seeds}"] if seeds > 1 else []), *(["--quick"] if quick else [])]
    return " ".join([*words, *([f"--out {out}"] if out != Path("snnkit-demo") else [])])


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"the folder {out} cannot be made: {error.strerror}; name another with --out") from None
