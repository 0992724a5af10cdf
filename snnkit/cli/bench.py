"""`snnkit bench`: speed and memory, after a check that the results are the same."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

app = typer.Typer(help="Measure speed and memory against named peers, after comparing results.", no_args_is_help=True)

_STEPS = (64, 256, 1024, 4096)
_SIZES = (1_000, 10_000, 100_000, 1_000_000)


@app.callback()
def _group() -> None:
    """Measure speed and memory against named peers, after comparing results."""


@app.command()
def neuron(
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    sizes: Annotated[str, typer.Option(help="numbers of neurons, with commas")] = "512,4096",
    threads: Annotated[str, typer.Option(help="numbers of threads, with commas")] = "1,2",
    repeat: Annotated[int, typer.Option(min=1, help="rounds; the best of each contender counts")] = 5,
    scaling: Annotated[bool, typer.Option(help="also time per neuron-step over T and N")] = True,
    memory: Annotated[bool, typer.Option(help="also the peak memory of each contender (Linux)")] = True,
    out: Annotated[Path | None, typer.Option(help="write what is printed to this file as well")] = None,
) -> None:
    """Time one layer, forward and backward, at T=500 and B=16."""
    import warnings

    from rich.console import Console

    from snnkit.cli import bench_neuron as bench

    warnings.simplefilter("ignore")
    console = Console(record=True, width=100 if out else None)
    options = f"--device {device} --sizes {sizes} --threads {threads} --repeat {repeat}"
    console.print(f"snnkit bench neuron {options}\n{bench.machine(device)}", highlight=False)
    checked = bench.gate(list(bench.PEERS), device)
    for name, spikes in checked.items():
        console.print(f"  equal to snnkit in all {spikes:,} spikes: {name}", highlight=False)
    counts = [int(n) for n in threads.split(",")] if device == "cpu" else [1]
    for size in map(int, sizes.split(",")):
        console.print(_compare(size, counts, device, repeat, memory))
    if scaling:
        console.print(_scaling(device, repeat))
    if device == "cuda":
        console.print(f"copy on the device: {bench.copy_bandwidth(device) / 1e9:,.0f} GB/s, read and written")
    if out is not None:
        _write(console, out)


@app.command()
def delay(
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: Annotated[str, typer.Option(help="numbers of threads, with commas")] = "1,2",
    repeat: Annotated[int, typer.Option(min=1, help="rounds; the best counts")] = 5,
    windows: Annotated[str, typer.Option(help="longest delays of the training step, with commas")] = "24",
    out: Annotated[Path | None, typer.Option(help="write what is printed to this file as well")] = None,
) -> None:
    """Time layers with learnable delays against the dense convolution, and print what the cost model expects."""
    import warnings

    import torch
    from rich.console import Console

    from snnkit.cli import bench_delay as bench
    from snnkit.cli.bench_neuron import machine

    warnings.simplefilter("ignore")
    console = Console(record=True, width=110 if out else None)
    options = f"--device {device} --threads {threads} --repeat {repeat} --windows {windows}"
    console.print(f"snnkit bench delay {options}\n{machine(device)}", highlight=False)
    checked = bench.gate(device)
    console.print(
        f"equal to the convolution, outputs and gradients: {len(checked)} pairs of case and method, largest difference "
        f"{max(checked.values()):.1e} of the largest value",
        highlight=False,
    )
    for name, spikes in bench.recurrent.gate().items() if device == "cpu" else ():
        console.print(f"equal to the fused layer in all {spikes:,} spikes: {name}", highlight=False)
    for count in [int(n) for n in threads.split(",")] if device == "cpu" else [1]:
        torch.set_num_threads(count)
        where = f"{count} thread{'s' if count > 1 else ''}" if device == "cpu" else "GPU"
        for table in bench.tables(where, device, repeat, [int(window) for window in windows.split(",")]):
            console.print(table)
    if device == "cpu":
        torch.set_num_threads(1)
        console.print(bench.streams())
    if out is not None:
        _write(console, out)


@app.command()
def deploy(
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: Annotated[str, typer.Option(help="numbers of threads, with commas")] = "1,2",
    out: Annotated[Path | None, typer.Option(help="write what is printed to this file as well")] = None,
) -> None:
    """Time the chip's emulator against Lava's simulation, and on a test set of 10,000 samples."""
    import torch
    from rich.console import Console

    from snnkit.cli import bench_deploy as bench
    from snnkit.cli.bench_neuron import machine
    from snnkit.deploy import lava

    console = Console(record=True, width=100 if out else None)
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    say(f"snnkit bench deploy --device {device} --threads {threads}\n{machine(device)}")
    chip, (environment, reason) = bench.network(), lava.available()
    sizes = "-".join(map(str, bench.SIZES))
    if environment is None:
        say(f"not compared with Lava: {reason}")
    else:
        torch.set_num_threads(1)
        found = bench.against_lava(chip)
        say(f"{sizes}, 10% of inputs spike: equal to Lava in {found.compared:,} outputs, and in the state at the end")
        say(f"one sample, emulator: {1e6 * found.emulator:.1f} us a step")
        say(f"one sample, Lava: {1e6 * found.lava:.0f} us a step, after {found.start:.1f} s before the first")
        say(f"Lava's steps take {found.lava / found.emulator:.0f}x the emulator's")
    name, x = bench.whole_set()
    for count in [int(n) for n in threads.split(",")] if device == "cpu" else [1]:
        torch.set_num_threads(count)
        seconds = bench.evaluated(chip, x, device=device)
        where = f"{count} thread{'s' if count > 1 else ''}" if device == "cpu" else "GPU"
        say(f"{x.shape[1]:,} {name}, {len(x)} steps, {x.float().mean():.0%} spikes, {where}: {seconds:.2f} s")
    if out is not None:
        _write(console, out)


def _compare(size: int, threads: list[int], device: str, repeat: int, memory: bool) -> Table:
    """Return the table of one number of neurons."""
    from rich.table import Table

    from snnkit.cli import bench_neuron as bench
    from snnkit.train.progress import Bar

    shape = (bench.T, bench.B, size)
    names = list(bench.available())
    table = Table(title=f"LIF forward and backward, T={bench.T}, B={bench.B}, N={size}", title_justify="left")
    table.add_column("contender")
    for count in threads:
        table.add_column(f"ms, {count} thread{'s' if count > 1 else ''}" if device == "cpu" else "ms", justify="right")
        table.add_column("of snnkit", justify="right")
    if device == "cuda":
        table.add_column("GB/s", justify="right")
    with_memory = memory and device == "cpu"
    if with_memory:
        table.add_column("peak MB", justify="right")
    with Bar(len(threads) + (len(names) if with_memory else 0)) as bar:
        seconds = []
        for count in threads:
            seconds.append(bench.measure(names, shape, threads=count, device=device, repeat=repeat))
            bar.advance(f"N={size}")
        for name in names:
            row = [name]
            for best in seconds:
                row += [f"{1e3 * best[name]:.1f}", f"{best[name] / best['snnkit LIF']:.2f}"]
            if device == "cuda":
                row.append(f"{5 * 4 * bench.T * bench.B * size / seconds[0][name] / 1e9:,.0f}")
            if with_memory:
                row.append(f"{bench.peak_memory(name, shape) / 1e6:.0f}")
                bar.advance(f"memory of {name}")
            table.add_row(*row)
    return table


def _scaling(device: str, repeat: int) -> Table:
    """Return the table of time per neuron-step over the number of steps and of neurons."""
    from rich.table import Table

    from snnkit.cli import bench_neuron as bench
    from snnkit.train.progress import Bar

    shapes = [(f"T={T}, B=16, N={N}", (T, 16, N)) for N in (512, 4096) for T in _STEPS]
    shapes += [(f"T=100, B=8, N={N:,}", (100, 8, N)) for N in _SIZES]
    table = Table(title="snnkit LIF, nanoseconds per neuron-step, one thread", title_justify="left")
    table.add_column("size")
    table.add_column("ns", justify="right")
    with Bar(len(shapes)) as bar:
        for label, shape in shapes:
            steps = shape[0] * shape[1] * shape[2]
            rounds = repeat * max(1, 20_000_000 // steps)
            best = bench.measure(["snnkit LIF"], shape, threads=1, device=device, repeat=rounds)
            table.add_row(label, f"{1e9 * best['snnkit LIF'] / steps:.2f}")
            bar.advance(label)
    return table


def _write(console: Console, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(console.export_text(), encoding="utf-8")
