"""What happens around each step of a process model: a fresh state for each sample, records, and a word on failure.

Lava's models run as they are. Without this, an exception in one makes `run` wait for ever, saying nothing.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel

from snnkit_lava_worker.job import Job

KEY = "snnkit_observed"


@dataclass
class Observed:
    """What to do with the arrays of one process model.

    Args:
        steps: of a sample.
        fresh: arrays that get their first values back before every sample.
        traces: array to a file [samples, steps, features] for its value after each step.
        last: array to a file [samples, …] for its value after a sample's last step.
        order: axes of an array into torch's order, or None.
    """

    steps: int
    fresh: tuple[str, ...]
    traces: dict[str, str] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    order: tuple[int, ...] | None = None

    def before(self, model: Any, done: int) -> None:
        """Make ready for the step after `done` others."""
        if done == 0:
            self.first = {name: np.array(getattr(model, name)) for name in self.fresh}
            files = {**self.traces, **{f"{name} last": path for name, path in self.last.items()}}
            self.rows = {name: np.load(path, mmap_mode="r+") for name, path in files.items()}
        elif done % self.steps == 0:
            for name, values in self.first.items():
                setattr(model, name, values.copy())

    def after(self, model: Any, done: int) -> None:
        """Write down what `done` steps have led to."""
        sample, step = divmod(done - 1, self.steps)
        for name in self.traces:
            self.rows[name][sample, step] = self.values(model, name)
        if step == self.steps - 1:
            for name in self.last:
                rows = self.rows[f"{name} last"]
                rows[sample] = self.values(model, name).reshape(rows.shape[1:])

    def values(self, model: Any, name: str) -> np.ndarray:
        """Return an array, its low 32 bits, in torch's order."""
        array = np.asarray(getattr(model, name)).astype(np.int32)
        return array if self.order is None else array.transpose(self.order)


def install(job: Job) -> None:
    """Make all process models of this program, and of those that it forks, do so."""
    spike = PyLoihiProcessModel._spike

    def observed_spike(model: Any) -> None:
        try:
            plan = model.proc_params.get(KEY)
            if plan is not None:
                plan.before(model, model.time_step)
            spike(model)
            if plan is not None:
                plan.after(model, model.time_step)
        except BaseException:
            step = f"in step {model.time_step} of {type(model).__name__}"
            job.fail(f"an exception {step}\n{traceback.format_exc()}")
            raise

    PyLoihiProcessModel._spike = observed_spike
