"""A file of `snnkit.deploy.save` as Lava processes.

All ports of populations are flat, in torch's order; around a convolution, which Lava keeps as width, height, channels,
they are turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix

from snnkit_lava_worker.job import Job
from snnkit_lava_worker.observe import KEY, Observed
from snnkit_lava_worker.processes.frames import Sink, Source

GRADED = 24
WHC = (2, 1, 0)


@dataclass
class Built:
    """Processes of a network: the first is what `run` is called on; all of them are connected."""

    first: AbstractProcess
    processes: list[AbstractProcess]


def build(job: Job) -> Built:
    """Return the processes of a job's network, with its input and its records connected."""
    samples, steps, features = job.shape
    source = Source(path=job.input_path, size=features)
    inward, outward = adapters(job)
    with h5py.File(job.network_path, "r") as file:
        shapes = {"input": tuple(int(n) for n in file["inputs"][()])}
        ports = {"input": inward(source.s_out)}
        lifs = {}
        for name, group in file["populations"].items():
            shapes[name] = tuple(int(n) for n in group["shape"][()])
            lifs[name] = population(group, math.prod(shapes[name]))
            ports[name] = lifs[name].s_out
            lifs[name].proc_params[KEY] = observed_state(job, name, math.prod(shapes[name]))
        processes = [source, *lifs.values()]
        for name, group in file["connections"].items():
            origin, target = text(group["source"]), text(group["target"])
            processes.append(connect(group, ports[origin], lifs[target].a_in, shapes[origin]))
            processes[-1].proc_params[KEY] = observed_sums(job, name, processes[-1])
    for name in job.record:
        if name in lifs:
            size = math.prod(shapes[name])
            sink = Sink(path=job.answer(f"trace {name}", (samples, steps, size)), size=size)
            outward(lifs[name].s_out).connect(sink.a_in)
            processes.append(sink)
    return Built(next(iter(lifs.values())), processes)


def adapters(job: Job) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return what a port goes through on its way into the network, and out of it: something on Loihi 2 only."""
    if not job.hardware:
        return lambda port: port, lambda port: port
    from lava.proc.embedded_io.spike import NxToPyAdapter, PyToNxAdapter

    def through(adapter: type, port: Any) -> Any:
        process = adapter(shape=port.shape)
        port.connect(process.inp)
        return process.out

    return partial(through, PyToNxAdapter), partial(through, NxToPyAdapter)


def population(group: h5py.Group, size: int) -> LIF:
    """Return the neurons of a population."""
    values = {name: number(group[name]) for name in ("du", "dv", "vth", "bias", "bias_exponent", "v_start")}
    return LIF(
        shape=(size,),
        du=values["du"],
        dv=values["dv"],
        vth=values["vth"],
        v=values["v_start"],
        bias_mant=values["bias"],
        bias_exp=values["bias_exponent"],
    )


def connect(group: h5py.Group, out: Any, into: Any, shape: tuple[int, ...]) -> AbstractProcess:
    """Return the synapses of a connection, connected to both ends."""
    part = group["synapses"]
    message = GRADED if number(group["graded"]) else 0
    if text(part["kind"]) == "Conv":
        synapses = convolution(part, message)
        channels, height, width = (int(n) for n in part["size"][()])
        out.reshape((channels, height, width)).transpose(list(WHC)).connect(synapses.s_in)
        synapses.a_out.transpose(list(WHC)).flatten().connect(into)
        return synapses
    options = {
        "weight_exp": number(group["exponent"]),
        "num_weight_bits": number(group["bits"]),
        "sign_mode": SignMode[text(group["sign"]).upper()],
        "num_message_bits": message,
    }
    synapses = (dense if text(part["kind"]) == "Dense" else sparse)(part, options)
    out.connect(synapses.s_in)
    synapses.a_out.connect(into)
    return synapses


def dense(part: h5py.Group, options: dict[str, Any]) -> AbstractProcess:
    """Return a full matrix of synapses."""
    weights = part["weight"][()].astype(np.int32)
    delays = part["delay"][()].astype(np.int64) if "delay" in part else np.zeros(1, np.int64)
    return DelayDense(weights=weights, delays=delays, **options) if delays.any() else Dense(weights=weights, **options)


def sparse(part: h5py.Group, options: dict[str, Any]) -> AbstractProcess:
    """Return a list of synapses."""
    start, source = part["start"][()], part["source"][()]
    shape = (len(start) - 1, number(part["n_inputs"]))
    weights = csr_matrix((part["weight"][()].astype(np.int32), source, start), shape=shape)
    if "delay" not in part or not part["delay"][()].any():
        return Sparse(weights=weights, **options)
    delays = csr_matrix((part["delay"][()].astype(np.int64), source, start), shape=shape)
    return DelaySparse(weights=weights, delays=delays, **options)


def convolution(part: h5py.Group, message: int) -> Conv:
    """Return a convolution; Lava's is a true one, with axes the other way round."""
    channels, height, width = (int(n) for n in part["size"][()])
    pairs = {name: tuple(int(n) for n in part[name][()][::-1]) for name in ("stride", "padding", "dilation")}
    return Conv(
        weight=np.ascontiguousarray(part["weight"][()][:, :, ::-1, ::-1].transpose(0, 3, 2, 1)).astype(np.int32),
        input_shape=(width, height, channels),
        groups=number(part["groups"]),
        num_message_bits=message,
        **pairs,
    )


def observed_state(job: Job, name: str, size: int) -> Observed:
    """Return what to record of a population: its last state, and the traces that were asked for."""
    samples, steps, _ = job.shape
    traces = {
        part: job.answer(f"trace {name}.{part}", (samples, steps, size))
        for part in ("u", "v")
        if f"{name}.{part}" in job.record
    }
    last = {part: job.answer(f"last {name}.{part}", (samples, size)) for part in ("u", "v")}
    return Observed(steps, ("u", "v"), traces, last)


def observed_sums(job: Job, name: str, synapses: AbstractProcess) -> Observed:
    """Return what to record of a connection: the sums that it has yet to deliver."""
    samples, steps, _ = job.shape
    array = "a_buf" if isinstance(synapses, Conv) else "a_buff"
    shape = tuple(getattr(synapses, array).shape)
    outputs, slots = (math.prod(shape), 1) if len(shape) != 2 else shape
    last = {array: job.answer(f"last {name}.pending", (samples, outputs, slots))}
    return Observed(steps, (array,), {}, last, WHC if len(shape) == 3 else None)


def number(item: h5py.Dataset) -> Any:
    """Return a stored number as Python's, or stored numbers as int64."""
    values = item[()]
    return int(values) if np.ndim(values) == 0 else values.astype(np.int64)


def text(item: h5py.Dataset) -> str:
    """Return a stored text."""
    return item[()].decode()
