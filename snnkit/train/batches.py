"""Batches in an order that depends on the seed and the epoch alone, each split evenly among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, TensorDataset, default_collate

from snnkit.errors import InputError
from snnkit.train.randomness import derived_seed, seed_everything

Split = Sequence[Tensor] | Dataset
"""(inputs, targets) or (inputs, targets, lengths), samples first; or a Dataset of such tuples."""


@runtime_checkable
class Batched(Protocol):
    """A Dataset that makes a whole batch at once: inputs [B, …], targets [B] and lengths [B], or no lengths."""

    def batch(self, indices: Tensor) -> Sequence[Tensor]:
        """Return the samples of these indices; may draw from the global generators."""
        ...


Encode = Callable[[Tensor, torch.Generator], Tensor]
"""Turns inputs [B, …] into a sequence [T, B, features…]; draws only from the generator."""


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Args:
        inputs: as the split holds them [B, …].
        target: class of each sample [B], or shares of the classes [B, C].
        lengths: valid time steps of each sample [B], or None.
        weight: what the mean loss of this share counts for in the mean over all shares.
        counted: samples that count; 0 where a process got none of its own and repeats another's.
    """

    inputs: Tensor
    target: Tensor
    lengths: Tensor | None
    weight: float = 1.0
    counted: int = 0


def samples_first(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Encode nothing: inputs [B, T, features…] are sequences already and become [T, B, features…]."""
    return inputs.transpose(0, 1)


def check_split(split: Split, name: str) -> Split:
    """Return the split, or raise InputError where it has no samples or its tensors do not match."""
    if isinstance(split, TensorDataset):
        split = split.tensors
    if isinstance(split, Dataset):
        if not isinstance(split, Sized) or not len(split):
            raise InputError(f"{name} is an empty or endless {type(split).__name__}; needed are counted samples")
        return split
    tensors = tuple(split) if isinstance(split, list | tuple) else ()
    if len(tensors) not in (2, 3) or not all(isinstance(tensor, Tensor) for tensor in tensors):
        pictures = hasattr(split, "images") and hasattr(split, "labels")
        hint = "; type (split.images, split.labels), and encode=… to make sequences of them" if pictures else ""
        raise InputError(
            f"{name} is {_described(split)}; needed is (inputs, targets), (inputs, targets, lengths) "
            f"or a Dataset of such{hint}"
        )
    sizes = [len(tensor) if tensor.ndim else 0 for tensor in tensors]
    if len(set(sizes)) != 1 or not sizes[0]:
        raise InputError(f"{name} has tensors of {sizes} samples; needed is the same number in each, at least 1")
    return tensors


def size(split: Split) -> int:
    """Return the number of samples."""
    if isinstance(split, Dataset):
        return len(split) if isinstance(split, Sized) else 0
    return len(split[0])


def order(samples: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order of all samples in an epoch, the same in every process.

    Example:
        >>> sorted(order(5, seed=0, epoch=3).tolist())
        [0, 1, 2, 3, 4]
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    return torch.randperm(samples, generator=generator)


def share(indices: Tensor, *, rank: int, world: int) -> tuple[Tensor, float, int]:
    """Return one process's part of a global batch, its weight, and how many of its samples count.

    Gradients are averaged over processes with equal weight; scaling each mean loss by world * part / whole
    makes that average the gradient of the mean over the whole batch, a last incomplete batch included.

    Example:
        >>> share(torch.arange(5), rank=1, world=2)
        (tensor([1, 3]), 0.8, 2)
    """
    part = indices[rank::world]
    if len(part) == 0:
        return indices[:1], 0.0, 0
    return part, world * len(part) / len(indices), len(part)


@dataclass(frozen=True)
class Batches:
    """A split cut into batches, of which one process sees its share.

    Args:
        split: the samples.
        batch_size: samples of a global batch, over all processes together.
        seed: of the order and of random augmentation.
        rank, world: this process's number, and how many there are.

    Example:
        >>> batches = Batches((torch.arange(5), torch.arange(5)), batch_size=2)
        >>> [batch.target.tolist() for batch in batches.in_order()]
        [[0, 1], [2, 3], [4]]
    """

    split: Split
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def steps(self) -> int:
        """Batches in an epoch, the last incomplete one included."""
        return -(-size(self.split) // self.batch_size)

    def shuffled(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield this process's share of every batch of an epoch, from batch `start` on."""
        for indices in order(size(self.split), seed=self.seed, epoch=epoch).split(self.batch_size)[start:]:
            part, weight, counted = share(indices, rank=self.rank, world=self.world)
            yield self._fetch(part, epoch, weight, counted)

    def in_order(self) -> Iterator[Batch]:
        """Yield this process's share of the samples in their own order, none of them twice."""
        for indices in torch.arange(size(self.split))[self.rank :: self.world].split(self.batch_size):
            if len(indices):
                yield self._fetch(indices, "in order", 1.0, len(indices))

    def _fetch(self, indices: Tensor, epoch: int | str, weight: float, counted: int) -> Batch:
        if isinstance(self.split, Batched):
            seed_everything(self.seed, "batch", epoch, int(indices[0]))
            parts = list(self.split.batch(indices))
        elif isinstance(self.split, Dataset):
            items = []
            for index in indices.tolist():
                # A sample's augmentation then depends on its index, not on when or where it is read.
                seed_everything(self.seed, "item", epoch, index)
                items.append(self.split[index])
            parts = _collated(items)
        else:
            parts = [tensor[indices] for tensor in self.split]
        return Batch(parts[0], parts[1], parts[2] if len(parts) > 2 else None, weight, counted)


def generator_for(device: torch.device, *parts: int | str) -> torch.Generator:
    """Return a generator on a device, seeded from the parts."""
    return torch.Generator(device).manual_seed(derived_seed(*parts))


def _collated(items: list[Any]) -> list[Tensor]:
    """Stack items column by column; sequences that come with lengths are padded with zeros to the longest."""
    columns = [list(column) for column in zip(*items, strict=True)]
    if len(columns) == 3:
        columns[0] = list(pad_sequence([torch.as_tensor(sequence) for sequence in columns[0]], batch_first=True))
    return [default_collate(column) for column in columns]


def _described(split: object) -> str:
    if isinstance(split, list | tuple):
        return f"a {type(split).__name__} of {[type(part).__name__ for part in split]}"
    return f"a {type(split).__name__}"
