"""Starting the processes of a training run: as many as devices are asked for, where they are there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snnkit.errors import BackendError
from snnkit.train.recipe import TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launch(settings: TrainSettings) -> Fabric:
    """Return Fabric with all processes started.

    Args:
        settings: of which accelerator, devices, strategy and precision count.
    Raises:
        BackendError: devices that are not there, or several of them without a script that can be started again.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    accelerator = settings.accelerator if settings.accelerator != "auto" else "cuda" if found else "cpu"
    if accelerator == "cuda" and settings.devices > found:
        fewer = f"devices = {found} or " if found else ""
        raise BackendError(
            f'{settings.devices} CUDA devices are asked for and {found} are there; type {fewer}accelerator = "cpu"'
        )
    if settings.devices > 1 and "LOCAL_RANK" not in os.environ and not Path(sys.argv[0]).is_file():
        raise BackendError(
            f"{settings.devices} devices need a script that can be started once per device, and {sys.argv[0]!r} is "
            "not a file; save the script and type python script.py"
        )
    from lightning_fabric import Fabric

    precision: Any = settings.precision
    fabric = Fabric(accelerator=accelerator, devices=settings.devices, strategy=settings.strategy, precision=precision)
    fabric.launch()
    return fabric
