"""Gradient training on Lightning Fabric, in loops of our own that can be killed and resumed bit for bit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snnkit.errors import FileError, InputError
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed
from snnkit.train.batches import (
    Batch,
    Batches,
    Encode,
    Split,
    check_split,
    generator_for,
    samples_first,
    size,
)
from snnkit.train.checkpoint import has_checkpoints
from snnkit.train.history import Epoch, History
from snnkit.train.launch import launch
from snnkit.train.layers import outputs, passed
from snnkit.train.losses import firing_rate_regulariser, labels_of, loss_function, predictions
from snnkit.train.optimiser import optimiser, set_learning_rates
from snnkit.train.progress import Bar
from snnkit.train.randomness import caller_randomness_kept, seed_everything
from snnkit.train.recipe import TrainSettings
from snnkit.train.store import Store

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_MAY_CHANGE = ("patience", "accelerator", "checkpoint_steps", "checkpoint_seconds", "tensorboard")
"""Settings that a resumed run may have otherwise than the run before it."""


def fit(
    net: nn.Module,
    train: Split,
    *,
    validation: Split | None = None,
    settings: TrainSettings | None = None,
    encode: Encode | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a network in place.

    Every draw (order of samples, encoding, dropout) is a function of the seed and of where training stands,
    and a checkpoint holds the rest. A run that was killed and resumed on the same machine with as many
    threads therefore ends with the same bits as one that was left alone.

    Args:
        net: takes sequences [T, B, features…], returns outputs [T, B, C]; moved to the device that is used.
        train: (inputs, targets) or (inputs, targets, lengths), samples first, or a Dataset of such tuples. A target
            is a class, or shares of all classes, of which the largest counts for the accuracy.
        validation: as `train`; chooses the best epoch, whose weights the network ends with.
        settings: how to train; `TrainSettings()` unless given.
        encode: turns inputs [B, …] and a generator into sequences [T, B, features…]; by default the inputs
            are sequences [B, T, features…] already.
        folder: takes `checkpoints/`, `history.csv` and TensorBoard logs; None writes nothing.
        resume: continue from the last whole checkpoint of the folder, if there is one.
        on_epoch: called with each finished `Epoch`, in the first process only.
    Returns:
        The history of all epochs, those before the resumption included.
    Raises:
        InputError: data that do not fit, or training that diverged.
        FileError: a folder with checkpoints and resume=False; checkpoints of another run; all damaged.
        BackendError: an accelerator or number of devices that is not there.
        MissingPackageError: TensorBoard logs are asked for and tensorboard is not installed.

    Example:
        >>> net = snnkit.Network(nn.Linear(4, 3), snnkit.Readout(tau=2.0))
        >>> data = torch.rand(8, 5, 4), torch.arange(8) % 3
        >>> history = fit(net, data, settings=TrainSettings(epochs=2))
        >>> history["epoch"]
        [1, 2]
    """
    settings = TrainSettings() if settings is None else settings
    if not isinstance(settings, TrainSettings):
        raise InputError(f"settings is a {type(settings).__name__}; type settings=TrainSettings(epochs=…, lr=…)")
    if settings.patience is not None and validation is None:
        raise InputError("patience needs validation data to watch; type validation=(inputs, targets) or patience=None")
    train = check_split(train, "train")
    validation = None if validation is None else check_split(validation, "validation")
    if folder is not None and not resume and has_checkpoints(Path(folder) / "checkpoints"):
        raise FileError(
            f"{folder} holds checkpoints of an earlier run; type resume=True to continue it (on the command line "
            "--resume), or give another folder"
        )
    fabric = launch(settings)
    mode = net.training
    data: dict[str, Any] = {"train": train, "validation": validation, "encode": encode or samples_first}
    try:
        with caller_randomness_kept():
            training = _Training(fabric, settings, net, **data)
            return training.run(Store(fabric, settings, folder), resume=resume, on_epoch=on_epoch)
    finally:
        net.train(mode)


class _Watched(nn.Module):
    """A network that also returns the spikes of its spiking layers, in one call that DDP can wrap."""

    def __init__(self, net: nn.Module, spikes: bool) -> None:
        super().__init__()
        self.net = net
        self.spikes = spikes
        if spikes and not any(isinstance(part, Spiking) and part.neuron.spiking for part in net.modules()):
            raise InputError(
                f"rate_regulariser needs spiking layers and this {type(net).__name__} has none; "
                "type snnkit.Network(nn.Linear(…), snnkit.LIF(), …) or rate_regulariser=None"
            )

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        if not self.spikes:
            return outputs(self.net, x, lengths), []
        spikes, y = [], x
        for layer in passed(self.net, x, lengths):
            y = layer.outputs
            if layer.spiking:
                spikes.append(y)
        return y, spikes


@dataclass
class _Position:
    """Where training stands: batches done in this epoch, steps done at all, and the sums over this epoch."""

    history: History
    totals: Tensor
    batch: int = 0
    step: int = 0
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history) + 1


class _Training:
    """One run of training: the network and optimiser as Fabric wraps them, and where it stands."""

    def __init__(
        self,
        fabric: Fabric,
        settings: TrainSettings,
        net: nn.Module,
        *,
        train: Split,
        validation: Split | None,
        encode: Encode,
    ) -> None:
        self.fabric, self.settings, self.net, self.encode = fabric, settings, net, encode
        place: dict[str, Any] = {"rank": fabric.global_rank, "world": fabric.world_size}
        self.train = Batches(train, settings.batch_size, settings.seed, **place)
        share = settings.batch_size // fabric.world_size
        self.validation = None if validation is None else Batches(validation, share, settings.seed, **place)
        self.function = loss_function(settings.loss)
        self.optimiser = optimiser(net, settings)
        self.delayed = [module for module in net.modules() if isinstance(module, Delayed)]
        watched = _Watched(net, settings.rate_regulariser is not None)
        self.module, self.wrapped = fabric.setup(watched, self.optimiser)
        self.at = _Position(History(), torch.zeros(3, dtype=torch.float64, device=fabric.device))
        self.best: dict[str, Tensor] = {}

    def run(self, store: Store, *, resume: bool, on_epoch: Callable[[Epoch], None] | None) -> History:
        """Train to the end and leave the best weights in the network."""
        saved = store.latest() if resume else None
        if saved is None:
            store.save(self.state(), step=0)
        else:
            self.restore(saved, store)
        store.log(self.at.history)
        total = self.settings.epochs * self.train.steps
        with Bar(total, done=self.at.step, shown=self.fabric.is_global_zero) as bar:
            while not self.stopped():
                self._run_epoch(store, bar)
                if on_epoch is not None and self.fabric.is_global_zero:
                    on_epoch(self.at.history.epochs[-1])
        store.close()
        if self.best:
            self.net.load_state_dict(self.best)
        self.fabric.barrier()
        return dataclasses.replace(self.at.history, stopped=self.stopped())

    def stopped(self) -> str:
        """Return why training is over, or an empty text; follows from the history alone."""
        history, patience = self.at.history, self.settings.patience
        if patience is not None and len(history) - history.best >= patience:
            return "patience"
        return "epochs" if len(history) >= self.settings.epochs else ""

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        at = self.at
        return {
            "run": self._description(),
            "model": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "history": [dataclasses.asdict(epoch) for epoch in at.history.epochs],
            "best_epoch": at.history.best,
            "totals": at.totals,
            "batch": at.batch,
            "step": at.step,
            "seconds": at.seconds,
        }

    def restore(self, saved: dict[str, Any], store: Store) -> None:
        """Continue from a checkpoint's content; raises FileError where it belongs to another run."""
        then, now = saved["run"], self._description()
        for key in now | then:
            if then.get(key) != now.get(key):
                raise FileError(
                    f"the checkpoint in {store.folder} was written with {key} = {then.get(key)!r} and this "
                    f"run has {now.get(key)!r}; type the same to continue it, or give another folder"
                )
        self.net.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        device = self.fabric.device
        self.best = {name: tensor.to(device) for name, tensor in saved["best"].items()}
        history = History(tuple(Epoch(**epoch) for epoch in saved["history"]), saved["best_epoch"])
        totals = saved["totals"].to(device)
        self.at = _Position(history, totals, saved["batch"], saved["step"], saved["seconds"])

    def check_finite(self) -> None:
        """Raise InputError where the loss or a weight is no longer a number."""
        wrong = [name for name, tensor in self.net.state_dict().items() if not tensor.isfinite().all()]
        if wrong or not self.at.totals.isfinite().all():
            raise InputError(
                f"training diverged in epoch {self.at.epoch} at step {self.at.step}: "
                f"{'weight ' + wrong[0] if wrong else 'the loss'} is not finite; "
                f"type a smaller lr than {self.settings.lr:g}, or gradient_clip = 1.0"
            )

    def _description(self) -> dict[str, Any]:
        """Return what must be equal for a resumed run to continue this one."""
        settings = dataclasses.asdict(self.settings)
        if self.settings.schedule == "none" and not self.delayed:
            settings.pop("epochs")
        if callable(self.settings.loss):
            settings["loss"] = getattr(self.settings.loss, "__qualname__", type(self.settings.loss).__name__)
        for name in _MAY_CHANGE:
            settings.pop(name)
        shapes = {f"weight {name}": list(tensor.shape) for name, tensor in self.net.state_dict().items()}
        validation = 0 if self.validation is None else size(self.validation.split)
        samples = {"training samples": size(self.train.split), "validation samples": validation}
        return {**settings, **samples, **shapes}

    def _run_epoch(self, store: Store, bar: Bar) -> None:
        at, steps = self.at, self.train.steps
        self.net.train()
        done = len(at.history) / self.settings.epochs
        for layer in self.delayed:
            if done < self.settings.delay_settle:
                layer.anneal(done, until=self.settings.delay_anneal)
            else:
                layer.settle()
        since = time.monotonic() - at.seconds
        for batch in self.train.shuffled(at.epoch, start=at.batch):
            self._step(batch)
            at.batch, at.step, at.seconds = at.batch + 1, at.step + 1, time.monotonic() - since
            if at.batch < steps and store.due(at.step):
                self.check_finite()
                store.save(self.state(), step=self.at.step)
            bar.advance(_describe(at, self.settings.epochs))
        self.check_finite()
        epoch = self._finished_epoch(since)
        best = self._best_with(epoch)
        history = History((*at.history.epochs, epoch), best)
        self.at = _Position(history, torch.zeros_like(at.totals), step=at.step)
        store.save(self.state(), step=self.at.step)
        store.log(history)

    def _step(self, batch: Batch) -> None:
        settings, at, rank = self.settings, self.at, self.fabric.global_rank
        set_learning_rates(self.optimiser, settings, at.step / (settings.epochs * self.train.steps))
        seed_everything(settings.seed, "step", at.step, rank)
        x, target, lengths = self._encoded(batch, "encode", at.step, rank)
        y, spikes = self.module(x, lengths)
        loss = self._loss(y, target, lengths)
        self.fabric.backward((loss + self._rate_penalty(spikes, lengths)) * batch.weight)
        if settings.gradient_clip is not None:
            self.fabric.clip_gradients(
                self.module, self.wrapped, max_norm=settings.gradient_clip, error_if_nonfinite=False
            )
        self.wrapped.step()
        self.wrapped.zero_grad()
        for layer in self.delayed:
            layer.constrain()
        at.totals += self._summed(self._counts(loss.detach(), y.detach(), target, lengths, batch.counted))

    def _loss(self, y: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
        return self.function(y, target) if lengths is None else self.function(y, target, lengths=lengths)

    def _rate_penalty(self, spikes: list[Tensor], lengths: Tensor | None) -> Tensor | float:
        bounds = self.settings.rate_regulariser
        if bounds is None:
            return 0.0
        penalties = [
            firing_rate_regulariser(layer, low=bounds.low, high=bounds.high, lengths=lengths) for layer in spikes
        ]
        return bounds.weight * torch.stack(penalties).sum()

    def _encoded(self, batch: Batch, *seed: int | str) -> tuple[Tensor, Tensor, Tensor | None]:
        device = self.fabric.device
        generator = generator_for(device, self.settings.seed, *seed)
        lengths = None if batch.lengths is None else batch.lengths.to(device)
        return self.encode(batch.inputs.to(device), generator), batch.target.to(device), lengths

    def _counts(self, loss: Tensor, y: Tensor, target: Tensor, lengths: Tensor | None, counted: int) -> Tensor:
        """Return the sum of losses, the number of right predictions, and the number of samples."""
        if not counted:
            return torch.zeros_like(self.at.totals)
        right = (predictions(y, self.settings.mode, lengths) == labels_of(target)).sum()
        return torch.stack([loss.double() * counted, right.double(), torch.full_like(right, counted).double()])

    def _summed(self, counts: Tensor) -> Tensor:
        """Return the sum over processes."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(counts)
        return counts

    def _validate(self) -> tuple[float, float] | tuple[None, None]:
        """Return mean loss and accuracy on the validation data, each process taking its share."""
        if self.validation is None:
            return None, None
        if self.fabric.world_size > 1:
            for buffer in self.net.buffers():
                torch.distributed.broadcast(buffer, src=0)
        self.net.eval()
        totals = torch.zeros_like(self.at.totals)
        with torch.no_grad():
            for number, batch in enumerate(self.validation.in_order()):
                seed = "validate", number, self.fabric.global_rank
                x, target, lengths = self._encoded(batch, *seed)
                with self.fabric.autocast():
                    y = outputs(self.net, x, lengths)
                loss = self._loss(y, target, lengths)
                totals += self._counts(loss, y, target, lengths, batch.counted)
        loss, right, count = self._summed(totals).tolist()
        return loss / count, right / count

    def _finished_epoch(self, since: float) -> Epoch:
        at = self.at
        loss, right, count = at.totals.tolist()
        validation_loss, validation_accuracy = self._validate()
        return Epoch(
            epoch=at.epoch,
            step=at.step,
            lr=self.optimiser.param_groups[0]["lr"],
            train_loss=loss / count,
            train_accuracy=right / count,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=time.monotonic() - since,
        )

    def _best_with(self, epoch: Epoch) -> int:
        """Return the number of the best epoch, this one included, and keep its weights if it is this one."""
        if self.validation is None:
            return epoch.epoch
        history = self.at.history
        if history.epochs and history.epochs[history.best - 1].merit >= epoch.merit:
            return history.best
        self.best = {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}
        return epoch.epoch


def _describe(at: _Position, epochs: int) -> str:
    text = f"epoch {at.epoch}/{epochs}"
    if at.history.epochs:
        last = at.history.epochs[-1]
        text += f" · loss {last.train_loss:.4f} · accuracy {last.train_accuracy:.1%}"
        if last.validation_accuracy is not None:
            text += f" · validation {last.validation_accuracy:.1%}"
    return text
