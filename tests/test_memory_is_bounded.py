"""What a forward pass keeps for the backward one: its input and some checkpoints; large arrays are used again."""

from __future__ import annotations

import gc
import math
import os

import pytest
import torch

import snnkit
from snnkit import arrays


def saved_bytes(layer: torch.nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of all distinct tensors that autograd keeps, without the input itself."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    kept.pop(x.untyped_storage().data_ptr(), None)
    return sum(kept.values())


@pytest.mark.parametrize("name", ["LIF", "CubaLIF", "ALIF", "Izhikevich"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpoints_are_all_that_is_saved_beside_the_input(name: str, dtype: torch.dtype) -> None:
    layer, T, M = getattr(snnkit, name)(learn=("theta",)), 400, 4 * 100
    x = torch.rand(T, 4, 100, dtype=dtype).requires_grad_()
    states = len(layer.neuron.states)
    checkpoints = math.ceil(T / math.isqrt(T)) * states * M * 4
    parameters = 4 * len(layer.neuron.params)
    assert saved_bytes(layer, x) <= checkpoints + parameters + 64


def test_an_expanded_gradient_is_not_written_out() -> None:
    x = torch.rand(64, 16, 4096, requires_grad=True)
    layer = snnkit.LIF()
    seen = []
    original = arrays.rows

    def spy(tensor: torch.Tensor) -> torch.Tensor:
        result = original(tensor)
        seen.append(tuple(result.shape))
        return result

    from snnkit.codegen import cpu

    patch = pytest.MonkeyPatch()
    patch.setattr(cpu, "rows", spy)
    layer(x).sum(0).sum().backward()
    patch.undo()
    assert (1, 16, 4096) in seen


def test_large_arrays_come_back_to_the_pool() -> None:
    arrays.release()
    first = arrays.empty((1 << 21,), torch.float32)
    view, address = first[5:9], first.data_ptr()
    del first
    gc.collect()
    second = arrays.empty((1 << 21,), torch.float32)
    assert second.data_ptr() != address, "memory was given out while a view was alive"
    view.fill_(3.0)
    del view
    gc.collect()
    third = arrays.empty((1 << 21,), torch.float32)
    assert third.data_ptr() == address
    del second, third
    gc.collect()
    assert arrays.release() == 2 * (1 << 23)
    assert arrays.release() == 0


def test_the_pool_keeps_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays.release()
    monkeypatch.setattr(arrays, "_limit", lambda: 1 << 23)
    blocks = [arrays.empty((1 << 21,), torch.float32) for _ in range(3)]
    del blocks
    gc.collect()
    assert arrays.release() == 1 << 23


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_memory_of_its_own() -> None:
    array = arrays.empty((1 << 21,), torch.float32)
    array.fill_(1.0)
    child = os.fork()
    if child == 0:
        array.numpy()[:] = 2.0
        os._exit(0)
    os.waitpid(child, 0)
    assert bool((array == 1.0).all())


def test_results_outlive_the_next_run() -> None:
    layer = snnkit.LIF()
    x = torch.rand(64, 16, 4096) * 2
    first = layer(x)
    copy = first.clone()
    layer(x.flip(0))
    assert torch.equal(first, copy)
