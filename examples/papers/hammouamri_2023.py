"""Learning delays: with none, with fixed ones, with learnt ones, and ANNs, all of as many numbers.

    python examples/papers/hammouamri_2023.py --task fsdd --root DIR --out DIR
    python examples/papers/hammouamri_2023.py --task fsdd --out DIR --table

A run is one arm on one fold with one seed, and one file under `runs/` of `--out`. Runs that are there are not done
again, so that the command can be killed and given again. `--table` writes what came of all runs.

Source: Hammouamri, Khalfaoui-Hassani & Masquelier, Learning delays in spiking neural networks using dilated
convolutions with learnable spacings, ICLR 2024 (arXiv 2306.17670).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import torch
from hammouamri_2023_networks import ARMS, Through, build, softmax_sum, stored
from hammouamri_2023_tasks import SETTINGS, TASKS, Settings, Splits
from hammouamri_2023_teacher import Lesson, learn
from torch import nn

from snnkit.errors import DataError, SnnkitError
from snnkit.files import load_results, save_results
from snnkit.synapse import Delayed
from snnkit.train import TrainSettings, evaluate, fit


@dataclasses.dataclass(frozen=True)
class Run:
    """One arm on one fold with one seed.

    Args:
        task, arm: names.
        fold: way to cut the data.
        seed: of first weights, order and dropout.
    """

    task: str
    arm: str
    fold: int
    seed: int

    def path(self, out: Path) -> Path:
        """Return the file of its result."""
        return out / "runs" / f"{self.task}-{self.arm}-{self.fold}-{self.seed}.h5"


def planned(task: str, arms: list[str], folds: list[int] | None, seeds: list[int] | None) -> list[Run]:
    """Return the runs that are asked for: every fold with every seed.

    Where neither is given, every fold with the first seed, and the first fold with two seeds more.
    """
    count = SETTINGS[task].folds
    pairs = [(fold, seed) for fold in folds or range(count) for seed in seeds or (0,)]
    if folds is None and seeds is None:
        pairs += [(0, seed) for seed in (1, 2)]
    return [Run(task, arm, fold, seed) for fold, seed in pairs for arm in arms]


def do(run: Run, splits: Splits, settings: Settings) -> dict[str, object]:
    """Train one arm, choose its epoch on the validation data, test it once, and return the record."""
    since = time.perf_counter(), time.process_time()
    net = build(run.arm, settings.shape(splits.inputs, splits.classes), seed=run.seed)
    before, shares = _delays(net), settings.loss == "softmax_sum"
    training = TrainSettings(
        epochs=settings.epochs,
        batch_size=settings.batch,
        lr=settings.lr,
        delay_lr=settings.delay_lr,
        delay_anneal=settings.delay_anneal,
        delay_settle=settings.delay_settle,
        weight_decay=settings.weight_decay,
        schedule="onecycle",
        loss=softmax_sum if shares else settings.loss,
        read="rate" if shares else settings.loss,
        seed=run.seed,
        checkpoint_seconds=None,
    )
    whole = Through(net, shares=shares)
    history = fit(whole, splits.train, validation=splits.validation, settings=training)
    found = evaluate(whole, splits.test, mode=training.mode)
    return {
        **dataclasses.asdict(run),
        "held_out": splits.held_out,
        "parameters": stored(net),
        "accuracy": found.accuracy,
        "samples": found.samples,
        "validation_accuracy": max(history["validation_accuracy"]),
        "best_epoch": history.best,
        "epochs": settings.epochs,
        "hidden": settings.hidden,
        "dropout": settings.dropout,
        "lr": settings.lr,
        "batch": settings.batch,
        "seconds": time.perf_counter() - since[0],
        "processor_seconds": time.process_time() - since[1],
        "threads": torch.get_num_threads(),
        "confusion": found.confusion,
        "history": {name: history[name] for name in ("train_loss", "train_accuracy", "validation_accuracy")},
        "before": before,
        "after": _delays(net),
    }


def main(arguments: list[str] | None = None) -> int:
    """Do the runs that are asked for, or write the table of those that are done."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    changed = {name: getattr(options, name) for name in ("epochs", "hidden", "lr", "dropout")}
    if options.table:
        from hammouamri_2023_report import write

        paths = sorted((options.out / "runs").glob("*.h5"))
        if not paths:
            raise DataError(f"no runs in {options.out / 'runs'}; do some first: the same command without --table")
        print(write(options.out, [load_results(path) for path in paths]))
        return 0
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    if options.task == "teacher":
        _recover(options)
        return 0
    settings = dataclasses.replace(SETTINGS[options.task], **{k: v for k, v in changed.items() if v is not None})
    splits: dict[int, Splits] = {}
    for run in planned(options.task, options.arms, options.folds, options.seeds):
        if run.path(options.out).exists():
            continue
        if run.fold not in splits:
            splits = {run.fold: TASKS[run.task](settings, run.fold, options.root)}
        record = do(run, splits[run.fold], settings)
        save_results(run.path(options.out), record)
        print(
            f"{run.task} {run.arm} fold {run.fold} seed {run.seed}: test {record['accuracy']:.1%} of "
            f"{record['samples']}, validation {record['validation_accuracy']:.1%} at epoch {record['best_epoch']}, "
            f"{record['parameters']:,} parameters, {record['seconds']:.0f} s",
            flush=True,
        )
    return 0


def _recover(options: argparse.Namespace) -> None:
    """Let students recover planted delays, one for each seed."""
    lesson = Lesson() if options.epochs is None else Lesson(steps=100 * options.epochs)
    for seed in options.seeds or range(3):
        run = Run("teacher", "learned", 0, seed)
        if run.path(options.out).exists():
            continue
        since = time.perf_counter()
        found = learn(lesson, seed=seed)
        record = {"recovered_before": found.recovered[0], "recovered": found.recovered[1], "error": found.error}
        record |= {"synapses": len(found.planted), "steps": lesson.steps, "seconds": time.perf_counter() - since}
        delays = {name: getattr(found, name) for name in ("planted", "before", "after")}
        save_results(run.path(options.out), dataclasses.asdict(run) | record | delays)
        print(
            f"teacher seed {seed}: {found.recovered[1]:.1%} of {record['synapses']} delays within one step, "
            f"{found.recovered[0]:.1%} before; error {found.error:.3f}; {record['seconds']:.0f} s",
            flush=True,
        )


def _delays(net: nn.Module) -> dict[str, torch.Tensor]:
    """Return the delays of every layer, in steps."""
    layers = [layer for layer in net.modules() if isinstance(layer, Delayed)]
    return {f"layer {place}": layer.delay.detach().flatten().clone() for place, layer in enumerate(layers)}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", choices=sorted([*TASKS, "teacher"]), required=True)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM")
    parser.add_argument("--folds", nargs="+", type=int, help="ways to cut the data; all unless given")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--epochs", type=int, help="of a teacher, hundreds of steps")
    parser.add_argument("--hidden", type=int, help="of the arms with delays; the others get as many numbers")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--root", type=Path, help="folder of data sets; SNNKIT_DATA unless given")
    parser.add_argument("--out", type=Path, default=Path("runs/hammouamri_2023"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="write the table and the plots of the runs in --out")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SnnkitError as error:
        sys.exit(str(error))
