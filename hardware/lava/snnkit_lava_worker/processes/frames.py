"""Processes that read a network's input from a file and write its answer to one.

Lava executes every module in the folder of a process's class, so nothing else lies in this folder.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Source(AbstractProcess):
    """Sends row t of a file [samples, steps, features] in step t, one sample after another."""

    def __init__(self, *, path: str, size: int) -> None:
        super().__init__(path=path, size=size)
        self.s_out = OutPort(shape=(size,))


class Sink(AbstractProcess):
    """Writes what arrives in step t into row t of a file [samples, steps, features]."""

    def __init__(self, *, path: str, size: int) -> None:
        super().__init__(path=path, size=size)
        self.a_in = InPort(shape=(size,))


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SourceModel(PyLoihiProcessModel):
    """Source on the CPU."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r").reshape(-1, proc_params["size"])

    def run_spk(self) -> None:
        """Send the row of this step, which counts from 1."""
        self.s_out.send(self.rows[self.time_step - 1].astype(np.int32))


@implements(proc=Sink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SinkModel(PyLoihiProcessModel):
    """Sink on the CPU."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r+").reshape(-1, proc_params["size"])

    def run_spk(self) -> None:
        """Write the row of this step."""
        self.rows[self.time_step - 1] = self.a_in.recv()
