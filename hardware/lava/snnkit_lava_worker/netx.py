"""A `.net` file through NetX of lava-dl, which imports torch for nothing that the networks here use."""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from pathlib import Path
from typing import Any

from snnkit_lava_worker.job import Job
from snnkit_lava_worker.network import WHC, Built
from snnkit_lava_worker.observe import KEY, Observed
from snnkit_lava_worker.processes.frames import Sink, Source


def import_netx() -> Any:
    """Return `lava.lib.dl.netx.hdf5`, with the modules that import torch replaced by empty ones."""
    folder = importlib.util.find_spec("lava.lib.dl")
    if folder is None or folder.submodule_search_locations is None:
        raise ImportError("lava-dl is not installed in this environment")
    base = Path(next(iter(folder.submodule_search_locations)))
    for name, path in (
        ("lava.lib.dl.slayer", "slayer/__init__.py"),
        ("lava.lib.dl.slayer.neuron", "slayer/neuron/__init__.py"),
        ("lava.lib.dl.slayer.neuron.rf", "slayer/neuron/rf.py"),
        ("lava.lib.dl.netx.sequential_modules", "netx/sequential_modules.py"),
    ):
        module = types.ModuleType(name)
        module.__file__ = str(base / path)
        module.__path__ = []
        sys.modules[name] = module
    sys.modules["lava.lib.dl.slayer.neuron.rf"].neuron_params = refuse_resonators
    from lava.lib.dl.netx import hdf5

    return hdf5


def refuse_resonators(config: Any) -> Any:
    """Raise: parameters of resonators are computed by the module that needs torch."""
    raise NotImplementedError("resonate-and-fire layers of NetX need torch, which this environment does not have")


def build(job: Job) -> Built:
    """Return the processes of a job's `.net` file, with its input and its answer connected."""
    samples, steps, features = job.shape
    net = import_netx().Network(net_config=job.network_path, **job.options)
    source = Source(path=job.input_path, size=features)
    if len(net.inp.shape) == 3:
        source.s_out.reshape(tuple(net.inp.shape[::-1])).transpose(list(WHC)).connect(net.inp)
    else:
        source.s_out.connect(net.inp)
    size = math.prod(net.out.shape)
    sink = Sink(path=job.answer("trace output", (samples, steps, size)), size=size)
    out = net.out.transpose(list(WHC)).flatten() if len(net.out.shape) == 3 else net.out
    out.connect(sink.a_in)
    if "reset_interval" not in job.options:
        observe_layers(net.layers, steps)
    return Built(net, [source, net, sink])


def observe_layers(layers: list[Any], steps: int) -> None:
    """Give every layer a fresh state for each sample."""
    for layer in layers:
        layer.neuron.proc_params[KEY] = Observed(steps, ("u", "v"))
        for name in ("synapse", "synapse_rec"):
            synapses = getattr(layer, name, None)
            if synapses is not None:
                array = "a_buf" if hasattr(synapses, "a_buf") else "a_buff"
                synapses.proc_params[KEY] = Observed(steps, (array,))
