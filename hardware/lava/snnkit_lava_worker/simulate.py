"""Run a network: compile, fork, step, stop."""

from __future__ import annotations

import threading

from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg
from lava.utils import loihi

from snnkit_lava_worker import main, network, observe
from snnkit_lava_worker.job import Job


def run(job: Job) -> None:
    """Run a job; its answers are complete when this returns."""
    if job.hardware and not loihi.is_installed():
        raise RuntimeError(
            "running on Loihi 2 needs lava-loihi here; Intel gives it to members of its research community"
        )
    observe.install(job)
    if job.kind == "netx":
        from snnkit_lava_worker import netx

        built = netx.build(job)
    else:
        built = network.build(job)
    samples, steps, _ = job.shape
    nested = {"select_sub_proc_model": True} if job.kind == "netx" else {}
    configuration = (Loihi2HwCfg if job.hardware else Loihi2SimCfg)(select_tag="fixed_pt", **nested)
    stopping = threading.Event()
    watching = threading.Thread(target=main.watch, args=(job, stopping), daemon=True)
    watching.start()
    built.first.create_runtime(configuration)
    built.first.run(condition=RunSteps(num_steps=samples * steps))
    stopping.set()
    watching.join()
    built.first.stop()
