"""`snnkit doctor`: what runs here, on which backend, and how to get what is missing."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from importlib import metadata
from pathlib import Path

import torch
from rich.markup import escape
from rich.table import Table
from torch import nn

import snnkit
from snnkit import settings
from snnkit.cli import doctor_delays
from snnkit.cli.console import standard
from snnkit.cli.machine import processor, system
from snnkit.codegen import backends, cache
from snnkit.deploy import lava
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed

_PACKAGES = (
    ("torch", "tensors and gradients", "pip install torch"),
    ("numba", "CPU kernels", "pip install numba"),
    ("sympy", "derivatives of new neurons", "pip install sympy"),
    ("h5py", "network files", "pip install h5py"),
    ("lightning_fabric", "training", "pip install lightning-fabric"),
    ("sklearn", "the digits of the demo", "pip install scikit-learn"),
    ("matplotlib", "reports", "pip install matplotlib"),
    ("cupy", "CUDA kernels", "pip install 'snnkit[cuda]'"),
    ("tonic", "event data", "pip install 'snnkit[events]'"),
    ("nir", "interchange", "pip install 'snnkit[nir]'"),
    ("spikingjelly", "models in and out, benchmarks", "pip install 'snnkit[interop]'"),
    ("norse", "models in and out, benchmarks", "pip install 'snnkit[interop]'"),
    ("snntorch", "models in and out, benchmarks", "pip install 'snnkit[interop]'"),
    ("tensorboard", "TensorBoard logs", "pip install tensorboard"),
)
"""Module, what it is for, and how to get it."""


def doctor(model: Path | None, *, batch: int = 64, steps: int = 100) -> None:
    """Print the machine, the packages, the backends, and what runs each layer of a network.

    Args:
        model: the network's file; none unless given.
        batch, steps: size of the input that costs of delays are estimated for.
    """
    console = standard()
    net = None if model is None else snnkit.load(model)
    tables = [_facts(), _packages(), _backends()]
    if net is not None:
        tables.append(_layers(net, str(model)))
        delays = doctor_delays.table(net, str(model), batch=batch, steps=steps)
        tables += [] if delays is None else [delays]
    for table in tables:
        console.print(table)
        console.print()


def _facts() -> Table:
    table = _table(f"snnkit {snnkit.__version__}", "", "")
    table.show_header = False
    table.add_row("machine", f"{processor()}, {platform.machine()}, {system()}")
    table.add_row("Python", platform.python_version())
    table.add_row("threads", f"{torch.get_num_threads()} (torch.set_num_threads changes it)")
    table.add_row("huge pages", _huge_pages())
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    table.add_row("GPUs", ", ".join(torch.cuda.get_device_name(k) for k in range(count)) or "none that torch can use")
    table.add_row("CUDA compiler", shutil.which("nvcc") or "none on the PATH; only the tests use it")
    table.add_row("compiled kernels", str(cache.folder()))
    lava_python, missing = lava.available()
    table.add_row("Lava", str(lava_python or f"[yellow]missing[/yellow]: {escape(missing)}"))
    root = settings.data_root()
    table.add_row("data root", str(root) if root else "not set; export SNNKIT_DATA=/folder/with/data")
    return table


def _huge_pages() -> str:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not path.exists():
        return "not on this system"
    mode = path.read_text().split("[")[1].split("]")[0]
    return f"{mode}; large arrays {'stay on small pages' if mode == 'never' else 'use them'}"


def _packages() -> Table:
    table = _table("packages", "package", "version", "for", "to get it")
    sources = metadata.packages_distributions()
    for module, use, command in _PACKAGES:
        if importlib.util.find_spec(module) is None:
            table.add_row(module, "[yellow]missing[/yellow]", use, escape(command))
        else:
            package = sources.get(module, [module])[0]
            table.add_row(package, metadata.version(package), use, "")
    return table


def _backends() -> Table:
    table = _table('what backend="auto" picks', "input", "backend", "why")
    kinds = [("cpu", torch.float32), ("cpu", torch.bfloat16), ("cpu", torch.float64)]
    kinds += [("cuda", torch.float32), ("cuda", torch.bfloat16), ("cuda", torch.float64)]
    for device, dtype in kinds:
        if device == "cuda" and not torch.cuda.is_available():
            continue
        name, why = backends.resolve("auto", torch.device(device), dtype)
        table.add_row(f"{str(dtype).removeprefix('torch.')} on {device}", name, why)
    return table


def _layers(net: nn.Module, title: str) -> Table:
    table = _table(f"layers of {title}", "layer", "what it is", "backend here", "why")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, module in net.named_modules():
        if isinstance(module, Spiking):
            try:
                backend, why = backends.resolve(module.backend, device, torch.float32)
            except snnkit.SnnkitError as error:
                backend, why = "cannot run", str(error)
            table.add_row(name, module.neuron.name, backend, why)
        elif isinstance(module, Delayed):
            table.add_row(name, type(module).__name__, module.backend, "a method for each situation, shown below")
        elif name and not list(module.children()):
            table.add_row(name, type(module).__name__, "torch", "one of torch's own layers")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
