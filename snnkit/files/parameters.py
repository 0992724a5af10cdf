"""A network's parameters and buffers, out of its layers and back into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.files import codec
from snnkit.files.schema import UnfitError, exactly
from snnkit.files.tree import Array, Tree
from snnkit.network import Network
from snnkit.neuron import Param
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed

_PREFIX = "param_"
_DEEPEST_TENSOR = 8


def collect(net: Network) -> Tree:
    """Return all tensors of a network by layer and name; raises UnfitError where files do not keep one."""
    tree: Tree = {}
    for slot in _slots(net):
        group = tree
        *layers, name = slot.path.split("/")
        for layer in layers:
            group = group.setdefault(layer, {})
        group[name] = slot.encode()
    return tree


def restore(net: Network, tree: Tree) -> None:
    """Put the tensors of a file into a network that was built from its graph.

    Raises:
        UnfitError: a tensor is missing, unknown, of another shape or type, not finite, or out of its bounds.
    """
    slots = {slot.path: slot for slot in _slots(net)}
    found = dict(_flat(tree, ""))
    exactly(found, slots)
    for path, slot in slots.items():
        setattr(slot.owner, slot.attribute, slot.decode(found[path]))
    for module in net.modules():
        if isinstance(module, Delayed):
            module.look()


@dataclass(frozen=True, eq=False)
class _Slot:
    """A place for a tensor in a network: the path of its dataset, and the attribute of the module that has it."""

    path: str
    owner: nn.Module
    attribute: str

    @property
    def tensor(self) -> Tensor:
        return getattr(self.owner, self.attribute)

    @property
    def bounds(self) -> Param | None:
        """The neuron's declaration of this parameter, or None in a layer of torch."""
        name = self.path.rpartition("/")[2]
        found = self.owner.neuron.params[name] if isinstance(self.owner, Spiking) else None
        return found if isinstance(found, Param) else None

    def encode(self) -> Array:
        """Return the tensor as its file keeps it; a neuron's parameter lies within its bounds."""
        name = self.path.rpartition("/")[2]
        value = self.owner.values()[name] if isinstance(self.owner, Spiking) else self.tensor
        trainable = self.tensor.requires_grad if isinstance(self.tensor, nn.Parameter) else None
        try:
            units = "steps" if _in_steps(self.owner, name) else "1"
            return codec.encode(value, units=units, trainable=trainable)
        except UnfitError as error:
            raise UnfitError(f"{self.path} holds {error}") from None

    def decode(self, array: Any) -> Tensor:
        """Return the tensor of an array that fits this place, or raise UnfitError."""
        if not isinstance(array, Array):
            raise UnfitError(f"{self.path} is not an array of numbers")
        try:
            tensor = codec.to_tensor(array)
        except UnfitError as error:
            raise UnfitError(f"{self.path} holds {error}") from None
        self._check_type(tensor, array.dtype)
        self._check_values(tensor)
        learnt = isinstance(self.tensor, nn.Parameter)
        if (array.trainable is not None) != learnt:
            raise UnfitError(f"{self.path} has trainable {array.trainable}; parameters have 0 or 1, buffers have none")
        return nn.Parameter(tensor, requires_grad=bool(array.trainable)) if learnt else tensor

    def _check_type(self, tensor: Tensor, dtype: str) -> None:
        floating = self.tensor.is_floating_point()
        if dtype not in codec.FLOATS if floating else tensor.dtype != self.tensor.dtype:
            needed = ", ".join(codec.FLOATS) if floating else str(self.tensor.dtype).removeprefix("torch.")
            raise UnfitError(f"{self.path} is {dtype}; needed is {needed}")
        if self.bounds is not None:
            if tensor.ndim > _DEEPEST_TENSOR or tensor.numel() == 0:
                raise UnfitError(
                    f"{self.path} has shape {list(tensor.shape)}; needed is a number, or one for each neuron"
                )
        elif tensor.shape != self.tensor.shape:
            raise UnfitError(f"{self.path} has shape {list(tensor.shape)}; needed is {list(self.tensor.shape)}")

    def _check_values(self, tensor: Tensor) -> None:
        if not bool(torch.isfinite(tensor).all()):
            raise UnfitError(f"{self.path} holds NaN or infinity; needed are finite numbers")
        if isinstance(self.owner, Delayed) and self.attribute == "delay" and not self.owner.fits(tensor):
            raise UnfitError(f"{self.path} is out of 0..{self.owner.max_delay} steps")
        if self.bounds is not None:
            low, high = self.bounds.low, self.bounds.high
            # Bounds are rounded to float32 where a layer checks them, so a float64 tensor is rounded with them.
            rounded = tensor.float() if tensor.dtype == torch.float64 else tensor
            if not bool(((rounded >= low) & (rounded <= high)).all()):
                raise UnfitError(f"{self.path} is out of its bounds [{low:g}, {high:g}]")


def _in_steps(owner: nn.Module, name: str) -> bool:
    if isinstance(owner, Delayed):
        return name in ("delay", "sigma")
    return isinstance(owner, Spiking) and name.startswith("tau")


def _slots(net: Network) -> Iterator[_Slot]:
    for prefix, module in net.named_modules(remove_duplicate=False):
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for attribute, _ in tensors:
            name = attribute.removeprefix(_PREFIX) if isinstance(module, Spiking) else attribute
            yield _Slot(f"{prefix}.{name}".lstrip(".").replace(".", "/"), module, attribute)


def _flat(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and the item of everything in a tree that is not a group."""
    for name, item in tree.items():
        inner = f"{path}/{name}".lstrip("/")
        if isinstance(item, Mapping):
            yield from _flat(item, inner)
        else:
            yield inner, item
