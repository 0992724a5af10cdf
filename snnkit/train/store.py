"""Where a run keeps its checkpoints and logs, so that a resumed run finds them and repeats no row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnkit.errors import InputError, MissingPackageError
from snnkit.files.container import write_file
from snnkit.train.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from snnkit.train.history import History
from snnkit.train.recipe import TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_CURVES = ("lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


class Store:
    """The folder of a run; only the first process writes, and None as the folder keeps nothing.

    Args:
        fabric: tells which process this is.
        settings: how often to save, and whether to write TensorBoard logs.
        folder: of the run.
    Raises:
        MissingPackageError: TensorBoard logs are asked for and tensorboard is not installed.
    """

    def __init__(self, fabric: Fabric, settings: TrainSettings, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._fabric = fabric
        self._settings = settings
        self._writes = fabric.is_global_zero and self.folder is not None
        self._saved = time.monotonic()
        self._board: Any = None
        self._logged = 0
        if settings.tensorboard:
            _need_tensorboard()

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        if self.folder is None:
            raise InputError('resume=True needs the folder of the run; type folder="runs/…"')
        return self.folder / "checkpoints"

    def latest(self) -> dict[str, Any] | None:
        """Return the content of the newest whole checkpoint, the same in every process, or None."""
        folder, found = self.checkpoints, None
        if self._fabric.is_global_zero:
            found = latest_checkpoint(folder)
        path = self._fabric.broadcast(str(found[0]) if found else "")
        return found[1] if found else load_checkpoint(path) if path else None

    def due(self, step: int) -> bool:
        """Return whether it is time for a checkpoint inside an epoch."""
        every, seconds = self._settings.checkpoint_steps, self._settings.checkpoint_seconds
        if not self._writes:
            return False
        by_time = seconds is not None and time.monotonic() - self._saved >= seconds
        return by_time or (every is not None and step % every == 0)

    def save(self, state: Mapping[str, Any], *, step: int) -> None:
        """Write a checkpoint."""
        if self._writes:
            save_checkpoint(self.checkpoints, state, step=step)
        self._saved = time.monotonic()

    def log(self, history: History) -> None:
        """Write all epochs as CSV, and those that are new to TensorBoard."""
        if not self._writes or self.folder is None:
            return
        write_file(self.folder / "history.csv", history.to_csv().encode())
        if not self._settings.tensorboard:
            return
        if self._board is None:
            self._board = _board(self.folder)
        for epoch in history.epochs[self._logged :]:
            values = {name: getattr(epoch, name) for name in _CURVES}
            self._board.log_metrics({k: v for k, v in values.items() if v is not None}, step=epoch.epoch)
        self._logged = len(history)
        self._board.save()

    def close(self) -> None:
        """Finish the logs."""
        if self._board is not None:
            self._board.finalize("success")


def _need_tensorboard() -> None:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise MissingPackageError(
            "TensorBoard logs need the package tensorboard; type pip install tensorboard, or tensorboard = false"
        ) from None


def _board(folder: Path) -> Any:
    """Return a TensorBoard log that drops what an interrupted run wrote; all its epochs are logged anew."""
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=0)
