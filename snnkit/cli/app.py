"""Commands and their options; the work is in the modules that each command imports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from snnkit import __version__
from snnkit.cli import bench
from snnkit.errors import SnnkitError

app = typer.Typer(
    help="Describe, simulate, train, convert and deploy spiking networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench.app, name="bench")
data_app = typer.Typer(help="The data sets that cards describe.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Root = Annotated[Path | None, typer.Option(help="folder of downloaded data; SNNKIT_DATA unless given")]


def run(arguments: list[str]) -> None:
    """Run one command and exit: 0, 1 for an error or an interruption, 2 for a wrong call.

    An error is one line on stderr, wherever it comes from; `--debug`, before or after the command, shows where.
    """
    debug = "--debug" in arguments
    try:
        app([word for word in arguments if word != "--debug"], prog_name="snnkit")
    except Exception as error:
        if debug:
            raise
        sys.exit(f"snnkit: {_line(error)}")


def _line(error: Exception) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split())
    if isinstance(error, SnnkitError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {text}; add --debug to see where"


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks of errors")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None:
    """Describe, simulate, train, convert and deploy spiking networks."""


@app.command()
def demo(
    seeds: Annotated[int, typer.Option(min=1, help="pairs of networks, for a mean and its spread")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="train for seconds, to see that all works")] = False,
    out: Annotated[Path, typer.Option(help="folder of the network, the figures and report.html")] = Path("snnkit-demo"),
) -> None:
    """Train a spiking network and its ANN counterpart on real digits; measure both; write a report."""
    from snnkit.cli.demo import command as work

    work.demo(seeds=seeds, quick=quick, out=out)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="a TOML file; see examples/recipes")],
    root: Root = None,
    folder: Annotated[Path | None, typer.Option(help="where results go, in place of the recipe's")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue a run that was stopped")] = False,
) -> None:
    """Train what a recipe describes."""
    from snnkit.cli import train as work

    work.train(recipe, root=root, folder=folder, resume=resume)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="a network file, such as runs/train/net.h5")],
    data: Annotated[str | None, typer.Option(help="data set; the one that it was trained on unless given")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    root: Root = None,
) -> None:
    """Measure a stored network on data."""
    from snnkit.cli import evaluate as work

    work.evaluate(model, data=data, split=split, root=root)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="a network file, such as net.h5 or chip.h5")],
    nir: Annotated[Path | None, typer.Option("--nir", help="file for NIR of a network, checked by its spikes")] = None,
    netx: Annotated[Path | None, typer.Option("--netx", help="file for NetX of an integer network")] = None,
    c: Annotated[
        Path | None, typer.Option("--c", help="folder for C99 of an integer network, with a self-test")
    ] = None,
    dt: Annotated[float, typer.Option(help="with --nir: seconds for one step")] = 1e-3,
    shape: Annotated[str | None, typer.Option(help="with --nir: of one step of the input, such as 2,34,34")] = None,
    soft_reset: Annotated[str, typer.Option(help="with --nir: refuse, or metadata")] = "refuse",
) -> None:
    """Write a stored network in another form."""
    from snnkit.cli import export as work

    work.export(model, {"nir": nir, "netx": netx, "c": c}, work.Options(dt, shape, soft_reset))


@app.command()
def deploy(
    model: Annotated[Path, typer.Argument(help="a network file, such as runs/train/net.h5")],
    target: Annotated[str, typer.Option(help="loihi1 or loihi2")] = "loihi2",
    bits: Annotated[int, typer.Option(help="of a weight, 4 to 8")] = 8,
    approximate: Annotated[
        list[str] | None, typer.Option(help="hard_reset, clamp_delays or early_bias, if needed")
    ] = None,
    tune: Annotated[int, typer.Option(min=0, help="epochs of fine-tuning before, with rounded weights")] = 0,
    lr: Annotated[float, typer.Option(help="with --tune: learning rate at the start")] = 1e-3,
    data: Annotated[str | None, typer.Option(help="data set; the one that it was trained on unless given")] = None,
    split: Annotated[str, typer.Option(help="what to measure on: train, validation or test")] = "test",
    check: Annotated[str | None, typer.Option(help="lava: compare every spike with Lava's simulation")] = None,
    samples: Annotated[int, typer.Option(min=1, help="how many are compared, and energy is counted on")] = 100,
    out: Annotated[Path | None, typer.Option(help="where the chip's network goes, such as chip.h5")] = None,
    oversize: Annotated[
        bool, typer.Option("--oversize", help="go on where it breaks a hard limit of the chip")
    ] = False,
    root: Root = None,
) -> None:
    """Put a stored network into a chip's integers; report what that changes, and what it takes on the chip."""
    from snnkit.cli import deploy as work

    request = work.Request(target, bits, tuple(approximate or ()), check, samples, tune, lr, oversize)
    work.deploy(model, request, data=data, split=split, root=root, out=out)


@app.command()
def doctor(
    model: Annotated[Path | None, typer.Argument(help="a network file, to see each layer's backend")] = None,
    batch: Annotated[int, typer.Option(min=1, help="samples that costs of delays are estimated for")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="and steps")] = 100,
) -> None:
    """Show what is installed, what is missing and how to get it, and which backend runs each layer."""
    from snnkit.cli import doctor as work

    work.doctor(model, batch=batch, steps=steps)


@app.command()
def neuron(
    name: Annotated[str | None, typer.Argument(help="a neuron, such as LIF; all of them unless given")] = None,
    reset: Annotated[str | None, typer.Option(help="soft or hard")] = None,
    kernel: Annotated[str | None, typer.Option(help="print its source: reference, cpu or cuda")] = None,
    backward: Annotated[bool, typer.Option("--backward", help="with --kernel: the reverse of it")] = False,
) -> None:
    """Show a neuron's equations, parameters, source in the literature, and kernels."""
    from snnkit.cli import neuron as work

    work.neuron(name, reset=reset, kernel=kernel, backward=backward)


@data_app.command("list")
def data_list() -> None:
    """List the data sets that snnkit knows."""
    from snnkit.cli import data as work

    work.list_cards()


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(help="a data set, such as digits, or the path of a card.toml")],
    index: Annotated[int | None, typer.Option(min=0, help="draw this sample, in place of the card")] = None,
    split: Annotated[str, typer.Option(help="with --index: train, validation or test")] = "train",
    out: Annotated[Path | None, typer.Option(help="with --index: where the picture goes, such as digit.png")] = None,
    root: Root = None,
) -> None:
    """Show a data set's card, or draw one of its samples: a raster of events, an image, a spectrogram."""
    from snnkit.cli import data as work

    if index is None:
        work.show_card(name)
    else:
        work.draw(name, index, split=split, out=out, root=root)


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="a data set, such as shd, or the path of a card.toml")],
    root: Root = None,
) -> None:
    """Verify a data set's files and read them once, so that later runs start at once."""
    from snnkit.cli import data as work

    work.prepare(name, root=root)
