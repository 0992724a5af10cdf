"""Running a layer between the hooks that torch would call around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as every
from torch.utils.hooks import BackwardHook


def hooked(module: nn.Module, x: Tensor, run: Callable[[Tensor], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return what `run(x)` returns, with the hooks called that `module(x)` would call.

    Torch has no call that takes a state and returns it past the hooks, which see one input and one output.

    Args:
        module: the layer that runs.
        x: its input.
        run: takes the input, and returns the output first.
    """
    if not _has_hooks(module):
        return run(x)
    args = _before(module, (x,))
    backward, before = module._get_backward_hooks()[0], module._get_backward_pre_hooks()
    watched = BackwardHook(module, backward, before) if backward or before else None
    y, *rest = run(*(args if watched is None else watched.setup_input_hook(args)))
    y = _after(module, args, y)
    return (y if watched is None else watched.setup_output_hook(y)), *rest


def _has_hooks(module: nn.Module) -> bool:
    mine = module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    return bool(mine or every._has_any_global_hook())


def _before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    for key, hook in (*every._global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()):
        named = key in module._forward_pre_hooks_with_kwargs
        given = hook(module, args, {}) if named else hook(module, args)
        given = given[0] if named and given is not None else given
        if given is not None:
            args = given if isinstance(given, tuple) else (given,)
    return args


def _after(module: nn.Module, args: tuple[Any, ...], y: Any) -> Any:
    for hooks, named in (
        (every._global_forward_hooks, every._global_forward_hooks_with_kwargs),
        (module._forward_hooks, module._forward_hooks_with_kwargs),
    ):
        for key, hook in hooks.items():
            given = hook(module, args, {}, y) if key in named else hook(module, args, y)
            y = y if given is None else given
    return y
